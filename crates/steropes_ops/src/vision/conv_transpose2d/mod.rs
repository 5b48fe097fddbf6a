//! Transposed convolution whose kernel equals its stride.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, common_place, on_cpu, place, values};
use crate::gpu::product::ProductWeights;
use crate::linalg::linear::LinearWeights;
use steropes_tensor::{Device, Tensor};

const OP: &str = "vision::conv_transpose2d";

/// The weights of a transposed convolution with `kernel = stride` and no padding.
#[derive(Debug, Clone)]
pub struct ConvTranspose2dWeights {
    device: Device,
    packed: Packed,
    inputs: usize,
    outputs: usize,
    kernel: usize,
}

#[derive(Debug, Clone)]
enum Packed {
    Cpu(LinearWeights),
    Gpu(ProductWeights),
}

impl ConvTranspose2dWeights {
    /// Packs `weight` and `bias` on their device, in the dtype of `weight`.
    ///
    /// # Shapes
    /// - `weight`: `[inputs, outputs, kernel, kernel]`, f32, on a GPU also f16, no extent 0
    /// - `bias`: `[outputs]`, f32
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
    pub fn pack(weight: &Tensor, bias: &Tensor) -> Result<Self, OpError> {
        let (inputs, outputs, kernel) = match *weight.shape() {
            [inputs, outputs, kernel, width] if kernel == width && !weight.is_empty() => {
                (inputs, outputs, kernel)
            }
            _ => {
                let expected = "[inputs, outputs, kernel, kernel], no extent 0";
                return Err(OpError::shape(OP, "weight", expected, weight.shape()));
            }
        };
        if bias.shape() != [outputs] {
            return Err(OpError::shape(OP, "bias", format!("[{outputs}]"), bias.shape()));
        }
        let packed = match common_place(OP, &[("weight", weight, Holds::Float), ("bias", bias, Holds::F32)])?
        {
            Place::Cpu => Packed::Cpu(cpu::pack(values(weight), values(bias), [inputs, outputs, kernel])?),
            Place::Gpu(gpu) => Packed::Gpu(gpu::pack(&gpu, weight, bias)?),
        };
        Ok(Self { device: weight.device(), packed, inputs, outputs, kernel })
    }
}

/// `y[k row + r, k col + c, o] = b[o] + Σ x[row, col, i] w[i, o, r, c]`.
///
/// # Shapes
/// - `x`: `[batch, height, width, inputs]`, in the dtype of the weights
/// - returns: `[batch, k height, k width, outputs]`, in the dtype of `x`
///
/// # Numerics
/// f32 products and sums, within `Tolerance::Sum { depth: inputs + 1 }`. f16 results are rounded once, to within 5e-4 of
/// themselves.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if `x` does not fit the weights.
///
/// # Source
/// Written from the formula: a matrix product followed by a rearrangement.
pub fn conv_transpose2d(x: &Tensor, weights: &ConvTranspose2dWeights) -> Result<Tensor, OpError> {
    let (inputs, outputs, k) = (weights.inputs, weights.outputs, weights.kernel);
    let (batch, height, width) = match *x.shape() {
        [batch, height, width, channels] if channels == inputs => (batch, height, width),
        _ => {
            let expected = format!("[batch, height, width, {inputs}]");
            return Err(OpError::shape(OP, "x", expected, x.shape()));
        }
    };
    let shape = [batch, k * height, k * width, outputs];
    match (place(OP, &[("x", x, Holds::Float)])?, &weights.packed) {
        (Place::Cpu, Packed::Cpu(packed)) => Ok(on_cpu(&shape, cpu::conv_transpose2d(x, packed, shape, k)?)),
        (Place::Gpu(gpu), Packed::Gpu(packed)) => {
            common_place(OP, &[("x", x, Holds::Float), ("weights", packed.weight(), Holds::Float)])?;
            let y = Tensor::on_gpu(&gpu, OP, x.dtype(), &shape)?;
            gpu::product(x, packed, width, k * outputs).launch(&gpu, &y)?;
            Ok(y)
        }
        _ => {
            let (expected, found) = (x.device().name().to_owned(), weights.device.name().to_owned());
            Err(OpError::Device { op: OP, argument: "weights", expected, found })
        }
    }
}
