//! Rotations of all cameras from the relative rotations of pairs.

use super::graph::{check_pairs, connected_components, strongest_forest};
use super::laplacian::{Term, least_squares};
use crate::geometry::{GeometryError, check_finite, check_weights};
use nalgebra::{Matrix3, UnitQuaternion};
use std::collections::BTreeMap;

/// How often inconsistent pairs are looked for; few graphs change after the second time.
pub(super) const AVERAGING_ROUNDS: usize = 4;

/// The relative rotation of a pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RotationEdge {
    /// The two photos, by index.
    pub photos: [usize; 2],
    /// Turns directions in the camera of `photos[0]` into directions in the camera of `photos[1]`.
    pub camera2_from_camera1: UnitQuaternion<f64>,
    /// How much the pair is trusted, for example its number of independent inliers; positive.
    pub weight: f64,
}

/// How averaging treats outliers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AveragingOptions {
    /// Pairs that differ by more than this from the average are never consistent.
    pub max_residual_rad: f64,
    /// Pairs that differ by less than this are always consistent.
    pub sure_residual_rad: f64,
    /// Triplets of relative rotations that miss the identity by less than this support their pairs.
    pub max_triplet_rad: f64,
}

impl Default for AveragingOptions {
    fn default() -> Self {
        Self {
            max_residual_rad: 15f64.to_radians(),
            sure_residual_rad: 3f64.to_radians(),
            max_triplet_rad: 5f64.to_radians(),
        }
    }
}

/// What the triplets of photos that contain a pair say about it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TripletCheck {
    /// Number of triplets; 0: nothing checks the pair.
    pub triplets: usize,
    /// Number of them whose rotations close within the tolerance.
    pub closed: usize,
    /// Median angle by which they fail to close.
    pub median_error_rad: f64,
}

/// The outcome of [`rotation_averaging`].
#[derive(Clone, Debug, PartialEq)]
pub struct RotationAverage {
    /// Per photo; the first photo of every group has the identity.
    pub world_from_camera: Vec<UnitQuaternion<f64>>,
    /// Per photo the number of its group, joined by consistent pairs, see [`connected_components`].
    pub component: Vec<usize>,
    /// Per pair the angle between its relative rotation and that of the average.
    pub residual_rad: Vec<f64>,
    /// Per pair.
    pub triplets: Vec<TripletCheck>,
    /// Per pair: fits the others. A false one is the mark of photos of different but similar places. Pairs that no
    /// cycle contains cannot be checked and are consistent.
    pub consistent: Vec<bool>,
}

/// Rotations of all cameras that agree best with the relative rotations of pairs, robustly, and which pairs disagree.
///
/// With `C_i` the rotation camera_from_world of photo `i`, `R` of a pair and `exp(v) = C_2^T R C_1`, the weighted sum
/// of a robust loss of `|v|` is minimised by iteratively reweighted least squares in the tangent spaces: first the
/// loss `|v|`, then Geman-McClure at three times the median residual. It starts from the spanning tree of the pairs
/// with the largest weight times support by triplets. Pairs beyond `max(sure, 5 x median residual)`, at most
/// `max_residual_rad`, are inconsistent; the average is taken again without them, until none changes sides.
///
/// # Errors
/// [`GeometryError::Argument`] for pairs of photos that do not exist, weights that are not positive, rotations that are
/// not finite.
///
/// # Source
/// A. Chatterjee, V. M. Govindu, "Robust relative rotation averaging", PAMI 2018 (reweighting); C. Zach, M. Klopschitz,
/// M. Pollefeys, "Disambiguating visual relations using loop constraints", CVPR 2010 (triplets). Written from the
/// papers.
pub fn rotation_averaging(
    photo_count: usize,
    edges: &[RotationEdge],
    options: &AveragingOptions,
) -> Result<RotationAverage, GeometryError> {
    check(photo_count, edges)?;
    let triplets = triplet_checks(photo_count, edges, options.max_triplet_rad);
    let strength: Vec<f64> = edges.iter().zip(&triplets).map(|(e, t)| e.weight * support(t)).collect();
    let mut consistent = vec![true; edges.len()];
    let mut rotations;
    let mut rounds = 0;
    loop {
        rotations = averaged(photo_count, edges, &strength, &consistent);
        let residual: Vec<f64> = edges.iter().map(|e| residual_of(&rotations, e).norm()).collect();
        let bound = residual_bound(&residual, options);
        let judged: Vec<bool> = residual.iter().map(|r| *r <= bound).collect();
        rounds += 1;
        if judged == consistent || rounds == AVERAGING_ROUNDS {
            break;
        }
        consistent = judged;
    }
    let pairs: Vec<[usize; 2]> =
        edges.iter().zip(&consistent).filter(|(_, c)| **c).map(|(e, _)| e.photos).collect();
    let component = connected_components(photo_count, &pairs)?;
    to_first_photo(&mut rotations, &component);
    let residual_rad = edges.iter().map(|e| residual_of(&rotations, e).norm()).collect();
    let world_from_camera = rotations.iter().map(UnitQuaternion::inverse).collect();
    Ok(RotationAverage { world_from_camera, component, residual_rad, triplets, consistent })
}

fn check(photo_count: usize, edges: &[RotationEdge]) -> Result<(), GeometryError> {
    const OP: &str = "rotation_averaging";
    check_pairs(OP, photo_count, edges.iter().map(|e| e.photos))?;
    for edge in edges {
        check_weights(OP, "weight", &[edge.weight])?;
        if edge.weight == 0.0 {
            return Err(GeometryError::argument(OP, "weight", "positive", edge.weight));
        }
        let q = edge.camera2_from_camera1.coords;
        check_finite(OP, "camera2_from_camera1", [&[q.x, q.y, q.z, q.w]])?;
    }
    Ok(())
}

/// Between 0 and 1: the share of closed triplets, with one half for what is not known.
fn support(t: &TripletCheck) -> f64 {
    (t.closed as f64 + 0.5) / (t.triplets as f64 + 1.0)
}

/// The bound of [`rotation_averaging`] between consistent and inconsistent residuals.
pub(super) fn residual_bound(residual: &[f64], options: &AveragingOptions) -> f64 {
    (5.0 * median(residual)).clamp(options.sure_residual_rad, options.max_residual_rad)
}

pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

/// For every edge the triangles of the graph that contain it.
fn triplet_checks(photo_count: usize, edges: &[RotationEdge], tolerance: f64) -> Vec<TripletCheck> {
    // Of several edges between two photos the last stands for them in other edges' triangles.
    let mut neighbours: Vec<BTreeMap<usize, UnitQuaternion<f64>>> = vec![BTreeMap::new(); photo_count];
    for e in edges {
        neighbours[e.photos[0]].insert(e.photos[1], e.camera2_from_camera1);
        neighbours[e.photos[1]].insert(e.photos[0], e.camera2_from_camera1.inverse());
    }
    edges
        .iter()
        .map(|e| {
            let [a, b] = e.photos;
            let errors: Vec<f64> = neighbours[b]
                .iter()
                .filter_map(|(&c, c_from_b)| {
                    let c_from_a = neighbours[a].get(&c)?;
                    Some((c_from_a.inverse() * c_from_b * e.camera2_from_camera1).angle())
                })
                .collect();
            TripletCheck {
                triplets: errors.len(),
                closed: errors.iter().filter(|x| **x <= tolerance).count(),
                median_error_rad: median(&errors),
            }
        })
        .collect()
}

/// The error of a pair in the tangent space of the world.
fn residual_of(camera_from_world: &[UnitQuaternion<f64>], e: &RotationEdge) -> nalgebra::Vector3<f64> {
    let [a, b] = e.photos.map(|i| camera_from_world[i]);
    (b.inverse() * e.camera2_from_camera1 * a).scaled_axis()
}

/// Rotations camera_from_world from the chosen edges.
fn averaged(
    photo_count: usize,
    edges: &[RotationEdge],
    strength: &[f64],
    chosen: &[bool],
) -> Vec<UnitQuaternion<f64>> {
    let used: Vec<usize> = (0..edges.len()).filter(|&e| chosen[e]).collect();
    let pairs: Vec<[usize; 2]> = used.iter().map(|&e| edges[e].photos).collect();
    let strength: Vec<f64> = used.iter().map(|&e| strength[e]).collect();
    let edges: Vec<RotationEdge> = used.iter().map(|&e| edges[e]).collect();
    let forest = strongest_forest(photo_count, &pairs, &strength);
    let (mut rotations, pinned) = along_forest(photo_count, &edges, &forest);
    const ABSOLUTE_ROUNDS: usize = 15;
    const ROUNDS: usize = 60;
    for round in 0..ROUNDS {
        let errors: Vec<_> = edges.iter().map(|e| residual_of(&rotations, e)).collect();
        let sizes: Vec<f64> = errors.iter().map(|v| v.norm()).collect();
        let scale = (3.0 * median(&sizes)).max(1e-3);
        let terms: Vec<Term> = edges
            .iter()
            .zip(errors.iter().zip(&sizes))
            .map(|(e, (error, size))| {
                let loss = if round < ABSOLUTE_ROUNDS {
                    1.0 / size.max(1e-3)
                } else {
                    (scale * scale / (scale * scale + size * size)).powi(2)
                };
                let weight = e.weight * loss;
                Term { nodes: e.photos, matrix: Matrix3::identity() * weight, right_side: weight * error }
            })
            .collect();
        let steps = least_squares(photo_count, &terms, &pinned, 0.0);
        for (rotation, step) in rotations.iter_mut().zip(&steps) {
            // C exp(step): the residual of a pair changes by step_1 - step_2 to first order.
            *rotation *= UnitQuaternion::from_scaled_axis(*step);
        }
        let largest = steps.iter().map(|s| s.norm()).fold(0.0, f64::max);
        if round >= ABSOLUTE_ROUNDS && largest < 1e-9 {
            break;
        }
    }
    rotations
}

/// Rotations along the trees of a forest, and which photos are the roots.
fn along_forest(
    photo_count: usize,
    edges: &[RotationEdge],
    forest: &[usize],
) -> (Vec<UnitQuaternion<f64>>, Vec<bool>) {
    let mut next = vec![Vec::new(); photo_count];
    for &e in forest {
        let [a, b] = edges[e].photos;
        next[a].push((b, edges[e].camera2_from_camera1));
        next[b].push((a, edges[e].camera2_from_camera1.inverse()));
    }
    let mut rotations = vec![UnitQuaternion::identity(); photo_count];
    let (mut seen, mut is_root) = (vec![false; photo_count], vec![false; photo_count]);
    for root in 0..photo_count {
        if seen[root] {
            continue;
        }
        (seen[root], is_root[root]) = (true, true);
        let mut stack = vec![root];
        while let Some(i) = stack.pop() {
            for (j, j_from_i) in &next[i] {
                if !seen[*j] {
                    seen[*j] = true;
                    rotations[*j] = j_from_i * rotations[i];
                    stack.push(*j);
                }
            }
        }
    }
    (rotations, is_root)
}

/// Turns the world of every group so that its first photo has the identity.
fn to_first_photo(camera_from_world: &mut [UnitQuaternion<f64>], component: &[usize]) {
    let mut first: BTreeMap<usize, UnitQuaternion<f64>> = BTreeMap::new();
    for (rotation, group) in camera_from_world.iter_mut().zip(component) {
        let turn = *first.entry(*group).or_insert_with(|| rotation.inverse());
        *rotation *= turn;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::random::SplitMix;
    use nalgebra::Vector3;

    fn random_rotation(random: &mut SplitMix, size: f64) -> UnitQuaternion<f64> {
        UnitQuaternion::from_scaled_axis(Vector3::from_fn(|_, _| size * random.normal()))
    }

    /// Random cameras, each pair kept with probability `density`; returns the truth and which edges are wrong.
    fn graph(
        seed: u64,
        n: usize,
        density: f64,
        noise: f64,
        wrong_share: f64,
    ) -> (Vec<UnitQuaternion<f64>>, Vec<RotationEdge>, Vec<bool>) {
        let mut random = SplitMix::new(seed);
        let truth: Vec<_> = (0..n).map(|_| random_rotation(&mut random, 1.0)).collect(); // camera_from_world
        let (mut edges, mut wrong) = (Vec::new(), Vec::new());
        for a in 0..n {
            for b in a + 1..n {
                let is_ring = b == a + 1;
                if !is_ring && random.uniform() > density {
                    continue;
                }
                let is_wrong = !is_ring && random.uniform() < wrong_share;
                let noise = random_rotation(&mut random, if is_wrong { 1.0 } else { noise });
                let relative = noise * truth[b] * truth[a].inverse();
                let photos = if random.uniform() < 0.5 { [a, b] } else { [b, a] };
                let camera2_from_camera1 = if photos[0] == a { relative } else { relative.inverse() };
                edges.push(RotationEdge {
                    photos,
                    camera2_from_camera1,
                    weight: 50.0 + 400.0 * random.uniform(),
                });
                wrong.push(is_wrong);
            }
        }
        (truth, edges, wrong)
    }

    fn worst_error(truth: &[UnitQuaternion<f64>], got: &RotationAverage) -> f64 {
        // got.world_from_camera maps to camera 0's frame.
        truth
            .iter()
            .zip(&got.world_from_camera)
            .map(|(t, g)| (t * truth[0].inverse() * g).angle())
            .fold(0.0, f64::max)
    }

    #[test]
    fn exact_rotations_are_recovered_exactly() {
        let (truth, edges, _) = graph(1, 12, 0.4, 0.0, 0.0);
        let got = rotation_averaging(12, &edges, &AveragingOptions::default()).unwrap();
        assert!(worst_error(&truth, &got) < 1e-9);
        assert!(got.consistent.iter().all(|c| *c) && got.component.iter().all(|c| *c == 0));
        assert!(got.residual_rad.iter().all(|r| *r < 1e-9));
        assert_eq!(got.world_from_camera[0].angle(), 0.0);
    }

    #[test]
    fn wrong_pairs_are_found_and_do_not_matter() {
        for seed in 0..10 {
            let (truth, edges, wrong) = graph(seed, 20, 0.5, 0.005, 0.3);
            let got = rotation_averaging(20, &edges, &AveragingOptions::default()).unwrap();
            let right: Vec<_> = edges.iter().zip(&wrong).filter(|(_, w)| !**w).map(|(e, _)| *e).collect();
            let best = rotation_averaging(20, &right, &AveragingOptions::default()).unwrap();
            let (error, best) = (worst_error(&truth, &got), worst_error(&truth, &best));
            assert!(error < 1.2 * best && best.to_degrees() < 1.0, "seed {seed}: {error} {best}");
            for (k, is_wrong) in wrong.iter().enumerate() {
                // A random rotation may be small.
                if got.consistent[k] == *is_wrong {
                    assert!(
                        *is_wrong && got.residual_rad[k] < 0.06,
                        "seed {seed} edge {k}: {}",
                        got.residual_rad[k]
                    );
                }
            }
        }
    }

    #[test]
    fn noise_averages_below_the_noise_of_a_chain() {
        let (truth, edges, _) = graph(3, 30, 0.6, 0.01, 0.0);
        let full = rotation_averaging(30, &edges, &AveragingOptions::default()).unwrap();
        let ring: Vec<_> = edges.iter().filter(|e| e.photos[0].abs_diff(e.photos[1]) == 1).copied().collect();
        let chain = rotation_averaging(30, &ring, &AveragingOptions::default()).unwrap();
        assert!(worst_error(&truth, &full) < 0.3 * worst_error(&truth, &chain));
    }

    #[test]
    fn triplets_count_what_closes() {
        let turn = |x: f64| UnitQuaternion::from_scaled_axis(Vector3::new(0.0, x, 0.0));
        let edge = |a, b, x| RotationEdge { photos: [a, b], camera2_from_camera1: turn(x), weight: 1.0 };
        // 0-1-2 closes, 1-3 disagrees with 0-1 and 0-3 by half a radian.
        let edges = [edge(0, 1, 0.2), edge(1, 2, 0.3), edge(0, 2, 0.5), edge(1, 3, 0.1), edge(3, 0, -0.8)];
        let checks = triplet_checks(4, &edges, 0.05);
        assert_eq!(checks.iter().map(|t| t.triplets).collect::<Vec<_>>(), vec![2, 1, 1, 1, 1]);
        assert_eq!(checks.iter().map(|t| t.closed).collect::<Vec<_>>(), vec![1, 1, 1, 0, 0]);
        assert!((checks[3].median_error_rad - 0.5).abs() < 1e-9);
    }

    #[test]
    fn groups_and_single_photos() {
        let (_, mut edges, _) = graph(4, 5, 0.9, 0.0, 0.0);
        let (_, other, _) = graph(5, 3, 1.0, 0.0, 0.0);
        edges.extend(other.iter().map(|e| RotationEdge { photos: e.photos.map(|i| i + 6), ..*e }));
        let got = rotation_averaging(9, &edges, &AveragingOptions::default()).unwrap();
        assert_eq!(got.component, vec![0, 0, 0, 0, 0, 2, 1, 1, 1]);
        assert!(got.residual_rad.iter().all(|r| *r < 1e-9));
        assert!([0, 5, 6].iter().all(|&i| got.world_from_camera[i].angle() == 0.0));
    }

    #[test]
    fn a_long_chain_and_no_pairs() {
        let (truth, edges, _) = graph(6, 300, 0.0, 0.0, 0.0);
        let got = rotation_averaging(300, &edges, &AveragingOptions::default()).unwrap();
        assert!(worst_error(&truth, &got) < 1e-8);
        let none = rotation_averaging(2, &[], &AveragingOptions::default()).unwrap();
        assert_eq!(none.component, vec![0, 1]);
    }

    #[test]
    fn errors_name_the_argument() {
        let good =
            RotationEdge { photos: [0, 1], camera2_from_camera1: UnitQuaternion::identity(), weight: 1.0 };
        let expect = |e: RotationEdge, part: &str| {
            let message = rotation_averaging(2, &[e], &AveragingOptions::default()).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        expect(RotationEdge { photos: [0, 2], ..good }, "`edges` must be between photos that exist");
        expect(RotationEdge { weight: 0.0, ..good }, "`weight` must be positive");
        expect(RotationEdge { weight: f64::NAN, ..good }, "`weight`");
        let nan = UnitQuaternion::new_unchecked(nalgebra::Quaternion::new(f64::NAN, 0.0, 0.0, 0.0));
        expect(RotationEdge { camera2_from_camera1: nan, ..good }, "`camera2_from_camera1` must be finite");
    }
}
