//! Two-dimensional convolution.

pub(crate) mod bench;
mod cpu;
mod narrow;
mod reference;
pub(crate) mod tests;
mod winograd;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::Tensor;

const OP: &str = "vision::conv2d";

/// The weights of a convolution, laid out once for the kernel of one device.
#[derive(Debug, Clone)]
pub struct Conv2dWeights {
    geometry: Geometry,
    packed: std::sync::Arc<cpu::Packed>,
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
    /// Packs `weight` and `bias`; 3x3 kernels are transformed for Winograd's form where it applies.
    ///
    /// # Shapes
    /// - `weight`: `[outputs, inputs, kernel, kernel]`, f32, no extent 0
    /// - `bias`: `[outputs]`, f32
    ///
    /// # Errors
    /// [`OpError::Shape`] or [`OpError::DType`] if a tensor is not as above, [`OpError::Value`] if `stride` is 0 or
    /// `padding` is not below the kernel's side.
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
        let values = host::<f32>(OP, "weight", weight)?;
        if let Some(bias) = bias
            && bias.shape() != [outputs]
        {
            return Err(OpError::shape(OP, "bias", format!("[{outputs}]"), bias.shape()));
        }
        let bias = bias.map(|b| host::<f32>(OP, "bias", b)).transpose()?;
        if stride == 0 {
            return Err(OpError::value(OP, "stride", "at least 1", stride));
        }
        if padding >= kernel {
            let expected = format!("below the kernel's side {kernel}");
            return Err(OpError::value(OP, "padding", expected, padding));
        }
        let geometry = Geometry { inputs, outputs, kernel, stride, padding };
        Ok(Self { geometry, packed: std::sync::Arc::new(cpu::Packed::new(values, bias, geometry)) })
    }

    /// Channels, kernel, stride and padding.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }
}

/// Cross-correlation of an image with a kernel.
///
/// `y[row, col, o] = b[o] + Σ w[o, i, r, c] x[s row + r - p, s col + c - p, i]` over inputs `i` and taps `r, c`, with
/// zeros outside the image. `options` adds `max(x, 0)` before, `max(y, 0)` after and a residual last.
///
/// # Shapes
/// - `x`: `[batch, height, width, inputs]`, f32, padded sides not below the kernel's
/// - `options.residual`: the shape of the result, f32
/// - returns: `[batch, (height + 2p - k) / s + 1, (width + 2p - k) / s + 1, outputs]`
///
/// # Numerics
/// f32. 3x3 kernels with stride 1, padding 1 and at least 16 inputs run as Winograd's F(4x4, 3x3) with the points 0, ±3/4,
/// ±3/2: `Tolerance::OfLargest(3e-6)` holds (measured: see the table in `winograd.rs`), a NaN or an infinity spreads to
/// the 4x4 results of its tile. Everything else is one sum of products in f32: `Tolerance::Sum` of its depth holds.
/// The result does not depend on the number of threads.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` or the residual is not as above.
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
    let values = host::<f32>(OP, "x", x)?;
    let residual = match options.residual {
        Some(r) if r.shape() != shape => {
            return Err(OpError::shape(OP, "residual", format!("{shape:?}"), r.shape()));
        }
        other => other.map(|r| host::<f32>(OP, "residual", r)).transpose()?,
    };
    let fused = cpu::Fused { relu_input: options.relu_input, relu_output: options.relu_output, residual };
    Ok(on_cpu(&shape, cpu::conv2d(values, extents, shape, &weights.packed, &fused)))
}
