//! Two-dimensional convolution.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod narrow;
mod reference;
pub(crate) mod tests;
mod winograd;

use crate::error::{Holds, OpError, Place, common_place, on_cpu, place, values};
use crate::gpu::product::ProductWeights;
use crate::vision::resize_bilinear::resize_bilinear;
use steropes_tensor::{Device, Tensor};

const OP: &str = "vision::conv2d";

/// The weights of a convolution, laid out once for the kernel of one device.
#[derive(Debug, Clone)]
pub struct Conv2dWeights {
    device: Device,
    geometry: Geometry,
    packed: Packed,
}

#[derive(Debug, Clone)]
enum Packed {
    Cpu(std::sync::Arc<cpu::Packed>),
    Gpu(ProductWeights),
}

/// The extents of a convolution: square kernel, the same stride and zero padding on both axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Channels of the input.
    pub inputs: usize,
    /// Channels of the result.
    pub outputs: usize,
    /// Side of the kernel in pixels.
    pub kernel: usize,
    /// Step between results in pixels.
    pub stride: usize,
    /// Zeros added on each side in pixels.
    pub padding: usize,
}

/// What is fused into a convolution.
#[derive(Clone, Copy, Default, Debug)]
pub struct ConvOptions<'a> {
    /// Whether the input is replaced by `max(x, 0)` as it is read.
    pub relu_input: bool,
    /// Whether the result is replaced by `max(y, 0)`, before the residual is added.
    pub relu_output: bool,
    /// A tensor of the result's shape that is added last.
    pub residual: Option<&'a Tensor>,
}

impl Conv2dWeights {
    /// Packs `weight` and `bias` on their device, in the dtype of `weight`; on the CPU, 3x3 kernels are transformed for
    /// Winograd's form where it applies.
    ///
    /// # Shapes
    /// - `weight`: `[outputs, inputs, kernel, kernel]`, f32, on a GPU also f16, no extent 0
    /// - `bias`: `[outputs]`, f32
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if a tensor is not as above, [`OpError::Value`] if
    /// `stride` is 0 or `padding` is not below the kernel's side.
    pub fn pack(
        weight: &Tensor,
        bias: Option<&Tensor>,
        stride: usize,
        padding: usize,
    ) -> Result<Self, OpError> {
        let (outputs, inputs, kernel) = match *weight.shape() {
            [outputs, inputs, kernel, width] if kernel == width && !weight.is_empty() => {
                (outputs, inputs, kernel)
            }
            _ => {
                let expected = "[outputs, inputs, kernel, kernel], no extent 0";
                return Err(OpError::shape(OP, "weight", expected, weight.shape()));
            }
        };
        if let Some(bias) = bias
            && bias.shape() != [outputs]
        {
            return Err(OpError::shape(OP, "bias", format!("[{outputs}]"), bias.shape()));
        }
        if stride == 0 {
            return Err(OpError::value(OP, "stride", "at least 1", stride));
        }
        if padding >= kernel {
            let expected = format!("below the kernel's side {kernel}");
            return Err(OpError::value(OP, "padding", expected, padding));
        }
        let geometry = Geometry { inputs, outputs, kernel, stride, padding };
        let mut arguments = vec![("weight", weight, Holds::Float)];
        arguments.extend(bias.map(|bias| ("bias", bias, Holds::F32)));
        let packed = match common_place(OP, &arguments)? {
            Place::Cpu => {
                let packed = cpu::Packed::new(values(weight), bias.map(values), geometry);
                Packed::Cpu(std::sync::Arc::new(packed))
            }
            Place::Gpu(gpu) => Packed::Gpu(gpu::pack(&gpu, weight, bias, geometry)?),
        };
        Ok(Self { device: weight.device(), geometry, packed })
    }

    /// Channels, kernel, stride and padding.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn cpu(&self) -> Option<&cpu::Packed> {
        match &self.packed {
            Packed::Cpu(packed) => Some(packed),
            Packed::Gpu(_) => None,
        }
    }
}

/// Cross-correlation of an image with a kernel.
///
/// `y[row, col, o] = b[o] + Σ w[o, i, r, c] x[s row + r - p, s col + c - p, i]` over inputs `i` and taps `r, c`, with
/// zeros outside the image. `options` adds `max(x, 0)` before, `max(y, 0)` after and a residual last.
///
/// # Shapes
/// - `x`: `[batch, height, width, inputs]`, in the dtype of the weights, padded sides not below the kernel's
/// - `options.residual`: the shape and dtype of the result
/// - returns: `[batch, (height + 2p - k) / s + 1, (width + 2p - k) / s + 1, outputs]`, in the dtype of `x`
///
/// # Numerics
/// f32 products and sums. On the CPU, 3x3 kernels with stride 1, padding 1 and at least 16 inputs run as Winograd's F(4x4, 3x3) with the points 0, ±3/4,
/// ±3/2: `Tolerance::OfLargest(3e-6)` holds (measured: see the table in `winograd.rs`), a NaN or an infinity spreads to
/// the 4x4 results of its tile. Everything else is one sum of products in f32: `Tolerance::Sum` of its depth holds.
/// f16 results are rounded once, to within 5e-4 of themselves. The result does not depend on the number of threads.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if `x` or the residual is not as above.
///
/// # Source
/// Written from the formula; Winograd's form from Lavin and Gray, arXiv:1509.09308, with transforms derived from the
/// Toom-Cook interpolation for other points.
pub fn conv2d(x: &Tensor, weights: &Conv2dWeights, options: ConvOptions<'_>) -> Result<Tensor, OpError> {
    let g = weights.geometry;
    let extents = match *x.shape() {
        [batch, height, width, channels]
            if channels == g.inputs
                && height + 2 * g.padding >= g.kernel
                && width + 2 * g.padding >= g.kernel =>
        {
            [batch, height, width]
        }
        _ => {
            let expected = format!("[batch, height, width, {}], no side below the kernel", g.inputs);
            return Err(OpError::shape(OP, "x", expected, x.shape()));
        }
    };
    let side = |n: usize| (n + 2 * g.padding - g.kernel) / g.stride + 1;
    let shape = [extents[0], side(extents[1]), side(extents[2]), g.outputs];
    if let Some(residual) = options.residual
        && residual.shape() != shape
    {
        return Err(OpError::shape(OP, "residual", format!("{shape:?}"), residual.shape()));
    }
    let mut arguments = vec![("x", x, Holds::Float)];
    arguments.extend(options.residual.map(|residual| ("residual", residual, Holds::Float)));
    match (place(OP, &arguments)?, &weights.packed) {
        (Place::Cpu, Packed::Cpu(packed)) => {
            let fused = cpu::Fused {
                relu_input: options.relu_input,
                relu_output: options.relu_output,
                residual: options.residual.map(values),
            };
            Ok(on_cpu(&shape, cpu::conv2d(values(x), extents, shape, packed, &fused)))
        }
        (Place::Gpu(gpu), Packed::Gpu(packed)) => {
            common_place(OP, &[("x", x, Holds::Float), ("weights", packed.weight(), Holds::Float)])?;
            let y = Tensor::on_gpu(&gpu, OP, x.dtype(), &shape)?;
            gpu::product(x, packed, g, &shape, &options).launch(&gpu, &y)?;
            Ok(y)
        }
        _ => {
            let (expected, found) = (x.device().name().to_owned(), weights.device.name().to_owned());
            Err(OpError::Device { op: OP, argument: "weights", expected, found })
        }
    }
}

/// A convolution of a resized image, and if there is a `pointwise` one, a ReLU and that: the end of a dense prediction head.
///
/// The same as [`resize_bilinear`], [`conv2d`] and [`conv2d`]. On the CPU, where `convolution` has Winograd's form and `pointwise` at
/// most 4 outputs, the maps between them, which are the largest of such a network, exist only tile by tile.
///
/// # Shapes
/// - `x`: `[batch, height, width, inputs]`, in the dtype of the weights, no extent 0
/// - `size`: height and width to resize to
/// - `convolution`: keeps height and width
/// - `pointwise`: a 1x1 convolution that takes the outputs of `convolution`
/// - returns: `[batch, size[0], size[1], outputs of the last]`, in the dtype of `x`
///
/// # Numerics
/// As its three parts. The result does not depend on the number of threads.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if `x` or the weights do not fit, [`OpError::Value`] if a side of
/// `size` is 0.
///
/// # Source
/// The head of DPT, arXiv:2103.13413.
pub fn resized_conv2d(
    x: &Tensor,
    size: [usize; 2],
    convolution: &Conv2dWeights,
    pointwise: Option<&Conv2dWeights>,
) -> Result<Tensor, OpError> {
    let g = convolution.geometry;
    if 2 * g.padding + 1 != g.kernel || g.stride != 1 {
        return Err(OpError::value(OP, "convolution", "one that keeps height and width", format!("{g:?}")));
    }
    if let Some(p) = pointwise.map(Conv2dWeights::geometry)
        && (p.kernel, p.stride, p.inputs) != (1, 1, g.outputs)
    {
        let expected = format!("a 1x1 convolution of {} inputs", g.outputs);
        return Err(OpError::value(OP, "pointwise", expected, format!("{p:?}")));
    }
    if let &[batch, height, width, channels] = x.shape()
        && !size.contains(&0)
        && channels == g.inputs
        && !x.is_empty()
        && let Place::Cpu = place(OP, &[("x", x, Holds::Float)])?
        && let Some(packed) = convolution.cpu()
        && let Ok(last) = pointwise.map(|pointwise| pointwise.cpu().ok_or(())).transpose()
        && let Some(y) = cpu::resized_conv2d(values(x), [batch, height, width], size, packed, last)
    {
        let outputs = pointwise.map_or(g, Conv2dWeights::geometry).outputs;
        return Ok(on_cpu(&[batch, size[0], size[1], outputs], y));
    }
    let resized = resize_bilinear(x, size[0], size[1])?;
    let options = ConvOptions { relu_output: pointwise.is_some(), ..ConvOptions::default() };
    let y = conv2d(&resized, convolution, options)?;
    drop(resized);
    match pointwise {
        Some(pointwise) => conv2d(&y, pointwise, ConvOptions::default()),
        None => Ok(y),
    }
}
