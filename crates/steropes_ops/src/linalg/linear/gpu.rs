//! The product of [`crate::gpu::product`] on the rows of a matrix.

use super::{Activation, OP, Weight};
use crate::error::OpError;
use crate::gpu::product::{Integers, Layout, Product, ProductWeights, Residual, Source, Target};
use steropes_tensor::{Gpu, Tensor};

/// Packs `weight` for `gpu`, where its values are; `None` of int8, which it has no product of.
pub(super) fn pack(
    gpu: &Gpu,
    weight: Weight<'_>,
    bias: Option<&Tensor>,
) -> Result<Option<ProductWeights>, OpError> {
    let integers = match weight {
        Weight::Int8(_) => return Ok(None),
        Weight::Values(weight) => {
            let layout = Layout::rows(weight.shape()[0], weight.shape()[1]);
            return ProductWeights::pack(gpu, OP, weight, bias, layout).map(Some);
        }
        Weight::Blocks(matrix) => Integers::Blocks(matrix),
        Weight::Groups(matrix) => Integers::Groups(matrix),
    };
    ProductWeights::of_integers(gpu, OP, integers, bias).map(Some)
}

pub(super) fn linear(
    gpu: &Gpu,
    x: &Tensor,
    shape: &[usize],
    weights: &ProductWeights,
    activation: Activation,
) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), shape)?;
    product(x, weights, activation, Residual::Nothing).launch(gpu, &y)?;
    Ok(y)
}

pub(super) fn linear_add(
    gpu: &Gpu,
    residual: Tensor,
    x: &Tensor,
    weights: &ProductWeights,
) -> Result<Tensor, OpError> {
    if residual.is_unshared() {
        product(x, weights, Activation::Identity, Residual::Result).launch(gpu, &residual)?;
        return Ok(residual);
    }
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), residual.shape())?;
    product(x, weights, Activation::Identity, Residual::Tensor(&residual)).launch(gpu, &y)?;
    Ok(y)
}

/// The product of the rows of `x`.
pub(super) fn product<'a>(
    x: &'a Tensor,
    weights: &'a ProductWeights,
    activation: Activation,
    residual: Residual<'a>,
) -> Product<'a> {
    Product { op: OP, source: Source::Rows(x), weights, activation, residual, target: Target::Rows }
}
