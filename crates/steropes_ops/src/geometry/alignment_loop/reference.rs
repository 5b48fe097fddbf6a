//! Cameras and the whole loss from parameters, in f64, and Adam. Derivatives are checked against differences of the loss.

use super::{IMAGE_PARAMETERS, LoopOptions, LoopParameters, LoopProblem, LoopStage};
use crate::geometry::sparse_alignment::reference::{self, Depths};
use crate::geometry::sparse_alignment::{PinholeView, RigidView, ViewShape};

type Matrix = [[f64; 3]; 3];

fn product(a: &Matrix, b: &Matrix) -> Matrix {
    std::array::from_fn(|r| std::array::from_fn(|c| (0..3).map(|k| a[r][k] * b[k][c]).sum()))
}

fn apply(m: &Matrix, v: [f64; 3]) -> [f64; 3] {
    m.map(|row| (0..3).map(|k| row[k] * v[k]).sum())
}

/// Rotation of the quaternion x, y, z, w of any length: `q v q*` on the axes.
fn rotation(q: [f64; 4]) -> Matrix {
    let norm = q.iter().map(|v| v * v).sum::<f64>().sqrt();
    let [x, y, z, w] = q.map(|v| v / norm);
    let axis = [x, y, z];
    let cross = |a: [f64; 3], b: [f64; 3]| {
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    };
    let columns: [[f64; 3]; 3] = std::array::from_fn(|k| {
        let v: [f64; 3] = std::array::from_fn(|i| f64::from(i == k));
        let t = cross(axis, v).map(|c| 2.0 * c);
        let second = cross(axis, t);
        std::array::from_fn(|i| v[i] + w * t[i] + second[i])
    });
    std::array::from_fn(|r| std::array::from_fn(|c| columns[c][r]))
}

/// Cameras, scales of the clouds, depths and depths at unit scale.
pub(super) struct Scene {
    pub(super) views: Vec<PinholeView>,
    scales: Vec<f64>,
    pub(super) depths: Vec<f64>,
    unit_depths: Vec<f64>,
}

pub(super) fn scene(problem: &LoopProblem<'_>, p: &LoopParameters) -> Scene {
    let n = problem.images.len();
    let sizes: Vec<f64> = p.images.iter().map(|p| p[7].exp()).collect();
    let global = 1.0 / sizes.iter().copied().fold(f64::INFINITY, f64::min);
    let own = |i: usize| {
        let v = &p.images[i];
        (rotation([v[0], v[1], v[2], v[3]]), [v[4], v[5], v[6]])
    };
    let mut poses: Vec<_> = (0..n).map(own).collect();
    for &[parent, child] in problem.tree {
        let (turn, place) = poses[parent];
        let moved = apply(&turn, poses[child].1);
        poses[child] = (product(&turn, &poses[child].0), std::array::from_fn(|k| moved[k] + place[k]));
    }
    let mut out = Scene { views: vec![], scales: vec![], depths: vec![], unit_depths: vec![] };
    let mut relative = p.depths.iter();
    for (i, c) in problem.images.iter().enumerate() {
        let diagonal = c.size[0].hypot(c.size[1]);
        let focal = p.images[i][8].exp().clamp(0.25 * diagonal, 10.0 * diagonal);
        let principal = [p.images[i][9] * c.size[0], p.images[i][10] * c.size[1]];
        let distance = sizes[i] * c.median_depth * focal / c.base_focal_px;
        let pivot = [0, 1].map(|k| (c.pivot_px[k] - principal[k]) / focal * distance);
        let (turn, place) = poses[i];
        let offset = apply(&turn, [pivot[0], pivot[1], distance]);
        out.views.push(PinholeView {
            rotation: turn,
            center: std::array::from_fn(|k| global * (place[k] - offset[k])),
            focal_px: focal,
            principal_px: principal,
            relief: c.base_focal_px / focal,
        });
        out.scales.push(global * sizes[i]);
        for d in relative.by_ref().take(c.anchors) {
            out.depths.push(global * (distance + (d - 1.0) * c.median_depth * sizes[i]));
            out.unit_depths.push(distance / sizes[i] + (d - 1.0) * c.median_depth);
        }
    }
    out
}

/// The whole loss at `p`; `start` holds the intrinsics and depths that the coarse stage freezes.
pub(super) fn loss(
    problem: &LoopProblem<'_>,
    options: &LoopOptions,
    p: &LoopParameters,
    start: &LoopParameters,
) -> f64 {
    let shapes: Vec<_> =
        problem.images.iter().map(|i| ViewShape { anchors: i.anchors, observes: true }).collect();
    let (now, frozen) = (scene(problem, p), scene(problem, start));
    let depths = Depths { shapes: &shapes, values: &now.depths };
    let matched = problem.pairs.iter().any(|p| !p.weights.is_empty());
    let mut loss = match options.stage {
        _ if !matched => 0.0,
        LoopStage::Coarse => {
            let rigid = |(v, &scale): (&PinholeView, &f64)| RigidView {
                rotation: v.rotation,
                center: v.center,
                scale,
            };
            let rigid: Vec<_> = now.views.iter().zip(&now.scales).map(rigid).collect();
            let unit = Depths { shapes: &shapes, values: &frozen.unit_depths };
            reference::coarse(problem.pairs, &frozen.views, &unit, &rigid)
        }
        LoopStage::Fine => reference::fine(problem.pairs, &depths, &now.views),
    };
    if !problem.targets.is_empty() {
        let lists = (problem.matched, problem.targets);
        loss += problem.target_weight * reference::fallback(lists, &depths, &now.views);
    }
    if options.stage == LoopStage::Fine {
        let n = problem.images.len() as f64;
        for (p, c) in p.images.iter().zip(problem.images) {
            loss += options.focal_prior / n * (p[8] - c.prior_focal_px.ln()).powi(2);
            let d = [0, 1].map(|k| (p[9 + k] - c.prior_center[k]).powi(2));
            loss += options.principal_prior / n * (d[0] + d[1]);
        }
    }
    loss
}

/// Derivatives of [`loss`] by central differences, at the images and depths that `asked` says.
pub(super) fn gradient(
    problem: &LoopProblem<'_>,
    options: &LoopOptions,
    p: &LoopParameters,
    asked: &dyn Fn(usize) -> bool,
) -> LoopParameters {
    let step = 1e-7;
    let mut out = LoopParameters {
        images: vec![[0.0; IMAGE_PARAMETERS]; p.images.len()],
        depths: vec![0.0; p.depths.len()],
    };
    let slope = |change: &dyn Fn(&mut LoopParameters, f64)| {
        let at = |h: f64| {
            let mut moved = p.clone();
            change(&mut moved, h);
            loss(problem, options, &moved, p)
        };
        (at(step) - at(-step)) / (2.0 * step)
    };
    for i in (0..p.images.len()).filter(|&i| asked(i)) {
        for k in 0..IMAGE_PARAMETERS {
            out.images[i][k] = slope(&|p, h| p.images[i][k] += h);
        }
    }
    for i in (0..p.depths.len()).filter(|&i| asked(i)) {
        out.depths[i] = slope(&|p, h| p.depths[i] += h);
    }
    if options.shared_intrinsics {
        for k in 8..IMAGE_PARAMETERS {
            let total = out.images.iter().map(|i| i[k]).sum();
            out.images.iter_mut().for_each(|i| i[k] = total);
        }
    }
    out
}

/// Runs Adam (arXiv:1412.6980, both decay rates 0.9) on differences.
pub(super) fn run(
    problem: &LoopProblem<'_>,
    options: &LoopOptions,
    (iterations, learning_rate): (usize, f64),
    start: &LoopParameters,
) -> LoopParameters {
    let flat = |p: &LoopParameters| [p.images.as_flattened(), &p.depths].concat();
    let images = start.images.len() * IMAGE_PARAMETERS;
    let mut p = start.clone();
    let mut state = vec![[0.0f64; 2]; images + start.depths.len()];
    for t in 0..iterations {
        let g = flat(&gradient(problem, options, &p, &|_| true));
        let rate = learning_rate * (1.0 + (std::f64::consts::PI * t as f64 / iterations as f64).cos()) / 2.0;
        let bias = 1.0 - 0.9f64.powi(t as i32 + 1);
        for (i, [mean, square]) in state.iter_mut().enumerate() {
            let moves = if i < images { options.moves[i % IMAGE_PARAMETERS] } else { options.move_depths };
            if moves {
                *mean = 0.9 * *mean + 0.1 * g[i];
                *square = 0.9 * *square + 0.1 * g[i] * g[i];
                let step = rate * (*mean / bias) / ((*square / bias).sqrt() + 1e-8);
                match i.checked_sub(images) {
                    None => p.images[i / IMAGE_PARAMETERS][i % IMAGE_PARAMETERS] -= step,
                    Some(d) => p.depths[d] -= step,
                }
            }
        }
        for image in &mut p.images {
            let norm = image[..4].iter().map(|v| v * v).sum::<f64>().sqrt();
            image[..4].iter_mut().for_each(|v| *v /= norm);
        }
    }
    p
}
