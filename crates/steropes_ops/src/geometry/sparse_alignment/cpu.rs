//! One unit of work is a chunk of matches of one pair, seen one way. It is evaluated in the frame of one of its two
//! cameras, so that all pose derivatives come from 12 sums: those by the relative rotation and the relative
//! centre. Depth derivatives go to a histogram per unit, which are then added per image in order. No locks, no
//! atomics, no allocation.

use super::lanes::{Lanes, Sums};
use super::pack::{End, Packed};
use super::pullback::{Matrix, Relative, accumulate, pull};
use super::{PinholeGradient, PinholeView, Precision, RigidGradient, RigidView, exact};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// Loss, derivatives by the relative centre (3) and rotation (9), and by the scale of the frame's points.
pub(super) const COARSE: usize = 14;
/// Loss, relative centre (3) and rotation (9), focal, principal point (2), relief.
pub(super) const FINE: usize = 17;

/// One chunk seen one way: the points of `owner` in `frame`.
struct Unit {
    chunk: usize,
    /// Which end of the pair owns the points.
    owner: usize,
    sums: [f64; FINE],
    /// By the depths of the owner's anchors; one of the two is empty.
    histogram: Vec<f32>,
    exact_histogram: Vec<f64>,
}

pub(super) struct Workspace {
    precision: Precision,
    /// What [`freeze`] was given, and the camera-frame points of both ends that follow: x, y and z.
    frozen: Option<(Vec<PinholeView>, Vec<f64>)>,
    points: [[Vec<f32>; 3]; 2],
    depths: Vec<f32>,
    coarse: Vec<[f64; COARSE]>,
    units: Vec<Unit>,
    /// Units that own points, per image.
    owned: Vec<Vec<usize>>,
}

impl Workspace {
    pub(super) fn new(packed: &Packed, precision: Precision) -> Self {
        let mut units = Vec::new();
        let mut owned = vec![Vec::new(); packed.views()];
        for (chunk, c) in packed.chunks.iter().enumerate() {
            for owner in 0..2 {
                if packed.shapes[c.views[1 - owner]].observes {
                    owned[c.views[owner]].push(units.len());
                    let anchors = packed.shapes[c.views[owner]].anchors;
                    let (single, double) = match precision {
                        Precision::Single => (anchors, 0),
                        Precision::Double => (0, anchors),
                    };
                    units.push(Unit {
                        chunk,
                        owner,
                        sums: [0.0; FINE],
                        histogram: vec![0.0; single],
                        exact_histogram: vec![0.0; double],
                    });
                }
            }
        }
        let coarse = vec![[0.0; COARSE]; packed.chunks.len()];
        let depths = vec![0.0; packed.anchors()];
        Self { precision, frozen: None, points: Default::default(), depths, coarse, units, owned }
    }

    pub(super) fn frozen(&self) -> bool {
        self.frozen.is_some()
    }
}

pub(super) fn freeze(packed: &Packed, work: &mut Workspace, views: &[PinholeView], depths: &[f64]) {
    work.frozen = Some((views.to_vec(), depths.to_vec()));
    if work.precision == Precision::Double {
        return;
    }
    for (side, points) in work.points.iter_mut().enumerate() {
        let end = &packed.ends[side];
        *points = std::array::from_fn(|_| vec![0.0; end.x.len()]);
        for chunk in &packed.chunks {
            let view = chunk.views[side];
            let v = &views[view];
            let depths = &depths[packed.first_anchor[view]..packed.first_anchor[view + 1]];
            for m in chunk.matches.clone() {
                let point = exact::camera_point(end, m, v, depths);
                for (points, value) in points.iter_mut().zip(point) {
                    points[m] = value as f32;
                }
            }
        }
    }
}

pub(super) fn coarse(
    packed: &Packed,
    work: &mut Workspace,
    views: &[RigidView],
    gradient: &mut [RigidGradient],
) -> f64 {
    if packed.coarse_weight == 0.0 {
        return 0.0;
    }
    let (points, frozen, precision) = (&work.points, &work.frozen, work.precision);
    let arch = Arch::new();
    work.coarse.par_iter_mut().zip(&packed.chunks).for_each(|(sums, chunk)| {
        let [a, b] = chunk.views.map(|v| &views[v]);
        if let (Precision::Double, Some((cameras, depths))) = (precision, frozen) {
            *sums = exact::coarse(packed, chunk, (cameras, depths), [a, b]);
            return;
        }
        let relative = Relative::new((&b.rotation, &b.center), (&a.rotation, &a.center));
        let side = |end: usize| points[end].each_ref().map(|p| &p[chunk.matches.clone()]);
        *sums = arch.dispatch(CoarseKernel {
            points: [side(0), side(1)],
            weights: &packed.weights[chunk.matches.clone()],
            matrix: relative.rotation.map(|r| r.map(|v| (a.scale * v) as f32)),
            center: relative.center.map(|v| v as f32),
            scale: b.scale as f32,
        });
    });
    let share = 1.0 / packed.coarse_weight;
    let mut loss = 0.0;
    for (sums, chunk) in work.coarse.iter().zip(&packed.chunks) {
        let [a, b] = chunk.views;
        let sums = sums.map(|v| v * share);
        loss += sums[0];
        let (frame, owner) = (&views[b], &views[a]);
        let relative = Relative::new((&frame.rotation, &frame.center), (&owner.rotation, &owner.center));
        let by_matrix = square(&sums[4..13]);
        let dot = |m: &Matrix, n: &Matrix| -> f64 {
            m.as_flattened().iter().zip(n.as_flattened()).map(|(a, b)| a * b).sum()
        };
        gradient[a].scale += dot(&by_matrix, &relative.rotation);
        gradient[b].scale += sums[13];
        let by_rotation = by_matrix.map(|r| r.map(|v| v * owner.scale));
        let pulled = pull(
            (&frame.rotation, &frame.center),
            (&owner.rotation, &owner.center),
            &by_rotation,
            &[sums[1], sums[2], sums[3]],
        );
        accumulate((&mut gradient[a].rotation, &mut gradient[a].center), &pulled.owner);
        accumulate((&mut gradient[b].rotation, &mut gradient[b].center), &pulled.frame);
    }
    loss
}

/// `v = matrix p + center - scale q` and its robust length.
struct CoarseKernel<'a> {
    points: [[&'a [f32]; 3]; 2],
    weights: &'a [f32],
    matrix: [[f32; 3]; 3],
    center: [f32; 3],
    scale: f32,
}

impl WithSimd for CoarseKernel<'_> {
    type Output = [f64; COARSE];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; COARSE] {
        let splat = |v: f32| Lanes::splat(simd, v);
        let (one, tiny) = (splat(1.0), splat(1e-18));
        let (o, root_o) = (splat(4.0 / 9.0), splat(2.0 / 3.0));
        let m = self.matrix.map(|r| r.map(splat));
        let t = self.center.map(splat);
        let minus_scale = splat(-self.scale);
        let [p, q] = self.points.map(|end| end.map(|v| S::as_simd_f32s(v).0));
        let (w, _) = S::as_simd_f32s(self.weights);
        let mut sums = Sums::<S, COARSE>::new(simd);
        for i in 0..w.len() {
            let w = Lanes(simd, w[i]);
            let [px, py, pz] = [Lanes(simd, p[0][i]), Lanes(simd, p[1][i]), Lanes(simd, p[2][i])];
            let [qx, qy, qz] = [Lanes(simd, q[0][i]), Lanes(simd, q[1][i]), Lanes(simd, q[2][i])];
            let vx = m[0][0].fma(px, m[0][1].fma(py, m[0][2].fma(pz, minus_scale.fma(qx, t[0]))));
            let vy = m[1][0].fma(px, m[1][1].fma(py, m[1][2].fma(pz, minus_scale.fma(qy, t[1]))));
            let vz = m[2][0].fma(px, m[2][1].fma(py, m[2][2].fma(pz, minus_scale.fma(qz, t[2]))));
            let length = vx.fma(vx, vy.fma(vy, vz * vz)).sqrt();
            // rho = s^3 - o^1.5 with s = sqrt(length + o); s - sqrt(o) = length / (s + sqrt(o)) keeps small lengths.
            let s = (length + o).sqrt();
            let sum = s + root_o;
            let safe = length.max(tiny);
            let inverse = (safe * sum).recip();
            let rho = length * safe * inverse * s.fma(sum, o);
            let c = w * splat(1.5) * s * sum * inverse;
            let (gx, gy, gz) = (c * vx, c * vy, c * vz);
            let by_scale = -(gx.fma(qx, gy.fma(qy, gz * qz)));
            sums.add([
                (w, rho),
                (gx, one),
                (gy, one),
                (gz, one),
                (gx, px),
                (gx, py),
                (gx, pz),
                (gy, px),
                (gy, py),
                (gy, pz),
                (gz, px),
                (gz, py),
                (gz, pz),
                (by_scale, one),
            ]);
        }
        sums.finish()
    }
}

pub(super) fn fine(
    packed: &Packed,
    work: &mut Workspace,
    (views, depths): (&[PinholeView], &[f64]),
    gradient: &mut [PinholeGradient],
    depth_gradient: &mut [f64],
) -> f64 {
    if packed.fine_weight == 0.0 {
        return 0.0;
    }
    let arch = Arch::new();
    let share = 1.0 / packed.fine_weight;
    for (single, double) in work.depths.iter_mut().zip(depths) {
        *single = *double as f32;
    }
    let (single_depths, precision) = (&work.depths, work.precision);
    work.units.par_iter_mut().for_each(|unit| {
        let chunk = &packed.chunks[unit.chunk];
        let (owner, frame) = (chunk.views[unit.owner], chunk.views[1 - unit.owner]);
        let anchors = packed.first_anchor[owner]..packed.first_anchor[owner + 1];
        if precision == Precision::Double {
            unit.exact_histogram.fill(0.0);
            let ends = [(unit.owner, &views[owner]), (1 - unit.owner, &views[frame])];
            unit.sums = exact::fine(packed, chunk, ends, &depths[anchors], &mut unit.exact_histogram);
            return;
        }
        unit.histogram.fill(0.0);
        unit.sums = arch.dispatch(FineKernel {
            owner: (&packed.ends[unit.owner], &views[owner]),
            frame: (&packed.ends[1 - unit.owner], &views[frame]),
            matches: chunk.matches.clone(),
            weights: &packed.weights,
            depths: &single_depths[anchors],
            histogram: &mut unit.histogram,
        });
    });
    let mut rest = depth_gradient;
    let mut per_view = Vec::with_capacity(packed.views());
    for shape in &packed.shapes {
        let (own, others) = rest.split_at_mut(shape.anchors);
        per_view.push(own);
        rest = others;
    }
    let units = &work.units;
    per_view.par_iter_mut().zip(&work.owned).for_each(|(out, owned)| {
        for &unit in owned {
            for (out, h) in out.iter_mut().zip(&units[unit].histogram) {
                *out += share * f64::from(*h);
            }
            for (out, h) in out.iter_mut().zip(&units[unit].exact_histogram) {
                *out += share * h;
            }
        }
    });
    let mut loss = 0.0;
    for unit in units {
        let chunk = &packed.chunks[unit.chunk];
        loss += unit.sums[0] * share;
        let (owner, frame) = (chunk.views[unit.owner], chunk.views[1 - unit.owner]);
        pull_fine(&unit.sums.map(|v| v * share), (owner, frame), views, gradient);
    }
    loss
}

/// Adds the derivatives of one unit.
fn pull_fine(
    sums: &[f64; FINE],
    (owner, frame): (usize, usize),
    views: &[PinholeView],
    gradient: &mut [PinholeGradient],
) {
    let (o, f) = (&views[owner], &views[frame]);
    let relative = Relative::new((&f.rotation, &f.center), (&o.rotation, &o.center));
    let by_rotation = square(&sums[4..13]);
    let pulled =
        pull((&f.rotation, &f.center), (&o.rotation, &o.center), &by_rotation, &[sums[1], sums[2], sums[3]]);
    accumulate((&mut gradient[owner].rotation, &mut gradient[owner].center), &pulled.owner);
    accumulate((&mut gradient[frame].rotation, &mut gradient[frame].center), &pulled.frame);
    add_ray_derivatives(&mut gradient[owner], o, &relative.rotation, &by_rotation);
    gradient[owner].relief += sums[16];
    gradient[frame].focal_px += sums[13] / f.focal_px;
    gradient[frame].principal_px[0] += sums[14];
    gradient[frame].principal_px[1] += sums[15];
}

/// Derivatives by the intrinsics through the rays of the owner's points, `by_rotation = sum g xᵀ` with `g` the
/// derivative by the point in the frame and `x` the point in the owner's camera.
pub(super) fn add_ray_derivatives(
    gradient: &mut PinholeGradient,
    view: &PinholeView,
    rotation: &Matrix,
    by_rotation: &Matrix,
) {
    // In the owner's camera: sum over points of (derivative by x) xᵀ.
    let own = super::pullback::product(&super::pullback::transpose(rotation), by_rotation);
    gradient.focal_px -= (own[0][0] + own[1][1]) / view.focal_px;
    gradient.principal_px[0] -= own[0][2] / view.focal_px;
    gradient.principal_px[1] -= own[1][2] / view.focal_px;
}

/// The points of `owner` projected into `frame`, compared with the pixels there.
struct FineKernel<'a> {
    owner: (&'a End, &'a PinholeView),
    frame: (&'a End, &'a PinholeView),
    matches: std::ops::Range<usize>,
    weights: &'a [f32],
    depths: &'a [f32],
    histogram: &'a mut [f32],
}

impl WithSimd for FineKernel<'_> {
    type Output = [f64; FINE];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; FINE] {
        let splat = |v: f32| Lanes::splat(simd, v);
        let ((own, o), (seen, f)) = (self.owner, self.frame);
        let relative = Relative::new((&f.rotation, &f.center), (&o.rotation, &o.center));
        let m = relative.rotation.map(|r| r.map(|v| splat(v as f32)));
        let t = relative.center.map(|v| splat(v as f32));
        let inverse_focal = splat((1.0 / o.focal_px) as f32);
        let [own_px, own_py] = o.principal_px.map(|v| splat(v as f32));
        let relief = splat(o.relief as f32);
        let focal = splat(f.focal_px as f32);
        let [px, py] = f.principal_px.map(|v| splat(v as f32));
        let (one, zero, half, tiny) = (splat(1.0), splat(0.0), splat(0.5), splat(1e-18));
        let (near, low, high) = (splat(1e-3), splat(-1000.0), splat(2000.0));
        let range = self.matches;
        let [ox, oy, offset, ux, uy, w] = [&own.x, &own.y, &own.offset, &seen.x, &seen.y, self.weights]
            .map(|v: &[f32]| S::as_simd_f32s(&v[range.clone()]).0);
        let anchors = own.anchor[range].chunks_exact(S::F32_LANES);
        let mut sums = Sums::<S, FINE>::new(simd);
        let mut buffer = [0.0f32; super::pack::PAD];
        for (i, anchors) in anchors.enumerate() {
            for (value, &k) in buffer.iter_mut().zip(anchors) {
                *value = self.depths[k as usize];
            }
            let depth = Lanes(simd, S::as_simd_f32s(&buffer).0[0]);
            let rise = Lanes(simd, offset[i]) - one;
            let factor = rise.fma(relief, one);
            let z = depth * factor;
            let rx = (Lanes(simd, ox[i]) - own_px) * inverse_focal;
            let ry = (Lanes(simd, oy[i]) - own_py) * inverse_focal;
            // Ray and point in the frame.
            let ax = m[0][0].fma(rx, m[0][1].fma(ry, m[0][2]));
            let ay = m[1][0].fma(rx, m[1][1].fma(ry, m[1][2]));
            let az = m[2][0].fma(rx, m[2][1].fma(ry, m[2][2]));
            let (yx, yy, yz) = (z.fma(ax, t[0]), z.fma(ay, t[1]), z.fma(az, t[2]));
            let inverse = yz.max(near).recip();
            // Where the depth is large enough, yz / yz is 1 and need not be rounded.
            let ratio = near.if_at_most(yz, one, yz * inverse);
            let scaled = focal * inverse;
            let (qx, qy) = (scaled * yx, scaled * yy);
            let (ux, uy) = (Lanes(simd, ux[i]), Lanes(simd, uy[i]));
            let (ex, ey) = (qx + px.fma(ratio, -ux), qy + py.fma(ratio, -uy));
            let (lowx, lowy, highx, highy) = (low - ux, low - uy, high - ux, high - uy);
            let (cx, cy) = (ex.max(lowx).min(highx), ey.max(lowy).min(highy));
            let length = cx.fma(cx, cy * cy).sqrt();
            // rho = s - 1/2 with s = sqrt(length + 1/4); s - 1/2 = length / (s + 1/2) keeps small lengths.
            let s = (length + splat(0.25)).sqrt();
            let safe = length.max(tiny);
            let sum = s + half;
            let common = (s * safe * sum).recip();
            let rho = length * safe * s * common;
            let w = Lanes(simd, w[i]);
            let c = w * half * sum * common;
            let open = |e: Lanes<S>, low: Lanes<S>, high: Lanes<S>| {
                low.if_at_most(e, e.if_at_most(high, c * e, zero), zero)
            };
            let (gux, guy) = (open(ex, lowx, highx), open(ey, lowy, highy));
            let along = gux.fma(qx, guy * qy);
            let (gx, gy) = (gux * scaled, guy * scaled);
            let gz = inverse * near.if_at_most(yz, -along, gux.fma(px, guy * py));
            let by_z = gx.fma(ax, gy.fma(ay, gz * az));
            let (zx, zy, zz) = (gx * z, gy * z, gz * z);
            sums.add([
                (w, rho),
                (gx, one),
                (gy, one),
                (gz, one),
                (zx, rx),
                (zx, ry),
                (zx, one),
                (zy, rx),
                (zy, ry),
                (zy, one),
                (zz, rx),
                (zz, ry),
                (zz, one),
                (along, one),
                (gux, ratio),
                (guy, ratio),
                (by_z * depth, rise),
            ]);
            S::as_mut_simd_f32s(&mut buffer).0[0] = (by_z * factor).1;
            for (value, &k) in buffer.iter().zip(anchors) {
                self.histogram[k as usize] += value;
            }
        }
        sums.finish()
    }
}

/// Nine values as rows.
fn square(values: &[f64]) -> Matrix {
    std::array::from_fn(|r| std::array::from_fn(|c| values[3 * r + c]))
}
