//! Starting parameters from cameras that are known from elsewhere.

use super::parameters::{Forward, Model, Parameters};
use super::{AlignmentError, AlignmentProblem};
use nalgebra::{DMatrix, DVector, Isometry3, Translation3, UnitQuaternion, Vector3};

/// Cameras to start from, `world_from_camera`, one per image.
#[derive(Clone, Debug, PartialEq)]
pub enum InitialCameras {
    /// Rotations; places and sizes of the clouds follow from the matches.
    Rotations(Vec<UnitQuaternion<f64>>),
    /// Rotations and centres; the sizes of the clouds follow from the matches.
    Poses(Vec<Isometry3<f64>>),
}

/// Rounds of reweighting: matches far from their partner count less.
const ROUNDS: usize = 8;

/// Sizes (and, for rotations, centres) that bring matched points together in the least-squares sense, with
/// weights `confidence / distance`, and the parameters that express them along the tree.
pub(super) fn initial_parameters(
    problem: &AlignmentProblem,
    cameras: &InitialCameras,
    model: &Model,
    identity: Parameters,
) -> Result<Parameters, AlignmentError> {
    let images = problem.images.len();
    let (rotations, known): (Vec<_>, Option<Vec<_>>) = match cameras {
        InitialCameras::Rotations(r) => (r.clone(), None),
        InitialCameras::Poses(p) => {
            (p.iter().map(|p| p.rotation).collect(), Some(p.iter().map(|p| p.translation.vector).collect()))
        }
    };
    if rotations.len() != images {
        return Err(AlignmentError::value("start", format!("{images} cameras"), rotations.len()));
    }
    let mut forward = Forward::default();
    model.forward(&identity, &mut forward);
    let depths = model.unit_depths(&identity, &forward);
    let points = turned_points(problem, &forward, &depths, &rotations);
    let (sizes, centers) = solve(&points, images, known.as_deref());
    let smallest = sizes.iter().copied().fold(f64::INFINITY, f64::min);
    if !(smallest.is_finite() && smallest > 0.0) {
        let found = format!("a size of {smallest}");
        return Err(AlignmentError::value(
            "start",
            "cameras in which all clouds have a positive size",
            found,
        ));
    }
    let pose = |i: usize| Isometry3::from_parts(Translation3::from(centers[i] / smallest), rotations[i]);
    let poses: Vec<_> = (0..images).map(pose).collect();
    let sizes: Vec<f64> = sizes.iter().map(|s| s / smallest).collect();
    Ok(model.at_cameras(identity, &poses, &sizes))
}

/// A match of two clouds: the points turned into the world, before size and place.
struct TurnedMatch {
    images: [usize; 2],
    points: [Vector3<f64>; 2],
    weight: f64,
}

fn turned_points(
    problem: &AlignmentProblem,
    forward: &Forward,
    depths: &[f64],
    rotations: &[UnitQuaternion<f64>],
) -> Vec<TurnedMatch> {
    let mut first = vec![0];
    for image in &problem.images {
        first.push(first[first.len() - 1] + image.anchor_depths.len());
    }
    let mut matches = Vec::new();
    for pair in &problem.pairs {
        for m in 0..pair.confidence.len() {
            let points = [0, 1].map(|side| {
                let image = pair.images[side];
                let v = &forward.views[image];
                let z = depths[first[image] + pair.anchors[side][m] as usize]
                    * (1.0 + (f64::from(pair.offsets[side][m]) - 1.0) * v.relief);
                let ray = |c: usize| (f64::from(pair.pixels[side][m][c]) - v.principal_px[c]) / v.focal_px;
                rotations[image] * Vector3::new(z * ray(0), z * ray(1), z)
            });
            matches.push(TurnedMatch { images: pair.images, points, weight: f64::from(pair.confidence[m]) });
        }
    }
    matches
}

/// Minimises `sum w |s_i x_i + c_i - s_j x_j - c_j|^2`. Known centres are right up to one factor, which is held at 1;
/// unknown ones are solved for with the first image at the origin and the mean size 1.
fn solve(
    matches: &[TurnedMatch],
    images: usize,
    known: Option<&[Vector3<f64>]>,
) -> (Vec<f64>, Vec<Vector3<f64>>) {
    let unknowns = if known.is_some() { images } else { 4 * images };
    let mut sizes = vec![1.0; images];
    let mut centers = known.map_or_else(|| vec![Vector3::zeros(); images], <[_]>::to_vec);
    for round in 0..ROUNDS {
        let (mut normal, mut right) = (DMatrix::zeros(unknowns, unknowns), DVector::zeros(unknowns));
        let typical = typical_distance(matches, &sizes, &centers);
        for m in matches {
            let [i, j] = m.images;
            let residual = sizes[i] * m.points[0] + centers[i] - sizes[j] * m.points[1] - centers[j];
            let weight = if round == 0 { m.weight } else { m.weight / (residual.norm() + 0.1 * typical) };
            let offset = if known.is_some() { centers[i] - centers[j] } else { Vector3::zeros() };
            add_match(&mut normal, &mut right, m, (weight, offset, known.is_some()));
        }
        let weight = normal.diagonal().sum().max(f64::MIN_POSITIVE) / unknowns as f64;
        if known.is_none() {
            // Gauge: mean size 1, first centre 0.
            for i in 0..images {
                right[4 * i] += weight;
                for j in 0..images {
                    normal[(4 * i, 4 * j)] += weight / images as f64;
                }
            }
            for axis in 1..4 {
                normal[(axis, axis)] += weight;
            }
        }
        // Images without matches keep what they have instead of making the system singular.
        for k in 0..unknowns {
            normal[(k, k)] += 1e-9 * weight;
        }
        let Some(solution) = normal.cholesky().map(|c| c.solve(&right)) else {
            return (vec![f64::NAN; images], centers);
        };
        let stride = unknowns / images;
        for i in 0..images {
            sizes[i] = solution[stride * i];
            if known.is_none() {
                centers[i] = Vector3::new(solution[4 * i + 1], solution[4 * i + 2], solution[4 * i + 3]);
            }
        }
    }
    (sizes, centers)
}

/// Adds `weight |s_i x_i - s_j x_j (+ c_i - c_j) + offset|^2` to the normal equations.
fn add_match(
    normal: &mut DMatrix<f64>,
    right: &mut DVector<f64>,
    m: &TurnedMatch,
    (weight, offset, sizes_only): (f64, Vector3<f64>, bool),
) {
    let stride = if sizes_only { 1 } else { 4 };
    for axis in 0..3 {
        let mut row = [(0usize, 0.0f64); 4];
        let mut terms = 0;
        for (side, sign) in [(0, 1.0), (1, -1.0)] {
            let base = stride * m.images[side];
            row[terms] = (base, sign * m.points[side][axis]);
            terms += 1;
            if !sizes_only {
                row[terms] = (base + 1 + axis, sign);
                terms += 1;
            }
        }
        for &(a, va) in &row[..terms] {
            right[a] -= weight * va * offset[axis];
            for &(b, vb) in &row[..terms] {
                normal[(a, b)] += weight * va * vb;
            }
        }
    }
}

/// Median distance of matched points.
fn typical_distance(matches: &[TurnedMatch], sizes: &[f64], centers: &[Vector3<f64>]) -> f64 {
    let distance = |m: &TurnedMatch| {
        let [i, j] = m.images;
        (sizes[i] * m.points[0] + centers[i] - sizes[j] * m.points[1] - centers[j]).norm()
    };
    let mut distances: Vec<f64> = matches.iter().map(distance).collect();
    if distances.is_empty() {
        return 1.0;
    }
    let middle = distances.len() / 2;
    distances.select_nth_unstable_by(middle, f64::total_cmp).1.max(f64::MIN_POSITIVE)
}
