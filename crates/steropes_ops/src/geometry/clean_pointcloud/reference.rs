//! The rule, one pixel and one other image after another.

use super::DenseView;

pub(super) fn clean_pointcloud(
    views: &[DenseView<'_>],
    tolerance: f64,
    bad_confidence: f32,
) -> Vec<Vec<f32>> {
    let mut confidence: Vec<Vec<f32>> = views.iter().map(|v| v.confidence.to_vec()).collect();
    for i in 0..views.len() {
        for pixel in 0..views[i].width * views[i].height {
            let world: Vec<f64> = (0..3).map(|c| f64::from(views[i].points[3 * pixel + c])).collect();
            let mut bad = false;
            for (j, other) in views.iter().enumerate().filter(|(j, _)| *j != i) {
                let camera: Vec<f64> = other
                    .camera_from_world
                    .iter()
                    .map(|row| (0..3).map(|c| row[c] * world[c]).sum::<f64>() + row[3])
                    .collect();
                let [focal, cx, cy] = other.focal_center_px;
                let u = (focal * camera[0] / camera[2] + cx).round_ties_even();
                let v = (focal * camera[1] / camera[2] + cy).round_ties_even();
                let inside =
                    (0.0..other.width as f64).contains(&u) && (0.0..other.height as f64).contains(&v);
                if camera[2] > 0.0 && inside {
                    let at = v as usize * other.width + u as usize;
                    let in_front = camera[2] < (1.0 - tolerance) * f64::from(other.depth[at]);
                    bad |= in_front && confidence[i][pixel] < confidence[j][at];
                }
            }
            if bad {
                confidence[i][pixel] = confidence[i][pixel].min(bad_confidence);
            }
        }
    }
    confidence
}
