//! The product of [`crate::gpu::product`] whose left rows are patches, read where they lie in the image.

use super::{ConvOptions, Geometry, OP};
use crate::cpu::Activation;
use crate::error::OpError;
use crate::gpu::product::{Axis, Layout, Patches, Product, ProductWeights, Residual, Source, Target};
use steropes_tensor::{Gpu, Tensor};

/// Weights in the order of a patch: tap row, tap column, input.
pub(super) fn pack(
    gpu: &Gpu,
    weight: &Tensor,
    bias: Option<&Tensor>,
    g: Geometry,
) -> Result<ProductWeights, OpError> {
    let taps = g.kernel * g.kernel;
    let layout = Layout {
        outputs: [Axis::ONE, Axis { extent: g.outputs, step: g.inputs * taps }],
        depth: [Axis { extent: taps, step: 1 }, Axis { extent: g.inputs, step: taps }],
    };
    ProductWeights::pack(gpu, OP, weight, bias, layout)
}

/// The product that gives a result of shape `shape`.
pub(super) fn product<'a>(
    x: &'a Tensor,
    weights: &'a ProductWeights,
    g: Geometry,
    shape: &[usize; 4],
    options: &ConvOptions<'a>,
) -> Product<'a> {
    let (kernel, stride, padding, relu) = (g.kernel, g.stride, g.padding, options.relu_input);
    // The patches of single pixels are the rows of the image.
    let source = if (kernel, stride, padding, relu) == (1, 1, 0, false) {
        Source::Rows(x)
    } else {
        Source::Patches(Patches { x, out: [shape[1], shape[2]], kernel, stride, padding, relu })
    };
    Product {
        op: OP,
        source,
        weights,
        activation: if options.relu_output { Activation::Relu } else { Activation::Identity },
        residual: options.residual.map_or(Residual::Nothing, Residual::Tensor),
        target: Target::Rows,
    }
}
