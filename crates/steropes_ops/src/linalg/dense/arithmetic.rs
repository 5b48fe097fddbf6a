//! Arithmetic that gradients are made of: products of stacks of matrices, masks of triangles.

use super::gpu::{F32, groups_of, over_elements};
use crate::cpu::lanes::Real;
use crate::elementwise::arithmetic::scale;
use crate::error::{Holds, OpError, Place, common_place, on_cpu, values};
use crate::gpu::bind;
use crate::linalg::matmul::{Transposed, matmul};
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Header, Tensor};

/// A factor of a product: a stack of matrices, or of their transposed matrices.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    tensor: &'a Tensor,
    transposed: bool,
}

/// A stack as it is.
pub(crate) fn plain(tensor: &Tensor) -> Factor<'_> {
    Factor { tensor, transposed: false }
}

/// A stack transposed.
pub(crate) fn transposed(tensor: &Tensor) -> Factor<'_> {
    Factor { tensor, transposed: true }
}

/// `factor a b` for stacks of the same batch whose extents go together, which the caller has checked.
pub(crate) fn product(
    op: &'static str,
    a: Factor<'_>,
    b: Factor<'_>,
    factor: f64,
) -> Result<Tensor, OpError> {
    let transposed = Transposed { a: a.transposed, b: b.transposed };
    let result = matmul(a.tensor, b.tensor, transposed).map_err(|error| error.of(op))?;
    if factor == 1.0 { Ok(result) } else { scale(result, factor).map_err(|error| error.of(op)) }
}

/// What becomes of the elements of square matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mask {
    /// The lower triangle stays.
    Lower,
    /// The upper triangle stays.
    Upper,
    /// What is below the diagonal stays.
    StrictlyLower,
    /// What is above the diagonal stays.
    StrictlyUpper,
    /// Half the lower triangle, with half the diagonal, and the same above it: `(F + F^T) / 2` for `F` the lower triangle with half
    /// the diagonal.
    HalfOfLower,
    /// The same from the upper triangle.
    HalfOfUpper,
    /// The transposed matrix is added.
    Symmetric,
}

impl Mask {
    /// What element `(i, j)` is multiplied by, and what element `(j, i)` is before it is added.
    fn factors(self, i: usize, j: usize) -> [f64; 2] {
        let one = |yes: bool| f64::from(u8::from(yes));
        match self {
            Self::Lower => [one(j <= i), 0.0],
            Self::Upper => [one(i <= j), 0.0],
            Self::StrictlyLower => [one(j < i), 0.0],
            Self::StrictlyUpper => [one(i < j), 0.0],
            Self::HalfOfLower => [0.5 * one(j <= i), 0.5 * one(i < j)],
            Self::HalfOfUpper => [0.5 * one(i <= j), 0.5 * one(j < i)],
            Self::Symmetric => [1.0, 1.0],
        }
    }

    /// The same in WGSL.
    fn text(self) -> &'static str {
        match self {
            Self::Lower => "vec2(f32(j <= i), 0.0)",
            Self::Upper => "vec2(f32(i <= j), 0.0)",
            Self::StrictlyLower => "vec2(f32(j < i), 0.0)",
            Self::StrictlyUpper => "vec2(f32(i < j), 0.0)",
            Self::HalfOfLower => "vec2(0.5 * f32(j <= i), 0.5 * f32(i < j))",
            Self::HalfOfUpper => "vec2(0.5 * f32(i <= j), 0.5 * f32(j < i))",
            Self::Symmetric => "vec2(1.0, 1.0)",
        }
    }
}

/// Applies a mask to square matrices.
pub(crate) fn masked(op: &'static str, a: &Tensor, mask: Mask) -> Result<Tensor, OpError> {
    let n = Stack::square(op, "a", a)?.rows;
    match common_place(op, &[("a", a, Holds::Real)])? {
        Place::Cpu if a.dtype() == DType::F64 => {
            Ok(on_cpu(a.shape(), masked_on_cpu::<f64>(values(a), n, mask)))
        }
        Place::Cpu => Ok(on_cpu(a.shape(), masked_on_cpu::<f32>(values(a), n, mask))),
        Place::Gpu(gpu) => {
            let out = Tensor::on_gpu(&gpu, op, F32, a.shape())?;
            if !out.is_empty() {
                let text = format!("fn factors(i: u32, j: u32) -> vec2<f32> {{ return {}; }}\n", mask.text());
                let kernel =
                    over_elements("triangle_masked", Header::new().text(&text), include_str!("masked.wgsl"));
                let params = [out.len() as u32, n as u32];
                gpu.launch(&kernel, &[bind(a), bind(&out)], &params, groups_of(out.len()))?;
            }
            Ok(out)
        }
    }
}

fn masked_on_cpu<T: Real>(a: &[T], n: usize, mask: Mask) -> Vec<T> {
    let mut out = Vec::with_capacity(a.len());
    for matrix in a.chunks_exact((n * n).max(1)) {
        for e in 0..n * n {
            let (i, j) = (e / n, e % n);
            let term =
                |factor: f64, at: usize| if factor == 0.0 { T::of(0.0) } else { T::of(factor) * matrix[at] };
            let [own, other] = mask.factors(i, j);
            out.push(term(own, e) + term(other, j * n + i));
        }
    }
    out
}

/// Refuses a tensor that does not have the shape of another.
pub(crate) fn check_shape(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor,
    shape: &[usize],
) -> Result<(), OpError> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(OpError::shape(op, argument, format!("{shape:?}"), tensor.shape()))
}
