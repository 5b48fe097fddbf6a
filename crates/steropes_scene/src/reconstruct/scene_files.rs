//! A scene as the writers want it.

use super::{Scene, Surface};
use crate::photo::Photo;
use crate::write::{SceneCloud, ScenePhoto};
use nalgebra::{Point3, Vector3};

/// Longer side of the photos on the camera frusta, in pixels.
const THUMBNAIL_PX: u32 = 256;

impl Scene {
    /// All points of the surfaces with a confidence above `min_confidence`, in the order of the photos, with normals
    /// that face their cameras.
    pub fn cloud(&self, min_confidence: f32) -> SceneCloud {
        let (mut points, mut colors, mut normals) = (Vec::new(), Vec::new(), Vec::new());
        for (surface, camera) in self.surfaces.iter().zip(&self.cameras) {
            let center = Point3::from(camera.world_from_camera.translation.vector);
            for i in 0..surface.points.len() {
                let finite = surface.points[i].iter().all(|v| v.is_finite());
                if surface.confidence[i] > min_confidence && surface.depth[i] > 0.0 && finite {
                    points.push(surface.points[i]);
                    colors.push(surface.colors[i]);
                    normals.push(surface.normal(i, &center));
                }
            }
        }
        SceneCloud { points, colors, normals: Some(normals) }
    }

    /// The photos of this scene with their cameras, for the writers; `all` are all photos.
    pub fn scene_photos(&self, all: &[Photo]) -> Vec<ScenePhoto> {
        self.photos
            .iter()
            .enumerate()
            .map(|(i, &photo)| ScenePhoto {
                name: all[photo].name.clone(),
                size: all[photo].map.upright_size,
                pinhole: self.upright[i],
                radial: self.radial[i],
                world_from_camera: Some(self.cameras[i].world_from_camera),
                thumbnail: image::imageops::thumbnail(
                    &all[photo].resized_rgb,
                    scaled(all[photo].map.resized_size)[0],
                    scaled(all[photo].map.resized_size)[1],
                ),
            })
            .collect()
    }
}

fn scaled([width, height]: [u32; 2]) -> [u32; 2] {
    let longest = width.max(height);
    if longest <= THUMBNAIL_PX {
        return [width, height];
    }
    [width, height].map(|side| (side * THUMBNAIL_PX / longest).max(1))
}

impl Surface {
    /// The unit normal of the surface at a pixel, on the side of the camera: across the vectors between the pixel's
    /// neighbours; towards the camera where these say nothing.
    fn normal(&self, pixel: usize, camera_center: &Point3<f64>) -> [f32; 3] {
        let (x, y) = (pixel % self.width, pixel / self.width);
        let at = |x: usize, y: usize| Point3::from(self.points[y * self.width + x].map(f64::from));
        let (left, right) = (x.saturating_sub(1), (x + 1).min(self.width - 1));
        let (above, below) = (y.saturating_sub(1), (y + 1).min(self.height - 1));
        let across = (at(right, y) - at(left, y)).cross(&(at(x, below) - at(x, above)));
        let towards: Vector3<f64> = camera_center - at(x, y);
        let facing = if across.dot(&towards) < 0.0 { -across } else { across };
        let normal = facing.try_normalize(1e-30).or_else(|| towards.try_normalize(1e-30));
        normal.unwrap_or_else(Vector3::z).map(|v| v as f32).into()
    }
}
