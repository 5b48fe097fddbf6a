//! Connected groups and spanning trees of the graph of verified pairs.

use crate::geometry::GeometryError;

/// For each photo the number of its group: photos are in one group if pairs join them. Groups are numbered from the
/// largest down (ties: the one with the lowest photo first); a photo without pairs is a group of its own.
///
/// # Errors
/// [`GeometryError::Argument`] if a pair names a photo that is not below `photo_count`.
pub fn connected_components(photo_count: usize, pairs: &[[usize; 2]]) -> Result<Vec<usize>, GeometryError> {
    check_pairs("connected_components", photo_count, pairs.iter().copied())?;
    let mut sets = DisjointSets::new(photo_count);
    for &[a, b] in pairs {
        sets.join(a, b);
    }
    let roots: Vec<usize> = (0..photo_count).map(|i| sets.root(i)).collect();
    let mut size = vec![0usize; photo_count];
    let mut first = vec![usize::MAX; photo_count];
    for (i, &root) in roots.iter().enumerate() {
        size[root] += 1;
        first[root] = first[root].min(i);
    }
    let mut order: Vec<usize> = (0..photo_count).filter(|&i| size[i] > 0).collect();
    order.sort_by_key(|&root| (std::cmp::Reverse(size[root]), first[root]));
    let mut number = vec![0; photo_count];
    for (k, &root) in order.iter().enumerate() {
        number[root] = k;
    }
    Ok(roots.into_iter().map(|root| number[root]).collect())
}

/// Fails if a pair names a photo that does not exist or pairs a photo with itself.
pub(super) fn check_pairs(
    op: &'static str,
    photo_count: usize,
    pairs: impl Iterator<Item = [usize; 2]>,
) -> Result<(), GeometryError> {
    for [a, b] in pairs {
        if a.max(b) >= photo_count {
            let found = format!("photo {} of {photo_count}", a.max(b));
            return Err(GeometryError::argument(op, "edges", "between photos that exist", found));
        }
        if a == b {
            return Err(GeometryError::argument(
                op,
                "edges",
                "between two different photos",
                format!("{a} twice"),
            ));
        }
    }
    Ok(())
}

/// Disjoint sets of photos.
pub(super) struct DisjointSets(Vec<usize>);

impl DisjointSets {
    pub(super) fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    pub(super) fn root(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    /// Joins the sets of two photos; false if they were one already.
    pub(super) fn join(&mut self, a: usize, b: usize) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
        a != b
    }
}

/// The edges of the spanning forest of largest total strength, by index.
pub(super) fn strongest_forest(photo_count: usize, pairs: &[[usize; 2]], strength: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..pairs.len()).collect();
    order.sort_by(|&a, &b| strength[b].total_cmp(&strength[a]).then(a.cmp(&b)));
    let mut sets = DisjointSets::new(photo_count);
    order.retain(|&e| sets.join(pairs[e][0], pairs[e][1]));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_numbered_by_size() {
        let groups = connected_components(8, &[[0, 1], [5, 3], [3, 6], [6, 5]]).unwrap();
        assert_eq!(groups, vec![1, 1, 2, 0, 3, 0, 0, 4]);
        assert!(connected_components(0, &[]).unwrap().is_empty());
        let message = connected_components(3, &[[0, 3]]).unwrap_err().to_string();
        assert_eq!(
            message,
            "connected_components: `edges` must be between photos that exist, got photo 3 of 3"
        );
        assert!(connected_components(3, &[[1, 1]]).is_err());
    }

    #[test]
    fn the_forest_takes_the_strong_edges() {
        let pairs = [[0, 1], [1, 2], [0, 2], [3, 4]];
        assert_eq!(strongest_forest(5, &pairs, &[1.0, 3.0, 2.0, 0.5]), vec![1, 2, 3]);
    }
}
