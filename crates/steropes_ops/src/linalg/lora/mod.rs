//! Linear layers with a frozen weight and a trained correction of low rank.

pub(crate) mod bench;
pub(crate) mod reference;
pub(crate) mod tests;

use super::linear::{Activation, LinearWeights, linear, linear_add};
use super::matmul::{Transposed, matmul};
use crate::elementwise::arithmetic::scale as scaled;
use crate::elementwise::concat::concat;
use crate::elementwise::copy::copy_rows;
use crate::elementwise::transpose::transpose;
use crate::error::{Holds, OpError, common_place};
use steropes_tensor::Tensor;

const OP: &str = "linalg::lora";

/// The gradients of [`lora_linear`].
#[derive(Clone, Debug)]
pub struct LoraGradients {
    /// With respect to `x`.
    pub x: Tensor,
    /// With respect to `a`.
    pub a: Tensor,
    /// With respect to `b`.
    pub b: Tensor,
}

/// The gradients of [`lora_qkv`].
#[derive(Clone, Debug)]
pub struct LoraQkvGradients {
    /// With respect to `x`, of all three results together.
    pub x: Tensor,
    /// With respect to `a`.
    pub a: Tensor,
    /// With respect to `b`.
    pub b: [Tensor; 3],
}

/// `x Wᵀ + bias + scale (x Aᵀ) Bᵀ`: a linear layer with a correction of low rank.
///
/// # Shapes
/// - `x`: `[.., inputs]`, f32, on a GPU also f16
/// - `frozen`: the weight `W` and the bias of a layer from `inputs` to `outputs`, in any form that takes `x`, blocks of small integers
///   included
/// - `a`: `[rank, inputs]`, `b`: `[outputs, rank]`, in the dtype of `x`; `scale` is commonly `alpha / rank`
/// - returns: `[.., outputs]`, in the dtype of `x`
///
/// # Numerics
/// [`linear`] for the layer; `x Aᵀ` is a [`matmul`], rounded to the dtype before and after it is scaled, and its product with `Bᵀ` is added
/// last, by [`linear_add`].
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
///
/// # Source
/// arXiv:2106.09685.
pub fn lora_linear(
    x: &Tensor,
    frozen: &LinearWeights,
    a: &Tensor,
    b: &Tensor,
    scale: f64,
) -> Result<Tensor, OpError> {
    check(&[("x", x), ("a", a), ("b", b)], frozen, scale)?;
    let rank = rank_of(a, &[], frozen.inputs())?;
    check_b(b, frozen, rank)?;
    let low = scaled(matmul(&rows_of(x, frozen.inputs())?, a, Transposed::B)?, scale)?;
    let low = reshaped(low, &with_last(x, rank));
    linear_add(linear(x, frozen, Activation::Identity)?, &low, &LinearWeights::pack(b, None)?)
}

/// Three layers of one input, each with a correction of low rank: queries, keys and values of attention. The three products with
/// matrices of low rank are one.
///
/// # Shapes
/// - `x`: `[.., inputs]`, f32, on a GPU also f16
/// - `frozen`: three layers of `inputs` inputs; keys and values may have other outputs than queries
/// - `a`: `[3, rank, inputs]`; `b`: `[outputs, rank]` for each layer, in the dtype of `x`
/// - returns: `[.., outputs]` of each
///
/// Numerics and errors are those of [`lora_linear`].
pub fn lora_qkv(
    x: &Tensor,
    frozen: [&LinearWeights; 3],
    a: &Tensor,
    b: [&Tensor; 3],
    scale: f64,
) -> Result<[Tensor; 3], OpError> {
    check(&[("x", x), ("a", a), ("b", b[0]), ("b", b[1]), ("b", b[2])], frozen[0], scale)?;
    let rank = rank_of(a, &[3], frozen[0].inputs())?;
    for (frozen, b) in frozen.iter().zip(b) {
        check_b(b, frozen, rank)?;
    }
    let low = scaled(matmul(&rows_of(x, frozen[0].inputs())?, a, Transposed::B)?, scale)?;
    let layer = |i: usize| {
        let low = reshaped(copy_rows(&low, i..i + 1)?, &with_last(x, rank));
        linear_add(linear(x, frozen[i], Activation::Identity)?, &low, &LinearWeights::pack(b[i], None)?)
    };
    Ok([layer(0)?, layer(1)?, layer(2)?])
}

/// The gradients of [`lora_linear`] with respect to `x`, `a` and `b`; that of the frozen weight is never computed.
///
/// # Shapes
/// - `gradient`: `[.., outputs]`, that of the result; `x`, `a`, `b`, `scale`: as given to [`lora_linear`]
/// - `turned`: the frozen weight as a layer from `outputs` to `inputs` without a bias, packed once from its transpose
/// - returns: gradients in the shapes of `x`, `a` and `b`
///
/// # Numerics
/// With `U = scale G B` and `T = scale X Aᵀ`: `dX = G W + U A`, `dA = Uᵀ X`, `dB = Gᵀ T`, each a [`matmul`] or a [`linear`].
///
/// # Errors
/// As [`lora_linear`].
///
/// # Source
/// arXiv:2106.09685, differentiated.
pub fn lora_linear_backward(
    gradient: &Tensor,
    x: &Tensor,
    turned: &LinearWeights,
    a: &Tensor,
    b: &Tensor,
    scale: f64,
) -> Result<LoraGradients, OpError> {
    check_gradient(gradient, x, turned)?;
    check(&[("gradient", gradient), ("x", x), ("a", a), ("b", b)], turned, scale)?;
    let rank = rank_of(a, &[], turned.outputs())?;
    check_turned(b, turned, rank)?;
    backward(None, gradient, x, turned, a, b, scale)
}

/// The gradients of [`lora_qkv`] with respect to `x`, `a` and `b`.
///
/// # Shapes
/// As [`lora_linear_backward`], three of each but `x` and `a`, which is `[3, rank, inputs]`.
///
/// Numerics and errors are those of [`lora_linear_backward`]; the gradients with respect to `x` are added in the order of the layers.
pub fn lora_qkv_backward(
    gradients: [&Tensor; 3],
    x: &Tensor,
    turned: [&LinearWeights; 3],
    a: &Tensor,
    b: [&Tensor; 3],
    scale: f64,
) -> Result<LoraQkvGradients, OpError> {
    let rank = rank_of(a, &[3], turned[0].outputs())?;
    for i in 0..3 {
        check_gradient(gradients[i], x, turned[i])?;
        check(&[("gradient", gradients[i]), ("x", x), ("a", a), ("b", b[i])], turned[i], scale)?;
        check_turned(b[i], turned[i], rank)?;
    }
    let of_layer = |i: usize, dx: Option<Tensor>| {
        let a = reshaped(copy_rows(a, i..i + 1)?, &a.shape()[1..]);
        backward(dx, gradients[i], x, turned[i], &a, b[i], scale)
    };
    let q = of_layer(0, None)?;
    let k = of_layer(1, Some(q.x))?;
    let v = of_layer(2, Some(k.x))?;
    let row = |da: &Tensor| reshaped(da.clone(), &[1, da.len()]);
    let da = concat(&concat(&row(&q.a), &row(&k.a))?, &row(&v.a))?;
    Ok(LoraQkvGradients { x: v.x, a: reshaped(da, a.shape()), b: [q.b, k.b, v.b] })
}

/// The gradients of a layer, that of `x` added to `dx`.
fn backward(
    dx: Option<Tensor>,
    gradient: &Tensor,
    x: &Tensor,
    turned: &LinearWeights,
    a: &Tensor,
    b: &Tensor,
    scale: f64,
) -> Result<LoraGradients, OpError> {
    let rank = a.shape()[0];
    let (g, rows) = (rows_of(gradient, turned.inputs())?, rows_of(x, turned.outputs())?);
    let up = scaled(matmul(&g, b, Transposed::NONE)?, scale)?;
    let low = scaled(matmul(&rows, a, Transposed::B)?, scale)?;
    let dx = match dx {
        Some(dx) => linear_add(dx, gradient, turned)?,
        None => linear(gradient, turned, Activation::Identity)?,
    };
    let of_rank = LinearWeights::pack(&transpose(a)?, None)?;
    let dx = linear_add(dx, &reshaped(up.clone(), &with_last(x, rank)), &of_rank)?;
    Ok(LoraGradients { x: dx, a: matmul(&up, &rows, Transposed::A)?, b: matmul(&g, &low, Transposed::A)? })
}

/// Device, dtypes and scale.
fn check(arguments: &[(&'static str, &Tensor)], layer: &LinearWeights, scale: f64) -> Result<(), OpError> {
    let held: Vec<_> = arguments.iter().map(|&(name, tensor)| (name, tensor, Holds::Float)).collect();
    common_place(OP, &held)?;
    let (argument, tensor) = arguments[0];
    if tensor.device() != *layer.device() {
        let (expected, found) = (layer.device().name().to_owned(), tensor.device().name().to_owned());
        return Err(OpError::Device { op: OP, argument, expected, found });
    }
    if scale.is_finite() { Ok(()) } else { Err(OpError::value(OP, "scale", "finite", scale)) }
}

/// The rank of `a`, `[batch.., rank, inputs]`.
fn rank_of(a: &Tensor, batch: &[usize], inputs: usize) -> Result<usize, OpError> {
    match a.shape() {
        [front @ .., rank, last] if front == batch && *last == inputs => Ok(*rank),
        shape => {
            let front: String = batch.iter().map(|extent| format!("{extent}, ")).collect();
            Err(OpError::shape(OP, "a", format!("[{front}rank, {inputs}]"), shape))
        }
    }
}

fn check_b(b: &Tensor, frozen: &LinearWeights, rank: usize) -> Result<(), OpError> {
    expect(b, "b", &[frozen.outputs(), rank])
}

fn check_turned(b: &Tensor, turned: &LinearWeights, rank: usize) -> Result<(), OpError> {
    expect(b, "b", &[turned.inputs(), rank])
}

fn check_gradient(gradient: &Tensor, x: &Tensor, turned: &LinearWeights) -> Result<(), OpError> {
    if x.shape().last() != Some(&turned.outputs()) {
        return Err(OpError::shape(OP, "x", format!("[.., {}]", turned.outputs()), x.shape()));
    }
    expect(gradient, "gradient", &with_last(x, turned.inputs()))
}

fn expect(tensor: &Tensor, argument: &'static str, shape: &[usize]) -> Result<(), OpError> {
    if tensor.shape() == shape {
        return Ok(());
    }
    Err(OpError::shape(OP, argument, format!("{shape:?}"), tensor.shape()))
}

/// `x` as a matrix of rows of `width` values.
fn rows_of(x: &Tensor, width: usize) -> Result<Tensor, OpError> {
    match x.shape().split_last() {
        Some((&last, rows)) if last == width => Ok(reshaped(x.clone(), &[rows.iter().product(), width])),
        _ => Err(OpError::shape(OP, "x", format!("[.., {width}]"), x.shape())),
    }
}

/// The shape of `x` with another last extent.
fn with_last(x: &Tensor, last: usize) -> Vec<usize> {
    let rows = x.shape().split_last().map_or(&[][..], |(_, rows)| rows);
    [rows, &[last]].concat()
}

fn reshaped(tensor: Tensor, shape: &[usize]) -> Tensor {
    tensor.reshape(shape).expect("as many elements")
}
