//! The sums of the CPU kernel in f64, one match after another.

use super::cpu::{COARSE, FINE};
use super::pack::{Chunk, End, Packed};
use super::pullback::{Relative, Vector, apply};
use super::{PinholeView, RigidView};

/// The camera-frame point of one end of match `m`.
pub(super) fn camera_point(end: &End, m: usize, view: &PinholeView, depths: &[f64]) -> Vector {
    let z = depths[end.anchor[m] as usize] * (1.0 + (f64::from(end.offset[m]) - 1.0) * view.relief);
    ray(end, m, view).map(|v| z * v)
}

fn ray(end: &End, m: usize, view: &PinholeView) -> Vector {
    let [cx, cy] = view.principal_px;
    [(f64::from(end.x[m]) - cx) / view.focal_px, (f64::from(end.y[m]) - cy) / view.focal_px, 1.0]
}

fn norm(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Loss and `w rho'(length) / length`, which is 0 at length 0.
fn robust(length: f64, weight: f64, exponent: f64) -> (f64, f64) {
    let shift = (1.0 / exponent).powf(1.0 / (exponent - 1.0));
    let loss = weight * ((length + shift).powf(exponent) - shift.powf(exponent));
    let slope = weight * exponent * (length + shift).powf(exponent - 1.0);
    (loss, if length > 0.0 { slope / length } else { 0.0 })
}

/// The first end's points in the frame of the second end's camera, as in the coarse kernel.
pub(super) fn coarse(
    packed: &Packed,
    chunk: &Chunk,
    (cameras, depths): (&[PinholeView], &[f64]),
    [a, b]: [&RigidView; 2],
) -> [f64; COARSE] {
    let relative = Relative::new((&b.rotation, &b.center), (&a.rotation, &a.center));
    let mut sums = [0.0; COARSE];
    for m in chunk.matches.clone() {
        let [p, q] = [0, 1].map(|side| {
            let view = chunk.views[side];
            let own = &depths[packed.first_anchor[view]..packed.first_anchor[view + 1]];
            camera_point(&packed.ends[side], m, &cameras[view], own)
        });
        let turned = apply(&relative.rotation, &p);
        let v: Vector = std::array::from_fn(|i| a.scale * turned[i] + relative.center[i] - b.scale * q[i]);
        let (loss, slope) = robust(norm(&v), f64::from(packed.weights[m]), 1.5);
        let g = v.map(|x| slope * x);
        sums[0] += loss;
        for i in 0..3 {
            sums[1 + i] += g[i];
            sums[13] -= g[i] * q[i];
            for j in 0..3 {
                sums[4 + 3 * i + j] += g[i] * p[j];
            }
        }
    }
    sums
}

/// The points of the first of `ends` projected into the camera of the second, as in the fine kernel.
pub(super) fn fine(
    packed: &Packed,
    chunk: &Chunk,
    ends: [(usize, &PinholeView); 2],
    depths: &[f64],
    histogram: &mut [f64],
) -> [f64; FINE] {
    let [(own, o), (seen, f)] = ends;
    let (own, seen) = (&packed.ends[own], &packed.ends[seen]);
    let relative = Relative::new((&f.rotation, &f.center), (&o.rotation, &o.center));
    let mut sums = [0.0; FINE];
    for m in chunk.matches.clone() {
        let k = own.anchor[m] as usize;
        let rise = f64::from(own.offset[m]) - 1.0;
        let factor = 1.0 + rise * o.relief;
        let (z, ray) = (depths[k] * factor, ray(own, m, o));
        let turned = apply(&relative.rotation, &ray);
        let y: Vector = std::array::from_fn(|i| z * turned[i] + relative.center[i]);
        let depth = y[2].max(1e-3);
        let raw = [0, 1].map(|i| (f.focal_px * y[i] + f.principal_px[i] * y[2]) / depth);
        let pixel = [f64::from(seen.x[m]), f64::from(seen.y[m])];
        let error = [0, 1].map(|i| raw[i].clamp(-1000.0, 2000.0) - pixel[i]);
        let (loss, slope) = robust(norm(&error), f64::from(packed.weights[m]), 0.5);
        let open = |i: usize| if (-1000.0..=2000.0).contains(&raw[i]) { slope * error[i] } else { 0.0 };
        let by_pixel = [open(0), open(1)];
        let n = by_pixel.map(|g| g / depth);
        let by_depth = if y[2] >= 1e-3 { -(n[0] * raw[0] + n[1] * raw[1]) } else { 0.0 };
        let along = f.principal_px[0] * n[0] + f.principal_px[1] * n[1] + by_depth;
        let g = [f.focal_px * n[0], f.focal_px * n[1], along];
        let by_z: f64 = (0..3).map(|i| g[i] * turned[i]).sum();
        sums[0] += loss;
        for i in 0..3 {
            sums[1 + i] += g[i];
            for j in 0..3 {
                sums[4 + 3 * i + j] += g[i] * z * ray[j];
            }
        }
        sums[13] += f.focal_px * (n[0] * y[0] + n[1] * y[1]);
        sums[14] += n[0] * y[2];
        sums[15] += n[1] * y[2];
        sums[16] += by_z * depths[k] * rise;
        histogram[k] += by_z * factor;
    }
    sums
}
