//! Starting values from a spanning tree of the best pairs.

use super::loss::Problem;
use super::parameters::Parameters;
use super::{AlignError, Edge};
use crate::Intrinsics;
use crate::geometry::focal::{FocalRange, weiszfeld};
use crate::geometry::pnp::{PnpOptions, fast_pnp, refine_in_object_space};
use crate::geometry::procrustes::{ScaleMode, procrustes};
use nalgebra::{Isometry3, Point3, Similarity3};

/// A camera and world points of one image, before the scale of the world is normalised.
#[derive(Clone, Debug)]
pub struct InitialCamera {
    /// Focal length in pixels.
    pub focal_px: f64,
    /// The pose.
    pub world_from_camera: Isometry3<f64>,
    /// A world point per pixel.
    pub points: Vec<[f64; 3]>,
    /// Whether the pose was found by PnP instead of along the tree.
    pub from_pnp: bool,
}

/// Confidence above which a pixel takes part in PnP.
const MIN_CONFIDENCE: f32 = 3.0;
/// Samples and inlier distance of the PnP for images that the tree gives no pose.
const PNP: PnpOptions = PnpOptions { seed: 0, max_iterations: 200, threshold_px: 5.0 };

/// Parameters to start from, the cameras behind them, and the tree edges in the order in which they were used.
///
/// Pairs are ranked by the product of their two mean confidences. The best pair is placed as it is; then the best
/// pair that touches a placed image is brought to it by a weighted similarity, until all images are placed. A
/// focal length is estimated from the best pair whose first image it is; an image that is never first
/// in the tree gets its pose by PnP.
///
/// # Errors
/// [`AlignError::Disconnected`] if the pairs do not connect all images.
pub fn initialise(
    problem: &Problem,
    edges: &[Edge],
) -> Result<(Parameters, Vec<InitialCamera>, Vec<usize>), AlignError> {
    let scores: Vec<f64> = edges.iter().map(edge_score).collect();
    let tree = spanning_tree(problem.images(), edges, &scores)?;
    let mut placement = Placement::new(problem, edges);
    let order = placement.follow(&tree, &scores);
    placement.fill_focals(&scores);
    placement.fill_poses();
    let cameras = placement.into_cameras();
    let parameters = parameters(problem, edges, &cameras);
    Ok((parameters, cameras, order))
}

/// The product of the mean confidences of both maps.
pub(super) fn edge_score(edge: &Edge) -> f64 {
    mean(&edge.confidence_first) * mean(&edge.confidence_second)
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len() as f64
}

/// Edges of a maximum spanning tree (Kruskal), in no particular order.
fn spanning_tree(images: usize, edges: &[Edge], scores: &[f64]) -> Result<Vec<usize>, AlignError> {
    let mut group: Vec<usize> = (0..images).collect();
    fn root(group: &mut [usize], mut i: usize) -> usize {
        while group[i] != i {
            group[i] = group[group[i]];
            i = group[i];
        }
        i
    }
    let mut order: Vec<usize> = (0..edges.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let mut tree = Vec::new();
    for e in order {
        let (a, b) = (root(&mut group, edges[e].first), root(&mut group, edges[e].second));
        if a != b {
            group[a] = b;
            tree.push(e);
        }
    }
    let first = root(&mut group, 0);
    match (0..images).find(|&i| root(&mut group, i) != first) {
        Some(image) => Err(AlignError::Disconnected { image }),
        None => Ok(tree),
    }
}

/// What is known of the images so far.
struct Placement<'a> {
    problem: &'a Problem,
    edges: &'a [Edge],
    points: Vec<Option<Vec<[f64; 3]>>>,
    poses: Vec<Option<Isometry3<f64>>>,
    focals: Vec<Option<f64>>,
    from_pnp: Vec<bool>,
}

impl<'a> Placement<'a> {
    fn new(problem: &'a Problem, edges: &'a [Edge]) -> Self {
        let n = problem.images();
        Self {
            problem,
            edges,
            points: vec![None; n],
            poses: vec![None; n],
            focals: vec![None; n],
            from_pnp: vec![false; n],
        }
    }

    /// Places all images along the tree; an edge that touches no placed image waits behind all others.
    fn follow(&mut self, tree: &[usize], scores: &[f64]) -> Vec<usize> {
        let mut waiting: Vec<usize> = tree.to_vec();
        waiting.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]).then(b.cmp(&a))); // the best is last
        let mut order = Vec::new();
        while let Some(e) = waiting.pop() {
            let edge = &self.edges[e];
            let placed = [self.points[edge.first].is_some(), self.points[edge.second].is_some()];
            if order.is_empty() {
                self.place(e, &Similarity3::identity());
            } else if placed[0] {
                let to_world = self.bring(&edge.points_first, edge.first, &edge.confidence_first);
                self.place(e, &to_world);
            } else if placed[1] {
                let to_world = self.bring(&edge.points_second, edge.second, &edge.confidence_second);
                self.place(e, &to_world);
            } else {
                waiting.insert(0, e);
                continue;
            }
            order.push(e);
        }
        order
    }

    /// The similarity that brings a predicted map to the placed points of its image.
    fn bring(&self, points: &[[f32; 3]], image: usize, confidence: &[f32]) -> Similarity3<f64> {
        let placed = self.points[image].as_deref().expect("the image is placed");
        similarity(points, placed, confidence)
    }

    /// Puts whatever the edge has and the world lacks into the world.
    fn place(&mut self, e: usize, to_world: &Similarity3<f64>) {
        let edge = &self.edges[e];
        let moved = |points: &[[f32; 3]]| -> Vec<[f64; 3]> {
            points.iter().map(|p| (to_world * Point3::from(p.map(f64::from))).coords.into()).collect()
        };
        self.points[edge.first].get_or_insert_with(|| moved(&edge.points_first));
        self.points[edge.second].get_or_insert_with(|| moved(&edge.points_second));
        self.poses[edge.first].get_or_insert(to_world.isometry);
        self.estimate_focal(e);
    }

    fn estimate_focal(&mut self, e: usize) {
        let edge = &self.edges[e];
        let [width, height] = self.problem.size(edge.first);
        let center = [width as f64 / 2.0, height as f64 / 2.0];
        if self.focals[edge.first].is_none() {
            // A map without a focal length leaves the question to the image's other edges.
            let found = weiszfeld(edge.points_first.as_flattened(), [width, height], center, FocalRange::ALL);
            self.focals[edge.first] = found.ok();
        }
    }

    fn fill_focals(&mut self, scores: &[f64]) {
        let mut order: Vec<usize> = (0..self.edges.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        for e in order {
            self.estimate_focal(e);
        }
    }

    fn fill_poses(&mut self) {
        for image in 0..self.problem.images() {
            if self.poses[image].is_some() {
                continue;
            }
            let [width, height] = self.problem.size(image);
            let points = self.points[image].as_deref().expect("the tree places every image");
            let sure = self.most_confident(image);
            let (mut seen, mut pixels) = (Vec::new(), Vec::new());
            for (i, p) in points.iter().enumerate().filter(|(i, _)| sure[*i] > MIN_CONFIDENCE) {
                seen.push(*p);
                pixels.push([(i % width) as f64, (i / width) as f64]);
            }
            let center = [width as f64 / 2.0, height as f64 / 2.0];
            let found = fast_pnp(&seen, &pixels, self.focals[image], center, [width, height], &PNP);
            self.from_pnp[image] = true;
            if let Ok(Some((focal_px, pose))) = found {
                self.focals[image].get_or_insert(focal_px);
                let k = Intrinsics { focal_px, center_px: center };
                let start = pose.world_from_camera;
                self.poses[image] = refine_in_object_space(&seen, &pixels, &k, &pose.inliers, &start).ok();
            }
        }
    }

    /// The largest confidence that any pair has for each pixel of an image.
    fn most_confident(&self, image: usize) -> Vec<f32> {
        let [width, height] = self.problem.size(image);
        let mut most = vec![0.0f32; width * height];
        for edge in self.edges {
            for (end, confidence) in
                [(edge.first, &edge.confidence_first), (edge.second, &edge.confidence_second)]
            {
                if end == image {
                    most.iter_mut().zip(confidence).for_each(|(m, c)| *m = m.max(*c));
                }
            }
        }
        most
    }

    fn into_cameras(self) -> Vec<InitialCamera> {
        let sizes: Vec<_> = (0..self.problem.images()).map(|i| self.problem.size(i)).collect();
        let known = self.points.into_iter().zip(self.poses).zip(self.focals).zip(self.from_pnp).zip(sizes);
        known
            .map(|((((points, pose), focal), from_pnp), [width, height])| InitialCamera {
                // Nothing is known of such a camera: it starts at the origin with a normal lens.
                focal_px: focal.unwrap_or(width.max(height) as f64),
                world_from_camera: pose.unwrap_or_else(Isometry3::identity),
                points: points.expect("the tree places every image"),
                from_pnp,
            })
            .collect()
    }
}

fn similarity(points: &[[f32; 3]], target: &[[f64; 3]], confidence: &[f32]) -> Similarity3<f64> {
    let source: Vec<[f64; 3]> = points.iter().map(|p| p.map(f64::from)).collect();
    let weights: Vec<f64> = confidence.iter().map(|c| f64::from(*c)).collect();
    procrustes(&source, target, Some(&weights), ScaleMode::Free).unwrap_or_else(|_| Similarity3::identity())
}

fn parameters(problem: &Problem, edges: &[Edge], cameras: &[InitialCamera]) -> Parameters {
    let n = problem.images();
    let mut parameters = Parameters {
        edges: vec![[0.0; 8]; edges.len()],
        poses: vec![[0.0; 7]; n],
        focals: vec![0.0; n],
        centers: vec![[0.0; 2]; n],
        log_depths: vec![Vec::new(); n],
    };
    for (e, edge) in edges.iter().enumerate() {
        let s = similarity(&edge.points_first, &cameras[edge.first].points, &edge.confidence_first);
        parameters.set_edge(e, &s.isometry.rotation, &s.isometry.translation.vector, s.scaling());
    }
    let scale = parameters.scale_normaliser();
    for (image, camera) in cameras.iter().enumerate() {
        let mut pose = camera.world_from_camera;
        pose.translation.vector *= scale;
        parameters.set_pose(image, &pose);
        parameters.set_focal_px(image, camera.focal_px);
        parameters.log_depths[image] = camera
            .points
            .iter()
            .map(|p| {
                let depth = pose.inverse_transform_point(&Point3::from(p.map(|v| v * scale))).z;
                // A point behind its camera starts at depth 1, as one at depth 0 would never move.
                if depth > 0.0 { depth.ln() } else { 0.0 }
            })
            .collect();
    }
    parameters
}
