//! Arithmetic that gradients are made of: products of stacks of matrices, masks of triangles.

use super::gpu::{F32, Matrices, Writes, check_lengths, groups_of, over_elements, product as product_on_gpu};
use super::one::{self, Part};
use super::{Pieces, View, for_matrices};
use crate::cpu::lanes::Real;
use crate::error::{Holds, OpError, Place, common_place, on_cpu, values};
use crate::gpu::bind;
use crate::linalg::stack::Stack;
use faer::Accum;
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
    let (of_a, of_b) = (Stack::of(op, "a", a.tensor)?, Stack::of(op, "b", b.tensor)?);
    let (m, k) = if a.transposed { (of_a.columns, of_a.rows) } else { (of_a.rows, of_a.columns) };
    let n = if b.transposed { of_b.rows } else { of_b.columns };
    let (extents, shape, count) = ([m, n, k], of_a.with(&[m, n]), of_a.count());
    match common_place(op, &[("a", a.tensor, Holds::Real), ("b", b.tensor, Holds::Real)])? {
        Place::Cpu if a.tensor.dtype() == DType::F64 => {
            Ok(on_cpu(&shape, product_on_cpu::<f64>([a, b], factor, count, extents)))
        }
        Place::Cpu => Ok(on_cpu(&shape, product_on_cpu::<f32>([a, b], factor, count, extents))),
        Place::Gpu(gpu) => {
            check_lengths(op, &gpu, &[a.tensor.len(), b.tensor.len(), count * m * n])?;
            let c = Tensor::on_gpu(&gpu, op, F32, &shape)?;
            if k == 0 {
                gpu.clear(c.gpu_memory().expect("it is on a GPU"))?;
            } else if !c.is_empty() {
                let seen = |x: Factor<'_>, step| {
                    let columns = x.tensor.shape()[x.tensor.shape().len() - 1];
                    (View::of_columns(columns).transposed_if(x.transposed), step)
                };
                let ((of_a, step_a), (of_b, step_b)) = (seen(a, m * k), seen(b, k * n));
                let target = Matrices { tensor: &c, view: View::of_columns(n), step: m * n };
                let a = Matrices { tensor: a.tensor, view: of_a, step: step_a };
                let b = Matrices { tensor: b.tensor, view: of_b, step: step_b };
                let writes = Writes { adds: false, factor: factor as f32, lower: false };
                product_on_gpu(&gpu, target, (a, b), writes, count, extents)?;
            }
            Ok(c)
        }
    }
}

fn product_on_cpu<T: Real>(
    factors: [Factor<'_>; 2],
    factor: f64,
    count: usize,
    [m, n, k]: [usize; 3],
) -> Vec<T> {
    let mut c = vec![T::of(0.0); count * m * n];
    if c.is_empty() || k == 0 {
        return c;
    }
    let pieces = Pieces::new(&mut c, m * n);
    for_matrices(count, m * n * k, |index, par| {
        let part = |x: Factor<'_>, each: usize| {
            let columns = x.tensor.shape()[x.tensor.shape().len() - 1];
            let matrix = &values::<T>(x.tensor)[index * each..][..each];
            // SAFETY: a row-major matrix, which is only read.
            unsafe {
                Part::new(matrix.as_ptr().cast_mut(), View::of_columns(columns).transposed_if(x.transposed))
            }
        };
        let [a, b] = factors;
        // SAFETY: each matrix once; extents are those of the stacks.
        unsafe {
            let c = Part::new(pieces.get(index).as_mut_ptr(), View::of_columns(n));
            one::product(c, Accum::Replace, factor, (part(a, m * k), part(b, k * n)), [m, n, k], par);
        }
    });
    c
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
