//! The rule, one pixel and one other image after another, and where f32 may decide otherwise.

use super::DenseView;

/// The share of distances that f32 is within.
const NEAR: f64 = 1.0 / 1_048_576.0;

/// A point as another image sees it.
struct Sight {
    z: f64,
    /// Column and row, not rounded.
    place: [f64; 2],
    /// Index of the pixel, if it is inside.
    pixel: Option<usize>,
}

/// Confidences, and for each whether it hangs on a decision that f32 may take otherwise.
pub(super) fn clean_pointcloud(
    views: &[DenseView<'_>],
    tolerance: f64,
    bad_confidence: f32,
) -> (Vec<Vec<f32>>, Vec<Vec<bool>>) {
    let mut confidence: Vec<Vec<f32>> = views.iter().map(|v| v.confidence.to_vec()).collect();
    let mut fragile: Vec<Vec<bool>> = views.iter().map(|v| vec![false; v.confidence.len()]).collect();
    for i in 0..views.len() {
        for pixel in 0..views[i].width * views[i].height {
            let world: Vec<f64> = (0..3).map(|c| f64::from(views[i].points[3 * pixel + c])).collect();
            let mut bad = false;
            for (j, other) in views.iter().enumerate().filter(|(j, _)| *j != i) {
                let seen = sight(other, &world);
                let distance = norm(&in_camera(&views[i], &world)) + norm(&in_camera(other, &world));
                fragile[i][pixel] |= seen.is_near_edge(other, distance);
                if let Some(at) = seen.pixel {
                    let limit = (1.0 - tolerance) * f64::from(other.depth[at]);
                    let hidden = seen.z < limit && confidence[i][pixel] < confidence[j][at];
                    fragile[i][pixel] |= (seen.z - limit).abs() <= NEAR * distance;
                    fragile[i][pixel] |= seen.z < limit && fragile[j][at];
                    bad |= hidden;
                }
            }
            if bad {
                confidence[i][pixel] = confidence[i][pixel].min(bad_confidence);
            }
        }
    }
    (confidence, fragile)
}

fn in_camera(view: &DenseView<'_>, world: &[f64]) -> Vec<f64> {
    let rows = view.camera_from_world.iter();
    rows.map(|row| (0..3).map(|c| row[c] * world[c]).sum::<f64>() + row[3]).collect()
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

fn sight(view: &DenseView<'_>, world: &[f64]) -> Sight {
    let camera = in_camera(view, world);
    let [focal, cx, cy] = view.focal_center_px;
    let place = [focal * camera[0] / camera[2] + cx, focal * camera[1] / camera[2] + cy];
    let [u, v] = place.map(f64::round_ties_even);
    let inside = (0.0..view.width as f64).contains(&u) && (0.0..view.height as f64).contains(&v);
    let pixel = (camera[2] > 0.0 && inside).then(|| v as usize * view.width + u as usize);
    Sight { z: camera[2], place, pixel }
}

impl Sight {
    /// Whether f32 may see the point in another pixel of the image, or in one or none.
    fn is_near_edge(&self, view: &DenseView<'_>, distance: f64) -> bool {
        let size = [view.width as f64, view.height as f64];
        let beside = self.place.iter().zip(size).all(|(&p, size)| p > -1.0 && p < size);
        let error = NEAR * (view.focal_center_px[0] * distance / self.z + size[0].max(size[1]));
        let near = self.place.iter().any(|p| (p - p.floor() - 0.5).abs() <= error);
        self.z.abs() <= NEAR * distance || (self.z > 0.0 && beside && near)
    }
}
