//! Depth maps that agree with one another: refined by the truncated signed distances to the surfaces of all of them.

use super::dense::camera_from_world;
use super::{AlignmentError, DenseImage};
use crate::camera::Camera;
use steropes_ops::OpError;
use steropes_ops::geometry::tsdf::{DepthMaps, Samples, View, refine_depth};
use steropes_tensor::{Device, Tensor, TensorError};

/// How depth maps are refined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TsdfOptions {
    /// How far behind a surface a point may lie and still count as seen, in units of the scene; above 0. The candidates of a
    /// pixel scatter by as much.
    pub threshold: f32,
    /// Candidates per pixel: 1000 in the published program.
    pub samples: usize,
    /// Other seeds give other candidates.
    pub seed: u32,
}

/// Gives every pixel that of its candidates along its ray which is nearest to the surfaces of all images, as [`refine_depth`] says,
/// and moves its point there. Confidences stay; they are the logarithms of the weights. Lens distortion is left out.
///
/// # Errors
/// [`AlignmentError`] if there is not one camera per image, if [`refine_depth`] refuses its arguments, or if the device failed.
pub fn refine_depths_on(
    images: &mut [DenseImage],
    cameras: &[Camera],
    options: &TsdfOptions,
    device: &Device,
) -> Result<(), AlignmentError> {
    if images.len() != cameras.len() {
        return Err(AlignmentError::value("cameras", format!("{} cameras", images.len()), cameras.len()));
    }
    if images.is_empty() {
        return Ok(());
    }
    let view = |(image, camera): (&DenseImage, &Camera)| View {
        width: image.width,
        height: image.height,
        focal_px: [camera.intrinsics.focal_px; 2],
        center_px: camera.intrinsics.center_px,
        camera_from_world: camera_from_world(camera),
    };
    let views: Vec<View> = images.iter().zip(cameras).map(view).collect();
    let all = |map: fn(&DenseImage) -> &Vec<f32>| {
        let values: Vec<f32> = images.iter().flat_map(|image| map(image).iter().copied()).collect();
        uploaded(device, values)
    };
    let (depth, confidence) = (all(|image| &image.depth)?, all(|image| &image.confidence)?);
    let maps = DepthMaps { views: &views, depth: &depth, confidence: &confidence };
    let samples = Samples::Random { count: options.samples, seed: options.seed };
    let refined = refine_depth(&maps, samples, options.threshold)?.read::<f32>().map_err(OpError::from)?;
    let mut rest = refined.as_slice();
    for (image, camera) in images.iter_mut().zip(cameras) {
        let (own, others) = rest.split_at(image.depth.len());
        rest = others;
        let confidence = std::mem::take(&mut image.confidence);
        *image = DenseImage::from_depth(camera, [image.width, image.height], own.to_vec(), confidence)?;
    }
    Ok(())
}

fn uploaded(device: &Device, values: Vec<f32>) -> Result<Tensor, AlignmentError> {
    match Tensor::new(device, &[values.len()], values) {
        Ok(tensor) => Ok(tensor),
        Err(TensorError::Device(error)) => Err(OpError::from(error).into()),
        Err(error) => unreachable!("a list has its own length: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Intrinsics;
    use nalgebra::{Isometry3, Point3, Translation3, UnitQuaternion, Vector3};

    /// Four cameras, turned towards each other, before the wall `z = 3`; depths with about 3 % noise.
    fn wall() -> (Vec<Camera>, Vec<DenseImage>) {
        let camera = |i: usize| Camera {
            intrinsics: Intrinsics { focal_px: 30.0, center_px: [15.5 + i as f64, 11.5] },
            world_from_camera: Isometry3::from_parts(
                Translation3::new(0.3 * i as f64, 0.1 * i as f64, 0.0),
                UnitQuaternion::from_axis_angle(&Vector3::y_axis(), -0.08 * i as f64),
            ),
        };
        let cameras: Vec<Camera> = (0..4).map(camera).collect();
        let image = |(i, camera): (usize, &Camera)| {
            // Images differ in size, so that no map can be taken for another.
            let size = [32 + 2 * i, 24 - i];
            let depth = |pixel: usize| {
                let mut noise = (pixel * 7919 + i * 104_729 + 1) as u32;
                for _ in 0..3 {
                    noise = (noise ^ (noise >> 15)).wrapping_mul(0x2c1b_3c6d);
                }
                let noise = f64::from(noise >> 8) / f64::from(1 << 24) - 0.5;
                (true_depth(camera, size[0], pixel) * (1.0 + 0.1 * noise)) as f32
            };
            let depth: Vec<f32> = (0..size[0] * size[1]).map(depth).collect();
            let confidence = vec![2.0; depth.len()];
            DenseImage::from_depth(camera, size, depth, confidence).expect("lists fit")
        };
        let images = cameras.iter().enumerate().map(image).collect();
        (cameras, images)
    }

    fn true_depth(camera: &Camera, width: usize, pixel: usize) -> f64 {
        let at = |depth| camera.unproject([(pixel % width) as f64, (pixel / width) as f64], depth).z;
        // The world's z grows evenly along the ray.
        3.0 / (at(1.0) - at(0.0))
    }

    fn median_error(cameras: &[Camera], images: &[DenseImage]) -> f64 {
        let mut errors = Vec::new();
        for (camera, image) in cameras.iter().zip(images) {
            let error = |(pixel, &depth): (usize, &f32)| {
                (f64::from(depth) / true_depth(camera, image.width, pixel) - 1.0).abs()
            };
            errors.extend(image.depth.iter().enumerate().map(error));
        }
        errors.sort_by(f64::total_cmp);
        errors[errors.len() / 2]
    }

    #[test]
    fn refined_depths_are_nearer_to_the_surface_and_points_follow() {
        let (cameras, mut images) = wall();
        let before = median_error(&cameras, &images);
        let options = TsdfOptions { threshold: 0.1, samples: 100, seed: 3 };
        refine_depths_on(&mut images, &cameras, &options, &Device::Cpu).expect("maps fit");
        let after = median_error(&cameras, &images);
        assert!(after < 0.8 * before, "median error {before} before, {after} after");
        for (camera, image) in cameras.iter().zip(&images) {
            for (pixel, (point, &depth)) in image.points.chunks_exact(3).zip(&image.depth).enumerate() {
                let point = Point3::new(point[0], point[1], point[2]).map(f64::from);
                let (at, own) = camera.project(&point);
                let want = [(pixel % image.width) as f64, (pixel / image.width) as f64];
                assert!((at[0] - want[0]).abs() < 1e-3 && (at[1] - want[1]).abs() < 1e-3, "{at:?} {want:?}");
                assert!((own - f64::from(depth)).abs() < 1e-5 * own, "{own} {depth}");
            }
            assert_eq!(image.confidence, vec![2.0; image.depth.len()]);
        }
    }

    #[test]
    fn without_images_nothing_happens() {
        let options = TsdfOptions { threshold: 0.1, samples: 1, seed: 0 };
        refine_depths_on(&mut [], &[], &options, &Device::Cpu).expect("nothing to refuse");
    }

    #[test]
    fn bad_input_is_refused() {
        let (cameras, images) = wall();
        let refused = |cameras: &[Camera], options: TsdfOptions| {
            let mut images = images.clone();
            let error = refine_depths_on(&mut images, cameras, &options, &Device::Cpu).expect_err("refused");
            assert_eq!(images, self::wall().1, "nothing is changed");
            error.to_string()
        };
        let good = TsdfOptions { threshold: 0.1, samples: 1, seed: 0 };
        assert!(refused(&cameras[..3], good).contains("`cameras` must be 4 cameras, got 3"));
        let text = refused(&cameras, TsdfOptions { threshold: f32::NAN, ..good });
        assert!(text.contains("`threshold` must be positive and finite, got NaN"), "{text}");
        let text = refused(&cameras, TsdfOptions { samples: 0, ..good });
        assert!(text.contains("`samples` must be at least 1"), "{text}");
    }
}
