//! The tree along which poses are relative to each other.

use super::AlignmentError;
use nalgebra::DMatrix;

/// A rooted tree over all images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KinematicTree {
    root: usize,
    edges: Vec<[usize; 2]>,
}

/// Which pairs of images become edges of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeChoice {
    /// Ward clustering of the match counts.
    Ward,
    /// The tree with the most matches.
    MaximumSpanning,
    /// This tree.
    Given(KinematicTree),
}

impl KinematicTree {
    /// A tree from its root and its edges (parent, child).
    ///
    /// # Errors
    /// [`AlignmentError::Value`] unless the edges join all of the `images` to the root, parents first.
    pub fn new(root: usize, edges: Vec<[usize; 2]>, images: usize) -> Result<Self, AlignmentError> {
        let mut placed = vec![false; images];
        let expected = || format!("a tree over {images} images, parents first");
        match placed.get_mut(root) {
            Some(p) => *p = true,
            None => return Err(AlignmentError::value("tree", expected(), format!("root {root}"))),
        }
        for &[parent, child] in &edges {
            if child >= images || placed[child] || !placed.get(parent).copied().unwrap_or(false) {
                return Err(AlignmentError::value("tree", expected(), format!("edge {parent}-{child}")));
            }
            placed[child] = true;
        }
        match placed.iter().position(|p| !p) {
            Some(image) => Err(AlignmentError::value("tree", expected(), format!("none with image {image}"))),
            None => Ok(Self { root, edges }),
        }
    }

    /// The tree over undirected edges with its centre (the image from which the farthest other one is nearest; the
    /// lowest of two) as root.
    ///
    /// # Errors
    /// [`AlignmentError::Value`] unless the edges form one tree over all images.
    pub fn from_center(edges: &[[usize; 2]], images: usize) -> Result<Self, AlignmentError> {
        let mut neighbours = vec![Vec::new(); images];
        for &[a, b] in edges {
            if a.max(b) >= images {
                let expected = format!("edges between images below {images}");
                return Err(AlignmentError::value("tree", expected, format!("{a}-{b}")));
            }
            neighbours[a].push(b);
            neighbours[b].push(a);
        }
        for list in &mut neighbours {
            list.sort_unstable();
        }
        let root = (0..images).min_by_key(|&i| (breadth_first(&neighbours, i).1, i)).unwrap_or(0);
        Self::new(root, breadth_first(&neighbours, root).0, images)
    }

    /// The image that is not relative to another one.
    pub fn root(&self) -> usize {
        self.root
    }

    /// (parent, child), parents first.
    pub fn edges(&self) -> &[[usize; 2]] {
        &self.edges
    }
}

/// Edges (parent, child) in breadth-first order and the depth of the last image.
fn breadth_first(neighbours: &[Vec<usize>], root: usize) -> (Vec<[usize; 2]>, usize) {
    let mut depth = vec![usize::MAX; neighbours.len()];
    depth[root] = 0;
    let (mut edges, mut queue, mut last) = (Vec::new(), std::collections::VecDeque::from([root]), 0);
    while let Some(i) = queue.pop_front() {
        last = depth[i];
        for &j in &neighbours[i] {
            if depth[j] == usize::MAX {
                depth[j] = depth[i] + 1;
                edges.push([i, j]);
                queue.push_back(j);
            }
        }
    }
    (edges, last)
}

/// The outcome of Ward clustering.
#[derive(Clone, Debug, PartialEq)]
pub struct WardTree {
    /// Distance of the two clusters of each merge, ascending.
    pub heights: Vec<f64>,
    /// One edge per merge, between the representatives of the two clusters.
    pub edges: Vec<[usize; 2]>,
}

/// Ward clustering of images by their match counts.
///
/// The likeness of two images is `p = min(1, count / (3 min(anchors)))`, their distance `1 - p`, or 2 without a match.
/// Clusters merge closest first under the Lance-Williams rule of Ward. Every cluster has a representative image; of
/// two, the one with the larger sum of likenesses stays and takes the larger likeness of both to each image.
///
/// `counts` is symmetric `[images, images]`; images without any match are joined too.
///
/// # Errors
/// [`AlignmentError::Value`] if the extents do not agree.
///
/// # Source
/// MASt3R-SfM, arXiv:2409.19152, section 4.1 (kinematic chain); Ward 1963, Lance and Williams 1967.
pub fn ward(counts: &DMatrix<f64>, anchors: &[usize]) -> Result<WardTree, AlignmentError> {
    let n = anchors.len();
    if counts.shape() != (n, n) {
        let (rows, columns) = counts.shape();
        return Err(AlignmentError::value("counts", format!("[{n}, {n}]"), format!("[{rows}, {columns}]")));
    }
    let mut likeness = DMatrix::from_fn(n, n, |i, j| {
        if i == j {
            return 1.0;
        }
        let most = 3.0 * anchors[i].min(anchors[j]).max(1) as f64;
        // Rounded as the published distances are, so that equal counts stay equal.
        f64::from((counts[(i, j)] / most).min(1.0) as f32)
    });
    let mut distance = likeness.map(|p| if p == 0.0 { 2.0 } else { f64::from(1.0 - p as f32) });
    // Clusters keep the slot of one of their images; `id` counts up as clusters merge.
    let mut id: Vec<usize> = (0..n).collect();
    let mut size = vec![1.0; n];
    let mut representative: Vec<usize> = (0..n).collect();
    let mut alive: Vec<usize> = (0..n).collect();
    let (mut heights, mut edges) = (Vec::new(), Vec::new());
    for merge in 1..n {
        let (a, b) = closest(&alive, &id, &distance);
        heights.push(distance[(a, b)]);
        for &c in alive.iter().filter(|&&c| c != a && c != b) {
            let (na, nb, nc) = (size[a], size[b], size[c]);
            let (ac, bc, ab) = (distance[(a, c)], distance[(b, c)], distance[(a, b)]);
            let squared = (na + nc) * ac * ac + (nb + nc) * bc * bc - nc * ab * ab;
            let merged = (squared / (na + nb + nc)).max(0.0).sqrt();
            (distance[(a, c)], distance[(c, a)]) = (merged, merged);
        }
        let (ra, rb) = (representative[a], representative[b]);
        edges.push([ra, rb]);
        let kept = if likeness.row(ra).sum() > likeness.row(rb).sum() { ra } else { rb };
        for j in 0..n {
            likeness[(kept, j)] = likeness[(ra, j)].max(likeness[(rb, j)]);
        }
        (representative[a], size[a], id[a]) = (kept, size[a] + size[b], n + merge - 1);
        alive.retain(|&c| c != b);
    }
    Ok(WardTree { heights, edges })
}

/// The two closest clusters, the one with the lower number first; of equal ones those with the lowest numbers.
fn closest(alive: &[usize], id: &[usize], distance: &DMatrix<f64>) -> (usize, usize) {
    let mut best = (f64::INFINITY, usize::MAX, usize::MAX, 0, 0);
    for (i, &a) in alive.iter().enumerate() {
        for &b in &alive[i + 1..] {
            let (low, high) = if id[a] < id[b] { (a, b) } else { (b, a) };
            let d = distance[(a, b)];
            if d < best.0 || (d == best.0 && (id[low], id[high]) < (best.1, best.2)) {
                best = (d, id[low], id[high], low, high);
            }
        }
    }
    (best.3, best.4)
}

/// The edges of the tree with the largest sum of `counts` (Kruskal's algorithm; equal counts lowest images first).
///
/// # Errors
/// [`AlignmentError::Disconnected`] if pairs with matches do not join all images.
pub fn maximum_spanning(counts: &DMatrix<f64>) -> Result<Vec<[usize; 2]>, AlignmentError> {
    let n = counts.nrows();
    let mut pairs: Vec<[usize; 2]> = (0..n).flat_map(|i| (i + 1..n).map(move |j| [i, j])).collect();
    pairs.retain(|&[i, j]| counts[(i, j)] > 0.0);
    pairs.sort_by(|&[a, b], &[c, d]| counts[(c, d)].total_cmp(&counts[(a, b)]).then([a, b].cmp(&[c, d])));
    let mut group: Vec<usize> = (0..n).collect();
    let mut edges = Vec::new();
    for [i, j] in pairs {
        let (a, b) = (group[i], group[j]);
        if a != b {
            edges.push([i, j]);
            for g in group.iter_mut().filter(|g| **g == b) {
                *g = a;
            }
        }
    }
    match (0..n).find(|&i| group[i] != group[0]) {
        Some(image) => Err(AlignmentError::Disconnected { image }),
        None => Ok(edges),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Match counts of a chain 3 - 1 - 0 - 2 - 4.
    fn chain() -> DMatrix<f64> {
        let mut counts = DMatrix::zeros(5, 5);
        for (k, [i, j]) in [[3, 1], [1, 0], [0, 2], [2, 4]].into_iter().enumerate() {
            counts[(i, j)] = 50.0 + k as f64;
            counts[(j, i)] = counts[(i, j)];
        }
        counts
    }

    fn sorted(edges: &[[usize; 2]]) -> Vec<[usize; 2]> {
        let mut edges: Vec<_> = edges.iter().map(|&[a, b]| [a.min(b), a.max(b)]).collect();
        edges.sort_unstable();
        edges
    }

    #[test]
    fn the_root_is_the_centre_and_parents_come_first() {
        let tree = KinematicTree::from_center(&[[3, 1], [1, 0], [0, 2], [2, 4]], 5).expect("a tree");
        assert_eq!((tree.root(), tree.edges()), (0, [[0, 1], [0, 2], [1, 3], [2, 4]].as_slice()));
    }

    #[test]
    fn a_chain_is_its_own_spanning_tree() {
        assert_eq!(sorted(&maximum_spanning(&chain()).expect("connected")), [[0, 1], [0, 2], [1, 3], [2, 4]]);
    }

    #[test]
    fn ward_joins_all_images_even_without_matches() {
        for counts in [chain(), DMatrix::zeros(5, 5)] {
            let tree = ward(&counts, &[30; 5]).expect("extents agree");
            KinematicTree::from_center(&tree.edges, 5).expect("a tree");
            assert!(tree.heights.windows(2).all(|h| h[0] <= h[1]), "{:?}", tree.heights);
        }
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        let text = |r: Result<KinematicTree, AlignmentError>| r.expect_err("no tree").to_string();
        assert!(text(KinematicTree::new(5, vec![], 3)).contains("got root 5"));
        assert!(text(KinematicTree::new(0, vec![[1, 2], [0, 1]], 3)).contains("got edge 1-2"));
        assert!(text(KinematicTree::new(0, vec![[0, 1], [1, 0]], 3)).contains("got edge 1-0"));
        assert!(text(KinematicTree::new(0, vec![[0, 2]], 3)).contains("got none with image 1"));
        assert!(text(KinematicTree::from_center(&[[0, 3]], 3)).contains("got 0-3"));
        let error = maximum_spanning(&DMatrix::zeros(2, 2)).expect_err("no matches");
        assert!(matches!(error, AlignmentError::Disconnected { image: 1 }));
        assert!(ward(&chain(), &[30; 4]).is_err());
    }
}
