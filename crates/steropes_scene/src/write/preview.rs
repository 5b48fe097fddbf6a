//! A picture of the scene from two viewpoints, drawn on the CPU.

use super::placement::{
    Placement, SAMPLE, camera_color, picture_corners, rank, registered, sample, up_in_world,
};
use super::{SceneCloud, ScenePhoto};
use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};
use nalgebra::{Isometry3, Point3, Vector3};

/// Width and height of one of the two panels.
const PANEL_PX: [u32; 2] = [800, 800];

/// Everything is drawn this much larger and scaled down, which smooths the edges.
const OVERSAMPLING: u32 = 2;

/// Most points drawn in one panel: two for each of its pixels at the larger scale.
const MOST_POINTS: usize = 2 * (PANEL_PX[0] * PANEL_PX[1] * OVERSAMPLING * OVERSAMPLING) as usize;

/// Focal length in panel widths: an angle of view of 50 degrees.
const FOCAL: f64 = 1.072;

/// Share of the half panel that the scene may fill.
const FILL: f64 = 0.86;

const BACKGROUND: Rgb<u8> = Rgb([26, 28, 33]);

/// The coloured points with the cameras, seen from behind and above the cameras (left) and from high above the side
/// (right): 1600 x 800 pixels.
///
/// Up is where most photos have it. The frame holds the cameras and the points between the 1 % and 99 % ranks of
/// their directions; wild points may lie outside. An empty cloud gives the cameras alone; without cameras either the
/// panels are empty.
pub fn preview(cloud: &SceneCloud, photos: &[ScenePhoto]) -> RgbImage {
    let [width, height] = PANEL_PX;
    let mut picture = RgbImage::from_pixel(2 * width, height, BACKGROUND);
    if cloud.points.is_empty() && registered(photos).next().is_none() {
        return picture;
    }
    // Cameras stand in for points where there are none.
    let stand_in;
    let placed = if cloud.points.is_empty() {
        stand_in = camera_centers(photos);
        &stand_in
    } else {
        cloud
    };
    let placement = Placement::new(placed, photos);
    for (panel, direction) in view_directions(photos, &placement).into_iter().enumerate() {
        let view = View::framing(&direction, &up_in_world(photos), placed, photos, &placement);
        let mut canvas = Canvas::new();
        canvas.draw_cloud(&view, cloud);
        canvas.draw_cameras(&view, photos, placement.camera_length);
        let small = resize(&canvas.picture, width, height, FilterType::Triangle);
        image::imageops::replace(&mut picture, &small, i64::from(width) * panel as i64, 0);
    }
    for y in 0..height {
        picture.put_pixel(width, y, Rgb([90, 90, 95]));
    }
    picture
}

fn camera_centers(photos: &[ScenePhoto]) -> SceneCloud {
    let points: Vec<_> =
        registered(photos).map(|(_, _, pose)| pose.translation.vector.cast::<f32>().into()).collect();
    SceneCloud { colors: vec![[255; 3]; points.len()], points, normals: None }
}

/// The two directions of view: a third down along the way the cameras look, and steeply down turned to the side.
fn view_directions(photos: &[ScenePhoto], placement: &Placement) -> [Vector3<f64>; 2] {
    let up = up_in_world(photos);
    let looks: Vector3<f64> = registered(photos).map(|(_, _, pose)| pose * Vector3::z()).sum();
    // Cameras all around the scene look everywhere on average: then the first one decides.
    let first = registered(photos).next().map_or_else(Vector3::z, |(_, _, pose)| {
        let to_scene = placement.center - Point3::from(pose.translation.vector);
        to_scene.try_normalize(1e-9).unwrap_or_else(|| pose * Vector3::z())
    });
    let count = registered(photos).count().max(1) as f64;
    let look = if looks.norm() > 0.3 * count { looks } else { first };
    let level = |v: Vector3<f64>| (v - up * up.dot(&v)).try_normalize(1e-6);
    let ahead = level(look).or_else(|| level(Vector3::z())).or_else(|| level(Vector3::x()));
    let ahead = ahead.expect("z and x are not both up");
    let right = ahead.cross(&up);
    let tilted = |level: Vector3<f64>, down_deg: f64| {
        let (sin, cos) = down_deg.to_radians().sin_cos();
        level * cos - up * sin
    };
    let side = (ahead * 0.6 - right * 0.8).normalize();
    [tilted(ahead, 20.0), tilted(side, 52.0)]
}

/// A viewpoint in the pixels of a canvas.
struct View {
    view_from_world: Isometry3<f64>,
    focal_px: f64,
    center_px: [f64; 2],
}

impl View {
    /// Looks along `direction` from far enough away to see all cameras and nearly all points.
    fn framing(
        direction: &Vector3<f64>,
        up: &Vector3<f64>,
        cloud: &SceneCloud,
        photos: &[ScenePhoto],
        placement: &Placement,
    ) -> Self {
        let [width, height] = PANEL_PX.map(|side| f64::from(side * OVERSAMPLING));
        let focal_px = FOCAL * width;
        // Camera axes: x right, y down, z along the direction.
        let right = direction.cross(up).normalize();
        let down = direction.cross(&right);
        let turned = nalgebra::Rotation3::from_basis_unchecked(&[right, down, *direction]).inverse();
        let mut seen: Vec<Point3<f64>> =
            trimmed(sample(cloud, SAMPLE).map(|(point, _)| turned * point).collect());
        for (_, photo, pose) in registered(photos) {
            let corners = picture_corners(&photo.pinhole, photo.size, placement.camera_length);
            seen.extend(corners.iter().map(|corner| turned * (pose * corner)));
            seen.push(turned * Point3::from(pose.translation.vector));
        }
        let eye = eye_that_sees(&seen, [FILL * 0.5 * width / focal_px, FILL * 0.5 * height / focal_px]);
        let view_from_world = Isometry3::from_parts((-eye.coords).into(), turned.into());
        Self { view_from_world, focal_px, center_px: [0.5 * width, 0.5 * height] }
    }

    /// Position on the canvas and depth.
    fn project(&self, point: &Point3<f64>) -> (f64, f64, f64) {
        let p = self.view_from_world * point;
        let [cx, cy] = self.center_px;
        (self.focal_px * p.x / p.z + cx, self.focal_px * p.y / p.z + cy, p.z)
    }
}

/// The points that lie between the 1 % and 99 % ranks of each axis.
fn trimmed(points: Vec<Point3<f64>>) -> Vec<Point3<f64>> {
    let bounds = [0, 1, 2].map(|axis| {
        let values: Vec<f64> = points.iter().map(|p| p[axis]).collect();
        (rank(values.clone(), 0.01), rank(values, 0.99))
    });
    let inside = |p: &Point3<f64>| (0..3).all(|axis| (bounds[axis].0..=bounds[axis].1).contains(&p[axis]));
    let kept: Vec<_> = points.iter().copied().filter(inside).collect();
    if kept.is_empty() { points } else { kept }
}

/// The nearest eye, looking along z, from which all points lie within the slopes `limits` (x, y).
///
/// For one axis the frame is a wedge: `|x - eye_x| <= limit (z - eye_z)`. Its apex is where the outermost lines of
/// both sides meet; the wider axis decides the distance.
fn eye_that_sees(points: &[Point3<f64>], limits: [f64; 2]) -> Point3<f64> {
    let mut eye = Point3::new(0.0, 0.0, f64::INFINITY);
    for (axis, limit) in limits.into_iter().enumerate() {
        let right = points.iter().map(|p| p[axis] - limit * p.z).fold(f64::NEG_INFINITY, f64::max);
        let left = points.iter().map(|p| p[axis] + limit * p.z).fold(f64::INFINITY, f64::min);
        eye[axis] = 0.5 * (left + right);
        eye.z = eye.z.min((left - right) / (2.0 * limit));
    }
    let nearest = points.iter().map(|p| p.z).fold(f64::INFINITY, f64::min);
    // A flat or single point gives a wedge of no depth.
    eye.z = eye.z.min(nearest - 1e-3 * nearest.abs().max(1e-6));
    eye
}

/// A panel at the larger scale, with the depth of each pixel.
struct Canvas {
    picture: RgbImage,
    depth: Vec<f32>,
}

impl Canvas {
    fn new() -> Self {
        let [width, height] = PANEL_PX.map(|side| side * OVERSAMPLING);
        Self {
            picture: RgbImage::from_pixel(width, height, BACKGROUND),
            depth: vec![f32::INFINITY; (width * height) as usize],
        }
    }

    fn draw_cloud(&mut self, view: &View, cloud: &SceneCloud) {
        let half = splat_half_width(cloud.points.len());
        for (point, color) in sample(cloud, MOST_POINTS) {
            let (x, y, z) = view.project(&point);
            if z > 0.0 && x.abs() < 1e6 && y.abs() < 1e6 {
                self.splat(x, y, z as f32, half, Rgb(color));
            }
        }
    }

    /// A square of side `2 half`.
    fn splat(&mut self, x: f64, y: f64, z: f32, half: f64, color: Rgb<u8>) {
        let [left, right] = [x - half, x + half].map(|v| v.round() as i64);
        let [top, bottom] = [y - half, y + half].map(|v| v.round() as i64);
        for row in top..bottom {
            for column in left..right {
                if let Some(index) = self.index(column, row)
                    && z < self.depth[index]
                {
                    self.depth[index] = z;
                    self.picture.put_pixel(column as u32, row as u32, color);
                }
            }
        }
    }

    fn index(&self, column: i64, row: i64) -> Option<usize> {
        let (width, height) = (i64::from(self.picture.width()), i64::from(self.picture.height()));
        ((0..width).contains(&column) && (0..height).contains(&row)).then(|| (row * width + column) as usize)
    }

    fn draw_cameras(&mut self, view: &View, photos: &[ScenePhoto], length: f64) {
        let count = photos.len();
        for (index, photo, pose) in registered(photos) {
            let color = camera_color(index, count);
            let apex = Point3::from(pose.translation.vector);
            let corners = picture_corners(&photo.pinhole, photo.size, length).map(|corner| pose * corner);
            for i in 0..4 {
                self.draw_line(view, &apex, &corners[i], color);
                self.draw_line(view, &corners[i], &corners[(i + 1) % 4], color);
            }
        }
    }

    /// A line that shines through what hides it, so that no camera gets lost behind a wall.
    fn draw_line(&mut self, view: &View, from: &Point3<f64>, to: &Point3<f64>, color: [u8; 3]) {
        let (start, end) = (view.project(from), view.project(to));
        if start.2 <= 0.0 || end.2 <= 0.0 {
            return;
        }
        let steps = (end.0 - start.0).abs().max((end.1 - start.1).abs()).ceil().clamp(1.0, 10_000.0);
        let mut last = None;
        for step in 0..=steps as usize {
            let t = step as f64 / steps;
            let x = (start.0 + t * (end.0 - start.0)).round() as i64;
            let y = (start.1 + t * (end.1 - start.1)).round() as i64;
            // Perspective makes the inverse of the depth linear on the screen.
            let z = 1.0 / ((1.0 - t) / start.2 + t / end.2);
            if last != Some((x, y)) {
                last = Some((x, y));
                self.dot(x, y, z as f32, color);
            }
        }
    }

    fn dot(&mut self, x: i64, y: i64, z: f32, color: [u8; 3]) {
        for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            if let Some(index) = self.index(x + dx, y + dy) {
                let share = if z < self.depth[index] { 0.9 } else { 0.3 };
                let pixel = &mut self.picture.get_pixel_mut((x + dx) as u32, (y + dy) as u32).0;
                for (old, new) in pixel.iter_mut().zip(color) {
                    *old = (f64::from(*old) * (1.0 - share) + f64::from(new) * share).round() as u8;
                }
            }
        }
    }
}

/// Half the side of a point on the canvas: few points are drawn larger, so that surfaces look closed.
fn splat_half_width(points: usize) -> f64 {
    let pixels = f64::from(PANEL_PX[0] * PANEL_PX[1] * OVERSAMPLING * OVERSAMPLING);
    // As if the points covered the panel once: surfaces are seen at a slant, and behind each other.
    (0.5 * (pixels / points.max(1) as f64).sqrt()).clamp(1.0, 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::test_scene;

    /// Share of a panel that is not background.
    fn coverage(picture: &RgbImage, panel: u32) -> f64 {
        let pixels = (0..800).flat_map(|y| (panel * 800 + 2..panel * 800 + 800).map(move |x| (x, y)));
        pixels.filter(|&(x, y)| *picture.get_pixel(x, y) != BACKGROUND).count() as f64 / (800.0 * 798.0)
    }

    #[test]
    fn both_panels_are_filled_by_the_scene() {
        let scene = test_scene::room();
        let picture = preview(&scene.cloud, &scene.photos);
        assert_eq!(picture.dimensions(), (1600, 800));
        for panel in 0..2 {
            let share = coverage(&picture, panel);
            assert!(share > 0.25, "panel {panel}: {share}");
        }
        assert_eq!(picture, preview(&scene.cloud, &scene.photos), "the same bytes twice");
    }

    /// Every camera centre and corner and at least 90 % of the points are inside both frames.
    #[test]
    fn the_frame_holds_cameras_and_points() {
        let scene = test_scene::room();
        let placement = Placement::new(&scene.cloud, &scene.photos);
        for direction in view_directions(&scene.photos, &placement) {
            let up = up_in_world(&scene.photos);
            let view = View::framing(&direction, &up, &scene.cloud, &scene.photos, &placement);
            let inside = |point: &Point3<f64>| {
                let (x, y, z) = view.project(point);
                z > 0.0 && (0.0..1600.0).contains(&x) && (0.0..1600.0).contains(&y)
            };
            for (_, photo, pose) in registered(&scene.photos) {
                assert!(inside(&Point3::from(pose.translation.vector)));
                for corner in picture_corners(&photo.pinhole, photo.size, placement.camera_length) {
                    assert!(inside(&(pose * corner)));
                }
            }
            let points: Vec<_> = sample(&scene.cloud, SAMPLE).map(|(point, _)| point).collect();
            let share = points.iter().filter(|p| inside(p)).count() as f64 / points.len() as f64;
            assert!(share > 0.9, "{share}");
            // What is up in the world is up in the picture.
            let base = view.project(&placement.center);
            assert!(view.project(&(placement.center + up * 0.5)).1 < base.1 - 5.0);
        }
    }

    #[test]
    fn near_points_hide_far_ones() {
        let mut canvas = Canvas::new();
        canvas.splat(10.0, 10.0, 2.0, 2.0, Rgb([1, 1, 1]));
        canvas.splat(10.0, 10.0, 3.0, 2.0, Rgb([2, 2, 2]));
        assert_eq!(canvas.picture.get_pixel(10, 10), &Rgb([1, 1, 1]));
        canvas.splat(10.0, 10.0, 1.0, 2.0, Rgb([3, 3, 3]));
        assert_eq!(canvas.picture.get_pixel(10, 10), &Rgb([3, 3, 3]));
    }

    #[test]
    fn scenes_of_nothing_and_of_one_point_are_drawn() {
        let scene = test_scene::room();
        assert_eq!(preview(&SceneCloud::default(), &[]).get_pixel(3, 3), &BACKGROUND);
        assert!(coverage(&preview(&SceneCloud::default(), &scene.photos), 0) > 0.001);
        let dot = SceneCloud { points: vec![[1.0, 2.0, 3.0]], colors: vec![[255, 0, 0]], normals: None };
        assert!(coverage(&preview(&dot, &[]), 1) > 0.0);
    }
}
