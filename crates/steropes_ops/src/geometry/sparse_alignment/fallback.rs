//! The loss of pairs whose matches are not trusted: every matched pixel of an image is drawn to where another
//! camera's network output puts its anchor. Rare, so plain f64 loops; targets are read per anchor and never
//! expanded per pixel.

use super::cpu::add_ray_derivatives;
use super::pack::{Packed, ViewShape};
use super::pullback::{Matrix, Relative, Vector, accumulate, apply, minus, pull};
use super::{PinholeGradient, PinholeView};
use crate::error::OpError;
use rayon::prelude::*;

/// A pixel of an image with its anchor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatchedPixel {
    /// Pixel (x, y).
    pub pixel: [f32; 2],
    /// Anchor.
    pub anchor: u32,
    /// Depth relative to the anchor.
    pub offset: f32,
}

/// Points of one image in the camera frame of another.
#[derive(Clone, Debug, PartialEq)]
pub struct FrameTargets {
    /// The image whose points these are.
    pub view: usize,
    /// The image in whose camera frame they are given.
    pub frame: usize,
    /// One point per anchor of `view`.
    pub points: Vec<[f32; 3]>,
    /// One weight per anchor of `view`.
    pub weights: Vec<f32>,
}

const EXPONENT: f64 = 1.1;

pub(super) struct Scene<'a> {
    pub(super) packed: &'a Packed,
    pub(super) matched: &'a [Vec<MatchedPixel>],
    pub(super) targets: &'a [FrameTargets],
    pub(super) views: &'a [PinholeView],
    pub(super) depths: &'a [f64],
}

/// Checks matched pixels and targets, for errors of `op`.
pub(in crate::geometry) fn check_targets(
    op: &'static str,
    shapes: &[ViewShape],
    matched: &[Vec<MatchedPixel>],
    targets: &[FrameTargets],
) -> Result<(), OpError> {
    if matched.len() != shapes.len() {
        return Err(OpError::shape(op, "matched", format!("[{}]", shapes.len()), &[matched.len()]));
    }
    for (pixels, shape) in matched.iter().zip(shapes) {
        if let Some(p) = pixels.iter().find(|p| p.anchor as usize >= shape.anchors) {
            return Err(OpError::value(op, "matched", format!("anchors below {}", shape.anchors), p.anchor));
        }
    }
    for t in targets {
        if t.view == t.frame || t.view.max(t.frame) >= shapes.len() {
            let expected = format!("two different images below {}", shapes.len());
            return Err(OpError::value(op, "targets", expected, format!("{} and {}", t.view, t.frame)));
        }
        let anchors = shapes[t.view].anchors;
        if t.points.len() != anchors || t.weights.len() != anchors {
            let found = [t.points.len(), t.weights.len()];
            return Err(OpError::shape(op, "targets", format!("{anchors} points and weights"), &found));
        }
    }
    Ok(())
}

/// What one entry of the targets adds.
struct Share {
    loss: f64,
    weight: f64,
    by_rotation: Matrix,
    by_center: Vector,
    by_relief: f64,
    by_depth: Vec<f64>,
}

pub(super) fn evaluate(
    scene: &Scene<'_>,
    factor: f64,
    gradient: &mut [PinholeGradient],
    depth_gradient: &mut [f64],
) -> f64 {
    let shares: Vec<Share> = scene.targets.par_iter().map(|t| share(scene, t)).collect();
    let total: f64 = shares.iter().map(|s| s.weight).sum();
    if total == 0.0 {
        return 0.0;
    }
    let scale = factor / total;
    for (s, t) in shares.iter().zip(scene.targets) {
        let (o, f) = (&scene.views[t.view], &scene.views[t.frame]);
        let (owner, frame) = ((&o.rotation, &o.center), (&f.rotation, &f.center));
        let by_rotation = s.by_rotation.map(|r| r.map(|v| v * scale));
        let pulled = pull(frame, owner, &by_rotation, &s.by_center.map(|v| v * scale));
        let relative = Relative::new(frame, owner);
        let g = &mut gradient[t.view];
        accumulate((&mut g.rotation, &mut g.center), &pulled.owner);
        add_ray_derivatives(g, o, &relative.rotation, &by_rotation);
        g.relief += s.by_relief * scale;
        let g = &mut gradient[t.frame];
        accumulate((&mut g.rotation, &mut g.center), &pulled.frame);
        let first = scene.packed.first_anchor[t.view];
        for (d, v) in depth_gradient[first..].iter_mut().zip(&s.by_depth) {
            *d += v * scale;
        }
    }
    shares.iter().map(|s| s.loss).sum::<f64>() / total
}

fn share(scene: &Scene<'_>, target: &FrameTargets) -> Share {
    let (o, f) = (&scene.views[target.view], &scene.views[target.frame]);
    let relative = Relative::new((&f.rotation, &f.center), (&o.rotation, &o.center));
    let first = scene.packed.first_anchor[target.view];
    let depths = &scene.depths[first..scene.packed.first_anchor[target.view + 1]];
    let mut out = Share {
        loss: 0.0,
        weight: 0.0,
        by_rotation: [[0.0; 3]; 3],
        by_center: [0.0; 3],
        by_relief: 0.0,
        by_depth: vec![0.0; depths.len()],
    };
    let shift = (1.0 / EXPONENT).powf(1.0 / (EXPONENT - 1.0));
    for p in &scene.matched[target.view] {
        let k = p.anchor as usize;
        let (depth, rise) = (depths[k], f64::from(p.offset) - 1.0);
        let ray = [
            (f64::from(p.pixel[0]) - o.principal_px[0]) / o.focal_px,
            (f64::from(p.pixel[1]) - o.principal_px[1]) / o.focal_px,
            1.0,
        ];
        let z = depth * (1.0 + rise * o.relief);
        let turned = apply(&relative.rotation, &ray);
        let point: Vector = std::array::from_fn(|i| z * turned[i] + relative.center[i]);
        let v = minus(&point, &target.points[k].map(f64::from));
        let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let w = f64::from(target.weights[k]);
        out.weight += w;
        out.loss += w * ((length + shift).powf(EXPONENT) - shift.powf(EXPONENT));
        if length > 0.0 {
            let c = w * EXPONENT * (length + shift).powf(EXPONENT - 1.0) / length;
            let g = v.map(|x| c * x);
            let by_z: f64 = (0..3).map(|i| g[i] * turned[i]).sum();
            for (i, g) in g.iter().enumerate() {
                out.by_center[i] += g;
                for (out, ray) in out.by_rotation[i].iter_mut().zip(ray) {
                    *out += g * z * ray;
                }
            }
            out.by_relief += by_z * depth * rise;
            out.by_depth[k] += by_z * (1.0 + rise * o.relief);
        }
    }
    out
}
