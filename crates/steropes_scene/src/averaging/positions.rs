//! Places of all cameras from the directions between pairs.

use super::graph::{DisjointSets, check_pairs, connected_components};
use super::laplacian::{Term, least_squares};
use super::rotations::{AVERAGING_ROUNDS, AveragingOptions, median, residual_bound};
use crate::geometry::{GeometryError, check_finite, check_weights};
use nalgebra::{Matrix3, Unit, UnitQuaternion, Vector3};

/// The direction between the cameras of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirectionEdge {
    /// The two photos, by index.
    pub photos: [usize; 2],
    /// From the camera centre of `photos[0]` to that of `photos[1]`, in the world.
    pub direction_in_world: Unit<Vector3<f64>>,
    /// How much the pair is trusted; positive.
    pub weight: f64,
}

/// The outcome of [`position_averaging`].
#[derive(Clone, Debug, PartialEq)]
pub struct PositionAverage {
    /// Per photo; every group has its mean at the origin and a mean distance of 1 between the cameras of its pairs.
    pub center_in_world: Vec<Vector3<f64>>,
    /// Per photo the number of its group, joined by consistent pairs, see [`connected_components`].
    pub component: Vec<usize>,
    /// Per pair the angle between its direction and that of the average.
    pub residual_rad: Vec<f64>,
    /// Per pair: fits the others.
    pub consistent: Vec<bool>,
}

/// The direction from camera 1 to camera 2 in the world, from the `translation` of a relative pose (`t` in
/// `p2 = R p1 + t`) and the rotation of camera 2.
pub fn world_direction(
    world_from_camera2: &UnitQuaternion<f64>,
    translation: &Unit<Vector3<f64>>,
) -> Unit<Vector3<f64>> {
    // t is camera 1 seen from camera 2.
    Unit::new_unchecked(-(world_from_camera2 * translation.into_inner()))
}

/// Places of all cameras that agree best with the directions between pairs, robustly, and which pairs disagree.
///
/// First the convex problem of least unsquared deviations, `min sum w |c_2 - c_1 - s d|` over centres and lengths
/// `s >= 1`, by iteratively reweighted least squares with the lengths eliminated; then Levenberg-Marquardt on the
/// differences of unit vectors `(c_2 - c_1) / |c_2 - c_1| - d` under the Geman-McClure loss, between whose stages single
/// cameras may jump to where more of their directions cross. Pairs with a residual
/// beyond `max(sure, 5 x median)`, at most `max_residual_rad`, are inconsistent and left out in the next of a few rounds.
///
/// Directions alone do not fix all distances: along a line of cameras, and for a part that one camera joins to the
/// rest, lengths are free and come out nearly equal. Parallel rigidity is the caller's concern.
///
/// # Errors
/// [`GeometryError::Argument`] for pairs of photos that do not exist, weights that are not positive, directions that
/// are not finite.
///
/// # Source
/// O. Özyeşil, A. Singer, "Robust camera location estimation by convex programming", CVPR 2015; K. Wilson, N. Snavely,
/// "Robust global translations with 1DSfM", ECCV 2014 (second stage). Written from the papers.
pub fn position_averaging(
    photo_count: usize,
    edges: &[DirectionEdge],
    options: &AveragingOptions,
) -> Result<PositionAverage, GeometryError> {
    check(photo_count, edges)?;
    let mut consistent = vec![true; edges.len()];
    let (mut centers, mut kept);
    let mut rounds = 0;
    loop {
        kept = edges.iter().zip(&consistent).filter(|(_, c)| **c).map(|(e, _)| *e).collect::<Vec<_>>();
        centers = placed(photo_count, &kept);
        let residual: Vec<f64> = edges.iter().map(|e| angle_of(&centers, e)).collect();
        let bound = residual_bound(&residual, options);
        let judged: Vec<bool> = residual.iter().map(|r| *r <= bound).collect();
        rounds += 1;
        if judged == consistent || rounds == AVERAGING_ROUNDS {
            break;
        }
        consistent = judged;
    }
    let pairs: Vec<[usize; 2]> = kept.iter().map(|e| e.photos).collect();
    let component = connected_components(photo_count, &pairs)?;
    normalise(&mut centers, &component, &pairs);
    let residual_rad = edges.iter().map(|e| angle_of(&centers, e)).collect();
    Ok(PositionAverage { center_in_world: centers, component, residual_rad, consistent })
}

fn check(photo_count: usize, edges: &[DirectionEdge]) -> Result<(), GeometryError> {
    const OP: &str = "position_averaging";
    check_pairs(OP, photo_count, edges.iter().map(|e| e.photos))?;
    for edge in edges {
        check_weights(OP, "weight", &[edge.weight])?;
        if edge.weight == 0.0 {
            return Err(GeometryError::argument(OP, "weight", "positive", edge.weight));
        }
        check_finite(OP, "direction_in_world", [&(*edge.direction_in_world).into()])?;
    }
    Ok(())
}

fn difference(centers: &[Vector3<f64>], e: &DirectionEdge) -> Vector3<f64> {
    centers[e.photos[1]] - centers[e.photos[0]]
}

fn angle_of(centers: &[Vector3<f64>], e: &DirectionEdge) -> f64 {
    let step = difference(centers, e);
    let d = e.direction_in_world.into_inner();
    step.cross(&d).norm().atan2(step.dot(&d))
}

fn placed(photo_count: usize, edges: &[DirectionEdge]) -> Vec<Vector3<f64>> {
    let pairs: Vec<[usize; 2]> = edges.iter().map(|e| e.photos).collect();
    let pinned = lowest_of_groups(photo_count, &pairs);
    let start = least_unsquared(photo_count, edges, &pinned);
    by_angle(start, edges, &pinned)
}

/// The photo of every group that stays at the origin: the lowest.
fn lowest_of_groups(photo_count: usize, pairs: &[[usize; 2]]) -> Vec<bool> {
    let mut sets = DisjointSets::new(photo_count);
    for p in pairs {
        sets.join(p[0], p[1]);
    }
    (0..photo_count).map(|i| sets.root(i) == i).collect()
}

/// Least unsquared deviations with lengths of at least 1.
fn least_unsquared(photo_count: usize, edges: &[DirectionEdge], pinned: &[bool]) -> Vec<Vector3<f64>> {
    let mut centers = vec![Vector3::zeros(); photo_count];
    let mut previous = f64::INFINITY;
    for round in 0..200 {
        let mut cost = 0.0;
        let terms: Vec<Term> = edges
            .iter()
            .map(|e| {
                let d = e.direction_in_world.into_inner();
                let step = difference(&centers, e);
                let length = step.dot(&d);
                let free = round > 0 && length > 1.0;
                let deviation = (step - d * length.max(1.0)).norm();
                cost += e.weight * deviation;
                let weight = if round == 0 { e.weight } else { e.weight / deviation.max(1e-4) };
                // Along its direction a free length costs nothing; a little keeps it from running away.
                let across = Matrix3::identity() - d * d.transpose();
                let slack = 1e-6 * weight;
                if free {
                    let matrix = across * weight + d * d.transpose() * slack;
                    Term { nodes: e.photos, matrix, right_side: d * (slack * length) }
                } else {
                    Term { nodes: e.photos, matrix: Matrix3::identity() * weight, right_side: d * weight }
                }
            })
            .collect();
        if round > 20 && (previous - cost).abs() < 1e-9 * cost {
            break;
        }
        previous = cost;
        centers = least_squares(photo_count, &terms, pinned, 0.0);
    }
    centers
}

/// Refinement of the angles, with the scale of the loss halved from stage to stage down to three times the median
/// angle, so that a camera that wrong pairs misplaced can still return.
fn by_angle(start: Vec<Vector3<f64>>, edges: &[DirectionEdge], pinned: &[bool]) -> Vec<Vector3<f64>> {
    let mut centers = start;
    let mut scale = 1.0;
    loop {
        let angles: Vec<f64> = edges.iter().map(|e| angle_of(&centers, e)).collect();
        let least = (3.0 * median(&angles)).clamp(1e-3, 0.5);
        scale = f64::max(0.5 * scale, least);
        relocate(scale, &mut centers, edges);
        let lengths: Vec<f64> = edges.iter().map(|e| difference(&centers, e).norm().max(1e-12)).collect();
        centers = by_angle_at(scale, centers, edges, &lengths, pinned);
        if scale == least {
            return centers;
        }
    }
}

/// Moves every camera, one after the other, to the crossing of two of its directions from where the other cameras are,
/// if more of its directions agree there. Descent alone cannot leave a place that wrong pairs defend.
fn relocate(scale: f64, centers: &mut [Vector3<f64>], edges: &[DirectionEdge]) {
    let limit = scale * scale;
    for camera in 0..centers.len() {
        // Where the camera is seen from, and in which direction.
        let sights: Vec<(Vector3<f64>, Vector3<f64>, f64)> = edges
            .iter()
            .filter(|e| e.photos.contains(&camera))
            .map(|e| {
                let d = e.direction_in_world.into_inner();
                let from_first = e.photos[1] == camera;
                (centers[e.photos[usize::from(!from_first)]], if from_first { d } else { -d }, e.weight)
            })
            .collect();
        let cost = |place: &Vector3<f64>| -> f64 {
            let loss = |(from, d, weight): &(Vector3<f64>, Vector3<f64>, f64)| {
                let square = ((place - from).try_normalize(1e-12).unwrap_or(-d) - d).norm_squared();
                weight * limit * square / (limit + square)
            };
            sights.iter().map(loss).sum()
        };
        let mut best = cost(&centers[camera]);
        for (k, a) in sights.iter().enumerate() {
            for b in &sights[..k] {
                let Some(place) = crossing(a, b) else { continue };
                let candidate = cost(&place);
                // A small gain is left to the descent, which moves all cameras together.
                if candidate < 0.9 * best {
                    best = candidate;
                    centers[camera] = place;
                }
            }
        }
    }
}

/// The middle of the shortest segment between two half-lines; `None` if they are nearly parallel or diverge.
fn crossing(
    (from_a, a, _): &(Vector3<f64>, Vector3<f64>, f64),
    (from_b, b, _): &(Vector3<f64>, Vector3<f64>, f64),
) -> Option<Vector3<f64>> {
    let normal = a.cross(b);
    let square = normal.norm_squared();
    if square < 1e-3 {
        return None;
    }
    let gap = from_b - from_a;
    let along_a = gap.cross(b).dot(&normal) / square;
    let along_b = gap.cross(a).dot(&normal) / square;
    (along_a > 0.0 && along_b > 0.0).then(|| 0.5 * (from_a + a * along_a + from_b + b * along_b))
}

/// Standard deviation of the logarithm of a length around its start in a stage of [`by_angle`]: enough to hold lengths that the
/// directions leave free, little against directions that fix them.
const LENGTH_SIGMA: f64 = 0.5;

/// Levenberg-Marquardt on the differences of unit vectors, with lengths loosely held to those of the start.
fn by_angle_at(
    scale: f64,
    start: Vec<Vector3<f64>>,
    edges: &[DirectionEdge],
    lengths: &[f64],
    pinned: &[bool],
) -> Vec<Vector3<f64>> {
    let limit = scale * scale;
    let chord = |centers: &[Vector3<f64>], e: &DirectionEdge| {
        let step = difference(centers, e);
        let length = step.norm().max(1e-12);
        (step / length - e.direction_in_world.into_inner(), step / length, length)
    };
    // In units of the square angle: the noise is a third of the scale of the loss.
    let hold = limit / 9.0 / (LENGTH_SIGMA * LENGTH_SIGMA);
    let total = |centers: &[Vector3<f64>]| -> f64 {
        let loss = |square: f64| limit * square / (limit + square);
        let cost = |(e, first): (&DirectionEdge, &f64)| {
            let (error, _, length) = chord(centers, e);
            e.weight * (loss(error.norm_squared()) + hold * (length / first).ln().powi(2))
        };
        edges.iter().zip(lengths).map(cost).sum()
    };
    let mut centers = start;
    let mut cost = total(&centers);
    let mut damping = 1e-3;
    for _ in 0..100 {
        let terms: Vec<Term> = edges
            .iter()
            .zip(lengths)
            .map(|(e, first)| {
                let (error, unit, length) = chord(&centers, e);
                let weight = e.weight * (limit / (limit + error.norm_squared())).powi(2);
                let along = unit * unit.transpose() / length;
                let slope = Matrix3::identity() / length - along;
                let hold = e.weight * hold / length;
                Term {
                    nodes: e.photos,
                    matrix: slope * slope * weight + along * hold,
                    right_side: -(slope * error) * weight - unit * (hold * (length / first).ln()),
                }
            })
            .collect();
        let mean = terms.iter().map(|t| t.matrix.trace()).sum::<f64>() / centers.len().max(1) as f64;
        let steps = least_squares(centers.len(), &terms, pinned, damping * mean.max(1e-12));
        let moved: Vec<_> = centers.iter().zip(&steps).map(|(c, s)| c + s).collect();
        let moved_cost = total(&moved);
        if moved_cost < cost {
            let done = cost - moved_cost < 1e-10 * cost;
            (centers, cost) = (moved, moved_cost);
            damping = (damping * 0.2).max(1e-9);
            if done {
                break;
            }
        } else {
            damping *= 5.0;
            if damping > 1e6 {
                break;
            }
        }
    }
    centers
}

/// Moves the mean of every group to the origin and scales the mean distance of its pairs to 1.
fn normalise(centers: &mut [Vector3<f64>], component: &[usize], pairs: &[[usize; 2]]) {
    let groups = component.iter().max().map_or(0, |m| m + 1);
    let (mut sum, mut count) = (vec![Vector3::zeros(); groups], vec![0.0; groups]);
    let (mut length, mut edges) = (vec![0.0; groups], vec![0.0f64; groups]);
    for (c, &g) in centers.iter().zip(component) {
        sum[g] += c;
        count[g] += 1.0;
    }
    for p in pairs {
        let g = component[p[0]];
        length[g] += (centers[p[1]] - centers[p[0]]).norm();
        edges[g] += 1.0;
    }
    for (c, &g) in centers.iter_mut().zip(component) {
        let scale = if length[g] > 0.0 { edges[g] / length[g] } else { 1.0 };
        *c = (*c - sum[g] / count[g]) * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::procrustes::{ScaleMode, procrustes, weighted_mean_square};
    use crate::geometry::random::SplitMix;

    fn graph(
        seed: u64,
        centers: &[Vector3<f64>],
        density: f64,
        noise: f64,
        wrong_share: f64,
    ) -> (Vec<DirectionEdge>, Vec<bool>) {
        let mut random = SplitMix::new(seed);
        let (mut edges, mut wrong) = (Vec::new(), Vec::new());
        for a in 0..centers.len() {
            for b in a + 1..centers.len() {
                if b > a + 2 && random.uniform() > density {
                    continue;
                }
                let is_wrong = random.uniform() < wrong_share;
                let jitter = Vector3::from_fn(|_, _| random.normal());
                let true_direction = (centers[b] - centers[a]).normalize();
                let d = if is_wrong { jitter } else { true_direction + jitter * noise };
                edges.push(DirectionEdge {
                    photos: [a, b],
                    direction_in_world: Unit::new_normalize(d),
                    weight: 50.0 + 400.0 * random.uniform(),
                });
                wrong.push(is_wrong);
            }
        }
        (edges, wrong)
    }

    fn cloud(seed: u64, n: usize) -> Vec<Vector3<f64>> {
        let mut random = SplitMix::new(seed);
        (0..n).map(|_| Vector3::from_fn(|_, _| 3.0 * random.normal())).collect()
    }

    /// Root mean square distance to the truth after a similarity, relative to the spread of the truth.
    fn error(truth: &[Vector3<f64>], got: &PositionAverage) -> f64 {
        let arrays = |v: &[Vector3<f64>]| v.iter().map(|c| (*c).into()).collect::<Vec<[f64; 3]>>();
        let (x, y) = (arrays(&got.center_in_world), arrays(truth));
        let s = procrustes(&x, &y, None, ScaleMode::Free).unwrap();
        let mean = truth.iter().sum::<Vector3<f64>>() / truth.len() as f64;
        let spread = truth.iter().map(|c| (c - mean).norm_squared()).sum::<f64>() / truth.len() as f64;
        (weighted_mean_square(&s, &x, &y, None) / spread).sqrt()
    }

    #[test]
    fn exact_directions_give_the_places() {
        let truth = cloud(1, 15);
        let (edges, _) = graph(2, &truth, 0.5, 0.0, 0.0);
        let got = position_averaging(15, &edges, &AveragingOptions::default()).unwrap();
        assert!(error(&truth, &got) < 1e-4, "{}", error(&truth, &got));
        assert!(got.consistent.iter().all(|c| *c));
        let mean = got.center_in_world.iter().sum::<Vector3<f64>>();
        let length: f64 = edges.iter().map(|e| difference(&got.center_in_world, e).norm()).sum();
        assert!(mean.norm() < 1e-9 && (length / edges.len() as f64 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn wrong_directions_are_found_and_do_not_matter() {
        for seed in 0..10 {
            let truth = cloud(seed, 20);
            let (edges, wrong) = graph(seed + 100, &truth, 0.6, 0.01, 0.25);
            let got = position_averaging(20, &edges, &AveragingOptions::default()).unwrap();
            let right: Vec<_> = edges.iter().zip(&wrong).filter(|(_, w)| !**w).map(|(e, _)| *e).collect();
            let best = position_averaging(20, &right, &AveragingOptions::default()).unwrap();
            let (got_error, best) = (error(&truth, &got), error(&truth, &best));
            assert!(got_error < 1.3 * best && best < 0.03, "seed {seed}: {got_error} {best}");
            for (k, is_wrong) in wrong.iter().enumerate() {
                if got.consistent[k] == *is_wrong {
                    assert!(
                        *is_wrong && got.residual_rad[k] < 0.1,
                        "seed {seed} edge {k} {is_wrong} {:?} {}",
                        edges[k],
                        got.residual_rad[k]
                    );
                }
            }
        }
    }

    #[test]
    fn an_orbit_of_neighbours() {
        let truth: Vec<_> = (0..24)
            .map(|i| {
                let a = f64::from(i) * std::f64::consts::TAU / 24.0;
                Vector3::new(3.0 * a.cos(), 0.3 * (3.0 * a).sin(), 3.0 * a.sin())
            })
            .collect();
        let (edges, _) = graph(5, &truth, 0.0, 0.005, 0.0);
        let mut closed = edges;
        for (a, b) in [(23, 0), (22, 0), (23, 1)] {
            let d = Unit::new_normalize(truth[b] - truth[a]);
            closed.push(DirectionEdge { photos: [a, b], direction_in_world: d, weight: 200.0 });
        }
        let got = position_averaging(24, &closed, &AveragingOptions::default()).unwrap();
        assert!(error(&truth, &got) < 0.06, "{}", error(&truth, &got));
    }

    #[test]
    fn cameras_on_a_line_come_out_on_the_line_in_order() {
        let truth: Vec<_> = (0..6).map(|i| Vector3::new(f64::from(i), 0.0, 0.0)).collect();
        let (edges, _) = graph(6, &truth, 1.0, 0.002, 0.0);
        let got = position_averaging(6, &edges, &AveragingOptions::default()).unwrap();
        for pair in got.center_in_world.windows(2) {
            assert!(pair[1].x > pair[0].x + 0.05 && (pair[1] - pair[0]).yz().norm() < 0.1);
        }
    }

    #[test]
    fn groups_single_photos_and_errors() {
        let truth = cloud(7, 5);
        let (edges, _) = graph(8, &truth, 1.0, 0.0, 0.0);
        let got = position_averaging(7, &edges, &AveragingOptions::default()).unwrap();
        assert_eq!(got.component, vec![0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(got.center_in_world[6], Vector3::zeros());
        let bad = DirectionEdge { photos: [0, 9], ..edges[0] };
        let message = position_averaging(7, &[bad], &AveragingOptions::default()).unwrap_err().to_string();
        assert!(message.starts_with("position_averaging: `edges`"), "{message}");
        let bad = DirectionEdge { weight: -1.0, ..edges[0] };
        assert!(position_averaging(7, &[bad], &AveragingOptions::default()).is_err());
        assert!(position_averaging(2, &[], &AveragingOptions::default()).unwrap().residual_rad.is_empty());
    }

    #[test]
    fn world_direction_points_to_the_second_camera() {
        let world_from_camera2 = UnitQuaternion::from_euler_angles(0.3, -0.7, 0.2);
        let (c1, c2) = (Vector3::new(1.0, 2.0, 3.0), Vector3::new(2.0, 1.5, 3.5));
        let t = Unit::new_normalize(world_from_camera2.inverse() * (c1 - c2));
        assert!(
            (world_direction(&world_from_camera2, &t).into_inner() - (c2 - c1).normalize()).norm() < 1e-12
        );
    }
}
