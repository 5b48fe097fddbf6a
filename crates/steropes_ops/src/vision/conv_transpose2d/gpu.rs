//! The product of [`crate::gpu::product`] whose rows are stored as blocks of pixels.

use super::OP;
use crate::cpu::Activation;
use crate::error::OpError;
use crate::gpu::product::{Axis, Layout, Product, ProductWeights, Residual, Source, Target};
use steropes_tensor::{Gpu, Tensor};

/// Outputs (tap, output) of a product: one pixel in gives kernel x kernel pixels out.
pub(super) fn pack(gpu: &Gpu, weight: &Tensor, bias: &Tensor) -> Result<ProductWeights, OpError> {
    let &[inputs, outputs, kernel, _] = weight.shape() else { unreachable!("the rank was checked") };
    let taps = kernel * kernel;
    let layout = Layout {
        outputs: [Axis { extent: taps, step: 1 }, Axis { extent: outputs, step: taps }],
        depth: [Axis::ONE, Axis { extent: inputs, step: outputs * taps }],
    };
    ProductWeights::pack(gpu, OP, weight, Some(bias), layout)
}

/// The product for an image of `width` pixels in a row, each of which gives blocks with `run` elements in a row.
pub(super) fn product<'a>(
    x: &'a Tensor,
    weights: &'a ProductWeights,
    width: usize,
    run: usize,
) -> Product<'a> {
    Product {
        op: OP,
        source: Source::Rows(x),
        weights,
        activation: Activation::Identity,
        residual: Residual::Nothing,
        target: Target::Blocks { columns: width, run },
    }
}
