//! The three losses from world points, in f64. Derivatives are checked against differences of these.

use super::{FrameTargets, MatchedPixel, PairMatches, PinholeView, RigidView, ViewShape};

fn rho(length: f64, exponent: f64) -> f64 {
    let o = (1.0 / exponent).powf(1.0 / (exponent - 1.0));
    (length + o).powf(exponent) - o.powf(exponent)
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `R x + C`
fn to_world(rotation: &[[f64; 3]; 3], center: &[f64; 3], x: &[f64; 3]) -> [f64; 3] {
    std::array::from_fn(|r| (0..3).map(|c| rotation[r][c] * x[c]).sum::<f64>() + center[r])
}

/// The camera-frame point of a pixel.
fn camera_point(view: &PinholeView, depth: f64, offset: f32, pixel: [f32; 2]) -> [f64; 3] {
    let z = depth * (1.0 + (f64::from(offset) - 1.0) * view.relief);
    let ray = |i: usize| (f64::from(pixel[i]) - view.principal_px[i]) / view.focal_px;
    [z * ray(0), z * ray(1), z]
}

/// Anchor depths image after image.
pub(in crate::geometry) struct Depths<'a> {
    pub(in crate::geometry) shapes: &'a [ViewShape],
    pub(in crate::geometry) values: &'a [f64],
}

impl Depths<'_> {
    fn at(&self, view: usize, anchor: u32) -> f64 {
        let first: usize = self.shapes[..view].iter().map(|s| s.anchors).sum();
        self.values[first + anchor as usize]
    }
}

/// Weighted mean of the distances of world points; the camera-frame points come from the `frozen` cameras.
pub(in crate::geometry) fn coarse(
    pairs: &[PairMatches<'_>],
    frozen: &[PinholeView],
    depths: &Depths<'_>,
    views: &[RigidView],
) -> f64 {
    let (mut loss, mut total) = (0.0, 0.0);
    for pair in pairs {
        for m in 0..pair.weights.len() {
            let [x, y] = [0, 1].map(|end| {
                let view = pair.views[end];
                let depth = depths.at(view, pair.anchors[end][m]);
                let p = camera_point(&frozen[view], depth, pair.offsets[end][m], pair.pixels[end][m]);
                let v = &views[view];
                to_world(&v.rotation, &v.center, &p.map(|c| v.scale * c))
            });
            loss += f64::from(pair.weights[m]) * rho(norm(&[x[0] - y[0], x[1] - y[1], x[2] - y[2]]), 1.5);
            total += f64::from(pair.weights[m]);
        }
    }
    loss / total
}

/// Weighted mean of the distances of projections and pixels.
pub(in crate::geometry) fn fine(
    pairs: &[PairMatches<'_>],
    depths: &Depths<'_>,
    views: &[PinholeView],
) -> f64 {
    let (mut loss, mut total) = (0.0, 0.0);
    for pair in pairs {
        for (a, b) in [(0, 1), (1, 0)] {
            let (camera, owner) = (&views[pair.views[a]], &views[pair.views[b]]);
            if !depths.shapes[pair.views[a]].observes {
                continue;
            }
            for m in 0..pair.weights.len() {
                let depth = depths.at(pair.views[b], pair.anchors[b][m]);
                let p = camera_point(owner, depth, pair.offsets[b][m], pair.pixels[b][m]);
                let world = to_world(&owner.rotation, &owner.center, &p);
                let y: [f64; 3] = std::array::from_fn(|c| {
                    (0..3).map(|r| camera.rotation[r][c] * (world[r] - camera.center[r])).sum()
                });
                let error = [0, 1].map(|i| {
                    let n = camera.focal_px * y[i] + camera.principal_px[i] * y[2];
                    (n / y[2].max(1e-3)).clamp(-1000.0, 2000.0) - f64::from(pair.pixels[a][m][i])
                });
                loss += f64::from(pair.weights[m]) * rho(norm(&error), 0.5);
                total += f64::from(pair.weights[m]);
            }
        }
    }
    loss / total
}

/// Weighted mean of the distances of world points and targets given in other cameras' frames.
pub(in crate::geometry) fn fallback(
    (matched, targets): (&[Vec<MatchedPixel>], &[FrameTargets]),
    depths: &Depths<'_>,
    views: &[PinholeView],
) -> f64 {
    let (mut loss, mut total) = (0.0, 0.0);
    for t in targets {
        for p in &matched[t.view] {
            let (k, v) = (p.anchor as usize, &views[t.view]);
            let own = camera_point(v, depths.at(t.view, p.anchor), p.offset, p.pixel);
            let x = to_world(&v.rotation, &v.center, &own);
            let frame = &views[t.frame];
            let y = to_world(&frame.rotation, &frame.center, &t.points[k].map(f64::from));
            let w = f64::from(t.weights[k]);
            loss += w * rho(norm(&[x[0] - y[0], x[1] - y[1], x[2] - y[2]]), 1.1);
            total += w;
        }
    }
    loss / total
}
