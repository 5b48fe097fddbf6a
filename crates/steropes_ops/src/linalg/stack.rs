//! Stacks of matrices: what all ops of dense linear algebra take.

use crate::error::OpError;
use steropes_tensor::Tensor;

/// The extents of a stack `[.., rows, columns]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    /// The extents in front of the last two.
    pub(crate) batch: Vec<usize>,
    /// Rows of a matrix.
    pub(crate) rows: usize,
    /// Columns of a matrix.
    pub(crate) columns: usize,
}

impl Stack {
    /// The extents of `tensor`.
    ///
    /// # Errors
    /// [`OpError::Shape`] if it has fewer than two.
    pub(crate) fn of(op: &'static str, argument: &'static str, tensor: &Tensor) -> Result<Self, OpError> {
        match tensor.shape() {
            [batch @ .., rows, columns] => Ok(Self { batch: batch.to_vec(), rows: *rows, columns: *columns }),
            shape => Err(OpError::shape(op, argument, "[.., rows, columns]", shape)),
        }
    }

    /// The extents of `tensor`, whose matrices must be square.
    ///
    /// # Errors
    /// [`OpError::Shape`] if they are not, or it has fewer than two.
    pub(crate) fn square(op: &'static str, argument: &'static str, tensor: &Tensor) -> Result<Self, OpError> {
        let stack = Self::of(op, argument, tensor)?;
        if stack.rows == stack.columns {
            Ok(stack)
        } else {
            Err(OpError::shape(op, argument, "[.., n, n]", tensor.shape()))
        }
    }

    /// Matrices in it.
    pub(crate) fn count(&self) -> usize {
        self.batch.iter().product()
    }

    /// The shape of a stack of the same batch with other matrices, or vectors.
    pub(crate) fn with(&self, matrix: &[usize]) -> Vec<usize> {
        [&self.batch, matrix].concat()
    }

    /// The place in the batch of matrix number `index`.
    pub(crate) fn place(&self, index: usize) -> Vec<usize> {
        place_in(&self.batch, index)
    }
}

/// The indices along `extents` of element number `index`.
pub(crate) fn place_in(extents: &[usize], index: usize) -> Vec<usize> {
    let mut rest = index;
    let mut place: Vec<usize> = extents
        .iter()
        .rev()
        .map(|&extent| {
            let i = rest % extent;
            rest /= extent;
            i
        })
        .collect();
    place.reverse();
    place
}

/// Two batches that go together: extents are equal, or 1 and repeated, counted from the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broadcast {
    /// The common extents.
    pub(crate) batch: Vec<usize>,
    a: Vec<usize>,
    b: Vec<usize>,
}

impl Broadcast {
    /// The common batch of `a` and `b`; `argument` is what `b` belongs to.
    ///
    /// # Errors
    /// [`OpError::Shape`] if there is none.
    pub(crate) fn of(
        op: &'static str,
        argument: &'static str,
        a: &[usize],
        b: &[usize],
    ) -> Result<Self, OpError> {
        let rank = a.len().max(b.len());
        let padded = |x: &[usize]| [vec![1; rank - x.len()], x.to_vec()].concat();
        let (a, b) = (padded(a), padded(b));
        let common = |(&a, &b): (&usize, &usize)| match (a, b) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        };
        match a.iter().zip(&b).map(common).collect() {
            Some(batch) => Ok(Self { batch, a, b }),
            None => Err(OpError::shape(op, argument, format!("of a batch that goes with {a:?}"), &b)),
        }
    }

    /// Matrices in the common batch.
    pub(crate) fn count(&self) -> usize {
        self.batch.iter().product()
    }

    /// The numbers of the matrices of both that meet in number `index` of the common batch.
    pub(crate) fn sources(&self, index: usize) -> [usize; 2] {
        let place = place_in(&self.batch, index);
        [&self.a, &self.b].map(|extents| {
            place
                .iter()
                .zip(extents)
                .fold(0, |number, (&i, &extent)| number * extent + if extent == 1 { 0 } else { i })
        })
    }

    /// Whether neither is repeated.
    pub(crate) fn is_plain(&self) -> bool {
        self.a == self.batch && self.b == self.batch
    }
}

pub(crate) mod tests {
    use super::{Broadcast, Stack, place_in};
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case(
                "stack/unit/batches_go_together_from_the_last_extent",
                batches_go_together_from_the_last_extent,
            ),
            unit_case("stack/unit/a_matrix_has_a_place_in_its_batch", a_matrix_has_a_place_in_its_batch),
        ]
    }

    fn batches_go_together_from_the_last_extent() {
        let both = Broadcast::of("op", "b", &[3, 1], &[2, 1, 4]).unwrap();
        assert_eq!(both.batch, [2, 3, 4]);
        assert_eq!(both.count(), 24);
        assert!(!both.is_plain());
        // Place [1, 2, 3]: row 2 of three, and [1, 0, 3] of [2, 1, 4].
        assert_eq!(both.sources(23), [2, 7]);
        let error = Broadcast::of("op", "b", &[3], &[2]).unwrap_err();
        assert_eq!(error.to_string(), "op: `b` must be of a batch that goes with [3], got [2]");
        assert_eq!(Broadcast::of("op", "b", &[], &[]).unwrap().count(), 1);
        assert_eq!(Broadcast::of("op", "b", &[0], &[1]).unwrap().count(), 0);
    }

    fn a_matrix_has_a_place_in_its_batch() {
        let stack = Stack { batch: vec![2, 3], rows: 4, columns: 4 };
        assert_eq!((stack.count(), stack.place(4)), (6, vec![1, 1]));
        assert_eq!(stack.with(&[4]), [2, 3, 4]);
        assert!(place_in(&[], 0).is_empty());
    }
}
