//! What the factorisations and solutions have in common: algorithms for one matrix, for small ones side by side, and their
//! strided products on GPUs.
//!
//! All triangular systems become one: forward substitution with a lower triangle. A transposed matrix is a view with its
//! strides exchanged, an upper triangle one that runs backwards ([`Triangle::as_lower`]).

pub(crate) mod arithmetic;
pub(crate) mod gpu;
pub(crate) mod one;
pub(crate) mod parts;
pub(crate) mod side_by_side;
pub(crate) mod testing;

use crate::error::OpError;
use crate::linalg::stack::place_in;
use faer::Par;
use rayon::prelude::*;
use std::marker::PhantomData;

/// Where the elements of a matrix are: element `(i, j)` at `start + i row + j column`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// Place of the first element.
    pub(crate) start: isize,
    /// From a row to the next.
    pub(crate) row: isize,
    /// From a column to the next.
    pub(crate) column: isize,
}

impl View {
    /// A row-major matrix.
    pub(crate) fn of_columns(columns: usize) -> Self {
        Self { start: 0, row: columns as isize, column: 1 }
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Self {
        Self { row: self.column, column: self.row, ..self }
    }

    /// The matrix, or the transposed one.
    pub(crate) fn transposed_if(self, yes: bool) -> Self {
        if yes { self.transposed() } else { self }
    }

    /// The part that begins at row `i` and column `j`.
    pub(crate) fn from(self, i: usize, j: usize) -> Self {
        Self { start: self.at(i, j), ..self }
    }

    /// Place of an element.
    pub(crate) fn at(self, i: usize, j: usize) -> isize {
        self.start + i as isize * self.row + j as isize * self.column
    }
}

/// Which triangular system is solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Triangle {
    /// Whether the matrix as it is stored has its upper triangle read.
    pub(crate) upper: bool,
    /// Whether the system is that of the transposed matrix.
    pub(crate) transposed: bool,
    /// Whether the diagonal is ones and not read.
    pub(crate) unit: bool,
}

impl Triangle {
    /// Views of `[n, n]` and `[n, k]` matrices for which the system is one of a lower triangle.
    pub(crate) fn as_lower(self, n: usize, a: View, b: View) -> (View, View) {
        let a = a.transposed_if(self.transposed);
        if self.upper == self.transposed {
            return (a, b);
        }
        let last = n.saturating_sub(1);
        let (a, b) = (a.from(last, last), b.from(last, 0));
        (View { row: -a.row, column: -a.column, ..a }, View { row: -b.row, ..b })
    }
}

/// A slice in pieces of one length, for tasks that each write one.
pub(crate) struct Pieces<'a, T> {
    first: *mut T,
    len: usize,
    each: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: a piece is a `&mut [T]` that one task holds.
unsafe impl<T: Send> Sync for Pieces<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Pieces<'_, T> {}

impl<'a, T> Pieces<'a, T> {
    /// Pieces of `each` elements, the last may be shorter.
    pub(crate) fn new(slice: &'a mut [T], each: usize) -> Self {
        Self { first: slice.as_mut_ptr(), len: slice.len(), each, borrow: PhantomData }
    }

    /// Piece number `index`.
    ///
    /// # Safety
    /// Nobody else may hold that piece.
    #[expect(clippy::mut_from_ref, reason = "the pieces do not overlap, the caller holds each once")]
    pub(crate) unsafe fn get(&self, index: usize) -> &mut [T] {
        let start = (index * self.each).min(self.len);
        let len = self.each.min(self.len - start);
        // SAFETY: the piece is inside the slice, and the caller has it alone.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), len) }
    }
}

/// Multiplications in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 16;

/// Multiplications of a matrix from which on all threads share it.
const SHARED: usize = 1 << 21;

/// Calls `body` for each of `count` matrices, with how it may use threads: many matrices are shared among the threads, the
/// work on few large ones is. `work` is about how many multiplications a matrix takes.
pub(crate) fn for_matrices(count: usize, work: usize, body: impl Fn(usize, Par) + Send + Sync) {
    let each = (TASK / work.max(1)).max(1);
    let threads = rayon::current_num_threads();
    if work >= SHARED && count < 2 * threads {
        (0..count).for_each(|index| body(index, Par::rayon(0)));
    } else if count <= each || threads == 1 {
        (0..count).for_each(|index| body(index, Par::Seq));
    } else {
        (0..count).into_par_iter().with_min_len(each).for_each(|index| body(index, Par::Seq));
    }
}

/// An error that names the first matrix whose `info` is not 0, if there is one; `problem` says what that means.
pub(crate) fn check_info(
    op: &'static str,
    argument: &'static str,
    batch: &[usize],
    info: &[i32],
    problem: impl Fn(i32) -> String,
) -> Result<(), OpError> {
    match info.iter().position(|&pivot| pivot != 0) {
        None => Ok(()),
        Some(index) => {
            let problem = problem(info[index]);
            Err(OpError::Matrix { op, argument, batch: place_in(batch, index), problem })
        }
    }
}

pub(crate) mod tests {
    use super::{Pieces, Triangle, View, for_matrices};
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case(
                "dense/unit/every_triangle_is_a_lower_one_of_some_view",
                every_triangle_is_a_lower_one_of_some_view,
            ),
            unit_case("dense/unit/pieces_cover_a_slice_once", pieces_cover_a_slice_once),
        ]
    }

    fn every_triangle_is_a_lower_one_of_some_view() {
        let a = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        let lower = |upper, transposed| {
            let triangle = Triangle { upper, transposed, unit: false };
            let (view, _) = triangle.as_lower(3, View::of_columns(3), View::of_columns(1));
            [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)].map(|(i, j)| a[view.at(i, j) as usize])
        };
        assert_eq!(lower(false, false), [1, 4, 5, 7, 8, 9]);
        assert_eq!(lower(true, true), [1, 2, 5, 3, 6, 9]);
        assert_eq!(lower(true, false), [9, 6, 5, 3, 2, 1]);
        assert_eq!(lower(false, true), [9, 8, 5, 7, 4, 1]);
    }

    fn pieces_cover_a_slice_once() {
        let mut values = [0; 7];
        let pieces = Pieces::new(&mut values, 3);
        for_matrices(3, 1, |index, _| {
            // SAFETY: each index once.
            unsafe { pieces.get(index) }.fill(index + 1);
        });
        assert_eq!(values, [1, 1, 1, 2, 2, 2, 3]);
    }
}
