//! Products, differences and quotients of tensors, and their multiples.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::cpu::lanes::Real;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

/// What is done with two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Mul,
    Sub,
    Div,
}

impl Operation {
    /// The name of the op.
    fn op(self) -> &'static str {
        match self {
            Self::Mul => "elementwise::mul",
            Self::Sub => "elementwise::sub",
            Self::Div => "elementwise::div",
        }
    }
}

/// How the right operand is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// Not at all.
    Nothing,
    /// It is a row of this width.
    Rows(usize),
    /// It is one number.
    Number,
}

const SCALE: &str = "elementwise::scale";

/// `x * y`, in the memory of `x` when nobody else holds it.
///
/// # Shapes
/// - `x`: `[.., width]`, f32, on the CPU also f64, on a GPU also f16
/// - `y`: the shape of `x`, or `[width]`, repeated for every row, or one number, `[]` or `[1]`; the dtype of `x`
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// One correctly rounded operation for each value; an f16 result is rounded a second time, to within 5e-4 of itself.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if the arguments are not as above. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn mul(x: Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    combine(Operation::Mul, x, y)
}

/// `x - y`, in the memory of `x` when nobody else holds it.
///
/// Shapes, numerics and errors are those of [`mul`].
pub fn sub(x: Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    combine(Operation::Sub, x, y)
}

/// `x / y`, in the memory of `x` when nobody else holds it.
///
/// Shapes and errors are those of [`mul`], and the numerics but for GPUs, whose quotients are within 2.5 ulp.
pub fn div(x: Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    combine(Operation::Div, x, y)
}

/// `factor * x`, in the memory of `x` when nobody else holds it.
///
/// # Shapes
/// - `x`: any, f32, on the CPU also f64, on a GPU also f16
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// `factor` is rounded to f32 unless `x` is f64; then as [`mul`].
///
/// # Errors
/// [`OpError::DType`] if `x` is not as above. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn scale(x: Tensor, factor: f64) -> Result<Tensor, OpError> {
    match place(SCALE, &[("x", &x, Holds::Number)])? {
        Place::Cpu => Ok(match x.dtype() {
            DType::F64 => over(x, |x| cpu::scale(x, factor)),
            _ => over(x, |x| cpu::scale(x, factor as f32)),
        }),
        Place::Gpu(gpu) => gpu::scale(&gpu, x, factor as f32),
    }
}

fn combine(operation: Operation, x: Tensor, y: &Tensor) -> Result<Tensor, OpError> {
    let op = operation.op();
    let repeat = repeat(op, &x, y)?;
    match place(op, &[("x", &x, Holds::Number), ("y", y, Holds::Number)])? {
        Place::Cpu => Ok(match x.dtype() {
            DType::F64 => over::<f64>(x, |x| cpu::combine(operation, x, values(y))),
            _ => over::<f32>(x, |x| cpu::combine(operation, x, values(y))),
        }),
        Place::Gpu(gpu) => gpu::combine(&gpu, operation, x, y, repeat),
    }
}

/// How `y` is repeated to the shape of `x`.
fn repeat(op: &'static str, x: &Tensor, y: &Tensor) -> Result<Repeat, OpError> {
    let width = x.shape().last().copied();
    if y.shape() == x.shape() {
        Ok(Repeat::Nothing)
    } else if let (Some(width), &[row]) = (width, y.shape())
        && row == width
    {
        Ok(Repeat::Rows(width))
    } else if matches!(y.shape(), [] | [1]) {
        Ok(Repeat::Number)
    } else {
        let row = width.map_or(String::new(), |width| format!(", [{width}]"));
        Err(OpError::shape(op, "y", format!("{:?}{row} or []", x.shape()), y.shape()))
    }
}

/// `x` after `body` changed its values.
fn over<T: Real>(x: Tensor, body: impl FnOnce(&mut [T])) -> Tensor {
    let shape = x.shape().to_vec();
    let mut values = x.into_vec::<T>().expect("the dtype was checked");
    body(&mut values);
    on_cpu(&shape, values)
}
