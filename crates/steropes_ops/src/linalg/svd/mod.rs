//! Singular value decomposition.

mod backward;
pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

pub use backward::svd_backward;

use super::stack::Stack;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Device, Element, Tensor};

const OP: &str = "linalg::svd";

/// Which singular vectors are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vectors {
    /// None.
    None,
    /// As many as there are singular values.
    Thin,
    /// Whole bases on both sides.
    Full,
}

/// The extents of a decomposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extents {
    /// Rows of a matrix.
    rows: usize,
    /// Columns of a matrix.
    columns: usize,
    vectors: Vectors,
}

impl Extents {
    /// Singular values.
    fn values(self) -> usize {
        self.rows.min(self.columns)
    }

    /// Columns of `U`.
    fn left(self) -> usize {
        match self.vectors {
            Vectors::None => 0,
            Vectors::Thin => self.values(),
            Vectors::Full => self.rows,
        }
    }

    /// Rows of `Vh`.
    fn right(self) -> usize {
        match self.vectors {
            Vectors::None => 0,
            Vectors::Thin => self.values(),
            Vectors::Full => self.columns,
        }
    }

    /// Whether the columns of the transposed matrix are made orthogonal, because there are fewer.
    fn transposed(self) -> bool {
        self.rows < self.columns
    }

    /// The longer side: the length of the vectors that are made orthogonal.
    fn length(self) -> usize {
        self.rows.max(self.columns)
    }

    /// Elements of one matrix of `U`, `S` and `Vh`.
    fn sizes(self) -> [usize; 3] {
        [self.rows * self.left(), self.values(), self.right() * self.columns]
    }
}

/// `a = U diag(S) Vh` of every matrix: `(U, S, Vh)`.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64; any extent may be 0. `k = min(m, n)`
/// - returns `U`: `[.., m, k]`, with `full_matrices` `[.., m, m]`; `S`: `[.., k]`, descending; `Vh`: `[.., k, n]`, with
///   `full_matrices` `[.., n, n]`
///
/// # Signs
/// The same on every device: of each column of `U` the largest entry is positive, where all that are within a thousandth of the
/// largest count as equal and the first of them decides. Rows of `Vh` without a column of `U` follow the same rule. Vectors
/// of equal singular values, and those that belong to 0 or complete a basis, are free beyond that.
///
/// # Numerics
/// One-sided Jacobi rotations, or on the CPU for larger matrices a bidiagonal reduction; the Gram matrix is never formed. Every matrix is
/// scaled by a power of two first, so that any finite values can be taken. `U diag(S) Vh` is within `max(m, n) * eps * S[0]` of
/// `a`, and so are singular values of their true ones; `U` and `Vh` are orthonormal to `max(m, n) * eps`, also for singular values that are 0.
/// Values below `1e-24 S[0]` may come out as 0. A reduction in the dtype itself (f64, or a side above 256) may cost three times that.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `a` is not as above. On the CPU [`OpError::Matrix`] names the first matrix
/// with NaN or an infinity; on a GPU all results of such a matrix are NaN, and nothing waits. On a GPU [`OpError::Unsupported`] if `k` is above
/// 2048.
///
/// # Source
/// Hestenes 1958; de Rijk 1989; Drmač and Veselić, LAPACK working note 169.
pub fn svd(a: &Tensor, full_matrices: bool) -> Result<(Tensor, Tensor, Tensor), OpError> {
    let vectors = if full_matrices { Vectors::Full } else { Vectors::Thin };
    let stack = Stack::of(OP, "a", a)?;
    let extents = Extents { rows: stack.rows, columns: stack.columns, vectors };
    let shapes = [
        stack.with(&[extents.rows, extents.left()]),
        stack.with(&[extents.values()]),
        stack.with(&[extents.right(), extents.columns]),
    ];
    let [u, s, vh] = decompose(OP, a, &stack, extents, &shapes)?;
    Ok((u, s, vh))
}

/// The singular values of every matrix, descending: `[.., min(m, n)]`. As [`svd`] without its vectors.
///
/// # Errors
/// As [`svd`].
pub fn svdvals(a: &Tensor) -> Result<Tensor, OpError> {
    const OP: &str = "linalg::svdvals";
    let stack = Stack::of(OP, "a", a)?;
    let extents = Extents { rows: stack.rows, columns: stack.columns, vectors: Vectors::None };
    let shapes = [vec![0], stack.with(&[extents.values()]), vec![0]];
    let [_, s, _] = decompose(OP, a, &stack, extents, &shapes)?;
    Ok(s)
}

fn decompose(
    op: &'static str,
    a: &Tensor,
    stack: &Stack,
    extents: Extents,
    shapes: &[Vec<usize>; 3],
) -> Result<[Tensor; 3], OpError> {
    let place = place(op, &[("a", a, Holds::Real)])?;
    if a.is_empty() {
        return Ok(if a.dtype() == DType::F64 {
            bases::<f64>(&a.device(), stack, extents, shapes)?
        } else {
            bases::<f32>(&a.device(), stack, extents, shapes)?
        });
    }
    match place {
        Place::Cpu if a.dtype() == DType::F64 => on_host::<f64>(op, a, stack, extents, shapes),
        Place::Cpu => on_host::<f32>(op, a, stack, extents, shapes),
        Place::Gpu(gpu) => gpu::svd(op, &gpu, a, stack, extents, shapes),
    }
}

fn on_host<T: crate::cpu::lanes::Real>(
    op: &'static str,
    a: &Tensor,
    stack: &Stack,
    extents: Extents,
    shapes: &[Vec<usize>; 3],
) -> Result<[Tensor; 3], OpError> {
    let [u, s, vh] = cpu::svd::<T>(values(a), stack.count(), extents).map_err(|failure| OpError::Matrix {
        op,
        argument: "a",
        batch: stack.place(failure.matrix),
        problem: failure.why.to_owned(),
    })?;
    Ok([on_cpu(&shapes[0], u), on_cpu(&shapes[1], s), on_cpu(&shapes[2], vh)])
}

/// The results for matrices without elements: no values, and identities as whole bases.
fn bases<T: Element + num_traits::One>(
    device: &Device,
    stack: &Stack,
    extents: Extents,
    shapes: &[Vec<usize>; 3],
) -> Result<[Tensor; 3], OpError> {
    let identities = |shape: &[usize], n: usize| {
        let mut data = vec![T::default(); shape.iter().product()];
        for matrix in data.chunks_mut((n * n).max(1)) {
            matrix.iter_mut().step_by(n + 1).for_each(|one| *one = T::one());
        }
        Tensor::new(device, shape, data).map_err(|error| match error {
            steropes_tensor::TensorError::Device(error) => OpError::Failed(error),
            _ => unreachable!("as many elements as the shape has"),
        })
    };
    debug_assert!(stack.count() == 0 || extents.values() == 0, "matrices without elements");
    Ok([
        identities(&shapes[0], extents.left())?,
        identities(&shapes[1], 0)?,
        identities(&shapes[2], extents.right())?,
    ])
}
