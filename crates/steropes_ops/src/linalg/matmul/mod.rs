//! Products of stacks of matrices.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::stack::{Broadcast, Stack};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use crate::reduce::sum::sum;
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::matmul";

/// Which operands of a product are the transposes of what is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transposed {
    /// The left one is given as `[.., depth, rows]`.
    pub a: bool,
    /// The right one is given as `[.., columns, depth]`.
    pub b: bool,
}

impl Transposed {
    /// Neither.
    pub const NONE: Self = Self { a: false, b: false };
    /// The left one.
    pub const A: Self = Self { a: true, b: false };
    /// The right one.
    pub const B: Self = Self { a: false, b: true };
    /// Both.
    pub const BOTH: Self = Self { a: true, b: true };
    /// All four.
    pub const ALL: [Self; 4] = [Self::NONE, Self::A, Self::B, Self::BOTH];
}

/// A product whose operands fit each other.
struct Product {
    batch: Broadcast,
    rows: usize,
    columns: usize,
    depth: usize,
    transposed: Transposed,
}

impl Product {
    fn of(a: &Tensor, b: &Tensor, transposed: Transposed) -> Result<Self, OpError> {
        let (left, right) = (Stack::of(OP, "a", a)?, Stack::of(OP, "b", b)?);
        let batch = Broadcast::of(OP, "b", &left.batch, &right.batch)?;
        let extents = |stack: &Stack, transposed: bool| {
            if transposed { [stack.columns, stack.rows] } else { [stack.rows, stack.columns] }
        };
        let [rows, depth] = extents(&left, transposed.a);
        let [found, columns] = extents(&right, transposed.b);
        if found != depth {
            let expected = if transposed.b {
                format!("[.., columns, {depth}]")
            } else {
                format!("[.., {depth}, columns]")
            };
            return Err(OpError::shape(OP, "b", expected, b.shape()));
        }
        Ok(Self { batch, rows, columns, depth, transposed })
    }

    /// The shape of the result.
    fn shape(&self) -> Vec<usize> {
        [&self.batch.batch[..], &[self.rows, self.columns]].concat()
    }
}

/// `A B` for every pair of matrices of two stacks, where `A` and `B` are those of `a` and `b` or their transposes.
///
/// # Shapes
/// - `a`: `[.., rows, depth]`, or `[.., depth, rows]` if transposed; f32, on the CPU also f64, on a GPU also f16
/// - `b`: `[.., depth, columns]`, or `[.., columns, depth]` if transposed; the dtype of `a`
/// - leading extents are equal or 1, counted from the last; what is missing is 1
/// - returns: `[.., rows, columns]` with the common leading extents, the dtype of `a`; zeros if there is no depth
///
/// # Numerics
/// Products and sums in f32, in f64 of f64: within `Tolerance::Sum { depth }` of the largest result, where no result cancels. f16
/// results are rounded once, to within 5e-4 of themselves. Nothing depends on the number of threads. NaN and infinities come out
/// where the formula has them.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Unsupported`] if a
/// matrix, or a stack that is repeated, does not fit a GPU's binding. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn matmul(a: &Tensor, b: &Tensor, transposed: Transposed) -> Result<Tensor, OpError> {
    let product = Product::of(a, b, transposed)?;
    let place = place(OP, &[("a", a, Holds::Number), ("b", b, Holds::Number)])?;
    Ok(match (place, a.dtype()) {
        (Place::Cpu, DType::F64) => {
            on_cpu(&product.shape(), cpu::matmul::<f64, 8>(values(a), values(b), &product))
        }
        (Place::Cpu, _) => on_cpu(&product.shape(), cpu::matmul::<f32, 16>(values(a), values(b), &product)),
        (Place::Gpu(gpu), _) => gpu::matmul(&gpu, a, b, &product)?,
    })
}

/// The gradients of a [`matmul`] with respect to `a` and `b`.
///
/// # Shapes
/// - `gradient`: that of the result, in its shape and dtype
/// - `a`, `b`, `transposed`: as given to [`matmul`]
/// - returns: the gradients in the shapes of `a` and `b`, summed over the batch where an operand was repeated
///
/// # Numerics
/// `dA = G Bᵀ` and `dB = Aᵀ G`, each a [`matmul`], then [`sum`].
///
/// # Errors
/// As [`matmul`], and [`OpError::Shape`] if `gradient` has another shape than the result.
///
/// # Source
/// Written from the formula.
pub fn matmul_backward(
    gradient: &Tensor,
    a: &Tensor,
    b: &Tensor,
    transposed: Transposed,
) -> Result<(Tensor, Tensor), OpError> {
    let product = Product::of(a, b, transposed)?;
    if gradient.shape() != product.shape() {
        return Err(OpError::shape(OP, "gradient", format!("{:?}", product.shape()), gradient.shape()));
    }
    // One matrix on the right for all rows of the left: the sum over the batch is that of one product.
    if !transposed.a && b.shape().len() == 2 && a.shape().len() > 2 {
        let rows = |tensor: &Tensor, columns: usize| {
            let rows = product.batch.count() * product.rows;
            tensor.clone().reshape(&[rows, columns]).expect("the rows of all matrices")
        };
        let (da, db) =
            matmul_backward(&rows(gradient, product.columns), &rows(a, product.depth), b, transposed)?;
        return Ok((reshaped(da, a.shape()), db));
    }
    let Transposed { a: left, b: right } = transposed;
    let da = if left {
        matmul(b, gradient, Transposed { a: right, b: true })?
    } else {
        matmul(gradient, b, Transposed { a: false, b: !right })?
    };
    let db = if right {
        matmul(gradient, a, Transposed { a: true, b: left })?
    } else {
        matmul(a, gradient, Transposed { a: !left, b: false })?
    };
    Ok((unrepeated(da, a.shape())?, unrepeated(db, b.shape())?))
}

/// Sums of `gradient` over the extents of the batch that are 1 or missing in `shape`.
pub(crate) fn unrepeated(mut gradient: Tensor, shape: &[usize]) -> Result<Tensor, OpError> {
    let missing = gradient.shape().len() - shape.len();
    for axis in (0..gradient.shape().len() - 2).rev() {
        let own = if axis < missing { 1 } else { shape[axis - missing] };
        if gradient.shape()[axis] != own {
            let mut kept = gradient.shape().to_vec();
            kept[axis] = 1;
            gradient = reshaped(sum(&gradient, axis..axis + 1)?, &kept);
        }
    }
    Ok(reshaped(gradient, shape))
}

fn reshaped(tensor: Tensor, shape: &[usize]) -> Tensor {
    tensor.reshape(shape).expect("only extents of 1 differ")
}
