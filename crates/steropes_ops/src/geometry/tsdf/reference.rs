//! f64 oracle, from the definition: one point and one map after another, every candidate by way of the world.

use super::{View, random};

/// Depth maps as plain lists.
pub(super) struct Scene<'a> {
    pub(super) views: &'a [View],
    pub(super) depth: &'a [f32],
    pub(super) confidence: &'a [f32],
    pub(super) threshold: f32,
}

/// A small error of every projection (x and y, in pixels) and of every signed distance, to find out what rounding may decide.
pub(super) type Disturbance = [f64; 3];

impl Scene<'_> {
    /// The TSDF at a world point, `None` where no map sees it.
    pub(super) fn value(&self, point: [f64; 3], disturbance: Disturbance) -> Option<f64> {
        let mut seen: Vec<(f64, f64)> = Vec::new(); // signed distance, confidence
        let mut start = 0;
        for view in self.views {
            let pose = &view.camera_from_world;
            let camera = [0, 1, 2].map(|i| (0..3).map(|c| pose[i][c] * point[c]).sum::<f64>() + pose[i][3]);
            let [u, v] = [0, 1].map(|axis| {
                let place = view.focal_px[axis] * camera[axis] / camera[2] + view.center_px[axis];
                (place + disturbance[axis]).round_ties_even()
            });
            if u >= 0.0 && v >= 0.0 && u < view.width as f64 && v < view.height as f64 {
                let at = start + v as usize * view.width + u as usize;
                let (depth, confidence) = (f64::from(self.depth[at]), f64::from(self.confidence[at]));
                let distance = depth - camera[2];
                let says = depth.is_finite() && depth > 0.0 && confidence.is_finite();
                if says && distance + disturbance[2] >= -f64::from(self.threshold) {
                    seen.push((distance, confidence));
                }
            }
            start += view.pixels();
        }
        let surest = seen.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
        let weight = |confidence: f64| (confidence - surest).exp();
        let total: f64 = seen.iter().map(|s| weight(s.1)).sum();
        (!seen.is_empty()).then(|| seen.iter().map(|s| weight(s.1) * s.0).sum::<f64>() / total)
    }

    /// The candidates of pixel `index` of map `view` (counted over all maps: `start + index`).
    pub(super) fn candidates(
        &self,
        at: usize,
        numbers: &dyn Fn(usize, usize) -> f32,
        count: usize,
    ) -> Vec<f64> {
        let (depth, threshold) = (f64::from(self.depth[at]), f64::from(self.threshold));
        (0..count).map(|s| depth + (f64::from(numbers(at, s)) - 1.0) * threshold).collect()
    }

    /// |TSDF| of each candidate of pixel `index` of map `v`, infinite where it is not defined or the candidate is not positive.
    pub(super) fn distances(
        &self,
        v: usize,
        index: usize,
        candidates: &[f64],
        disturbance: Disturbance,
    ) -> Vec<f64> {
        let view = &self.views[v];
        let (x, y) = ((index % view.width) as f64, (index / view.width) as f64);
        let pose = &view.camera_from_world;
        let distance = |&d: &f64| {
            let camera = [
                (x - view.center_px[0]) / view.focal_px[0] * d,
                (y - view.center_px[1]) / view.focal_px[1] * d,
                d,
            ];
            let moved = [0, 1, 2].map(|c| camera[c] - pose[c][3]);
            let world = [0, 1, 2].map(|c| (0..3).map(|i| pose[i][c] * moved[i]).sum::<f64>());
            let usable = d.is_finite() && d > 0.0;
            if usable {
                self.value(world, disturbance).map_or(f64::INFINITY, f64::abs)
            } else {
                f64::INFINITY
            }
        };
        candidates.iter().map(distance).collect()
    }
}

/// The index of the candidate taken, `None` where the depth stays.
pub(super) fn taken(distances: &[f64], threshold: f64) -> Option<usize> {
    let best = (0..distances.len()).min_by(|&a, &b| distances[a].total_cmp(&distances[b]))?;
    let says = distances.iter().any(|d| d.is_finite() && (d - threshold).abs() > 1e-6 * threshold);
    says.then_some(best)
}

/// The random numbers of the op, for [`Scene::candidates`].
pub(super) fn random_numbers(seed: u32) -> impl Fn(usize, usize) -> f32 {
    move |pixel, sample| random::normal(pixel as u32, sample as u32, seed)
}
