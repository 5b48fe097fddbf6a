//! Ranges of points are shared among threads. Each point rotates its equations, one after another, into a triangular system of three.

use super::MIN_DIAGONAL_RATIO;
use rayon::prelude::*;

/// Points in a task.
const TASK: usize = 256;

/// Rows of a projection.
type Projection = [[f64; 4]; 3];

pub(super) fn triangulate(pixels: &[f32], projections: &[f32], shape: [usize; 3]) -> Vec<f32> {
    let [batch, cameras, points] = shape;
    let projections: Vec<Projection> = projections.chunks_exact(12).map(projection).collect();
    let mut found = vec![0.0; batch * points * 3];
    found.par_chunks_mut(3).with_min_len(TASK).enumerate().for_each(|(i, found)| {
        let (b, p) = (i / points, i % points);
        let mut system = Triangle::default();
        for c in b * cameras..(b + 1) * cameras {
            let pixel = &pixels[2 * (c * points + p)..][..2];
            system.add_view(&projections[c], [pixel[0], pixel[1]]);
        }
        write(found, system.solution());
    });
    found
}

/// The reference camera and those of the views, for each item of the batch.
pub(super) struct Cameras<'a> {
    pub(super) intrinsics: &'a [f32],
    pub(super) camera_from_world: &'a [f32],
}

/// Points, depths and confidences; `shape` is batch, views, pixels.
pub(super) fn points_from_matches(
    cameras: &Cameras<'_>,
    matches: &[f32],
    shape: [usize; 3],
    too_few: usize,
) -> [Vec<f32>; 3] {
    let [batch, views, pixels] = shape;
    let poses: Vec<Projection> = cameras.camera_from_world.chunks_exact(12).map(projection).collect();
    let projections: Vec<Projection> =
        cameras.intrinsics.chunks_exact(9).zip(&poses).map(|(k, pose)| product(k, pose)).collect();
    let count = batch * pixels;
    let (mut points, mut depth, mut confidence) = (vec![0.0; 3 * count], vec![0.0; count], vec![0.0; count]);
    let out = points.par_chunks_mut(3).zip(&mut depth).zip(&mut confidence).with_min_len(TASK);
    out.enumerate().for_each(|(i, ((point, depth), confidence))| {
        let (b, p) = (i / pixels, i % pixels);
        let reference = b * (views + 1);
        let (mut sum, mut total, mut valid) = ([0.0; 3], 0.0, 0);
        for v in 0..views {
            let m = &matches[5 * ((b * views + v) * pixels + p)..][..5];
            let mut system = Triangle::default();
            system.add_view(&projections[reference], [m[0], m[1]]);
            system.add_view(&projections[reference + 1 + v], [m[2], m[3]]);
            if let Some(x) = system.solution().filter(|_| m[4].is_finite()) {
                let weight = f64::from(m[4]);
                sum = [0, 1, 2].map(|c| sum[c] + weight * x[c]);
                total += weight;
                valid += 1;
            }
        }
        let divisor = if total <= 1e-5 { 1.0 } else { total };
        let mean = (valid > too_few).then(|| sum.map(|s| s / divisor));
        write(point, mean);
        let z = poses[reference][2];
        *depth = mean.map_or(f64::NAN, |x| z[0] * x[0] + z[1] * x[1] + z[2] * x[2] + z[3]) as f32;
        *confidence = total as f32;
    });
    [points, depth, confidence]
}

/// The triangular factor of the equations so far, with the rotated right side: rows of `R x = y`.
#[derive(Default)]
struct Triangle {
    rows: [[f64; 4]; 3],
}

impl Triangle {
    /// Adds the two equations of a camera, none if the pixel is not finite.
    fn add_view(&mut self, p: &Projection, pixel: [f32; 2]) {
        if pixel.iter().all(|c| c.is_finite()) {
            for (row, place) in p.iter().zip(pixel) {
                let place = f64::from(place);
                self.rotate([0, 1, 2, 3].map(|c| row[c] - place * p[2][c]));
            }
        }
    }

    /// Rotates an equation `e[0] x + e[1] y + e[2] z + e[3] = 0` into the triangle.
    fn rotate(&mut self, mut e: [f64; 4]) {
        e[3] = -e[3];
        for i in 0..3 {
            let row = &mut self.rows[i];
            let length = (row[i] * row[i] + e[i] * e[i]).sqrt();
            if length > 0.0 {
                let (cos, sin) = (row[i] / length, e[i] / length);
                for c in i..4 {
                    (row[c], e[c]) = (cos * row[c] + sin * e[c], cos * e[c] - sin * row[c]);
                }
            }
        }
    }

    /// The least-squares solution, if the equations determine one that f32 can hold.
    fn solution(&self) -> Option<[f64; 3]> {
        let r = &self.rows;
        let diagonal = [0, 1, 2].map(|i| r[i][i].abs());
        let largest = diagonal.iter().fold(0.0, |m: f64, &d| m.max(d));
        if !diagonal.iter().all(|&d| d > 0.0 && d >= f64::from(MIN_DIAGONAL_RATIO) * largest) {
            return None;
        }
        let z = r[2][3] / r[2][2];
        let y = (r[1][3] - r[1][2] * z) / r[1][1];
        let x = (r[0][3] - r[0][1] * y - r[0][2] * z) / r[0][0];
        [x, y, z].iter().all(|&v| (v as f32).is_finite()).then_some([x, y, z])
    }
}

fn write(to: &mut [f32], point: Option<[f64; 3]>) {
    for (to, x) in to.iter_mut().zip(point.unwrap_or([f64::NAN; 3])) {
        *to = x as f32;
    }
}

fn projection(values: &[f32]) -> Projection {
    [0, 1, 2].map(|r| [0, 1, 2, 3].map(|c| f64::from(values[4 * r + c])))
}

/// The intrinsics (3x3) times a pose.
fn product(k: &[f32], pose: &Projection) -> Projection {
    [0, 1, 2].map(|r| [0, 1, 2, 3].map(|c| (0..3).map(|i| f64::from(k[3 * r + i]) * pose[i][c]).sum()))
}
