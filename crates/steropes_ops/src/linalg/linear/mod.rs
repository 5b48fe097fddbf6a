//! Products with packed weights: the linear layer and everything that is one underneath.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::cpu::quads::MAX_DEPTH;
use crate::error::{Holds, OpError, Place, common_place, on_cpu, place, values};
use crate::gpu::product::ProductWeights;
use crate::linalg::quantize::{GroupedMatrix, QuantizedMatrix};
use std::sync::Arc;
use steropes_tensor::{Device, Tensor};

pub use crate::cpu::Activation;

const OP: &str = "linalg::linear";

/// The weights of a linear layer, laid out once for the kernel of one device.
#[derive(Debug, Clone)]
pub struct LinearWeights {
    device: Device,
    inputs: usize,
    outputs: usize,
    packed: Packed,
}

#[derive(Debug, Clone)]
enum Packed {
    Cpu(Arc<cpu::Packed>),
    Gpu(ProductWeights),
}

/// The weight of a linear layer, `[outputs, inputs]`.
#[derive(Debug, Clone, Copy)]
pub enum Weight<'a> {
    /// Its values: f32, on a GPU also f16, on the CPU also bf16.
    Values(&'a Tensor),
    /// f32 values, finite ones, which are rounded to int8 with one scale for each output as they are packed, for the CPU.
    Int8(&'a Tensor),
    /// Blocks of small integers.
    Blocks(&'a QuantizedMatrix),
    /// Groups of small integers with a range each.
    Groups(&'a GroupedMatrix),
}

impl<'a> From<&'a Tensor> for Weight<'a> {
    fn from(values: &'a Tensor) -> Self {
        Self::Values(values)
    }
}

impl<'a> From<&'a QuantizedMatrix> for Weight<'a> {
    fn from(blocks: &'a QuantizedMatrix) -> Self {
        Self::Blocks(blocks)
    }
}

impl<'a> From<&'a GroupedMatrix> for Weight<'a> {
    fn from(groups: &'a GroupedMatrix) -> Self {
        Self::Groups(groups)
    }
}

impl Weight<'_> {
    fn shape(&self) -> Vec<usize> {
        match self {
            Self::Values(values) | Self::Int8(values) => values.shape().to_vec(),
            Self::Blocks(blocks) => blocks.shape().to_vec(),
            Self::Groups(groups) => groups.shape().to_vec(),
        }
    }
}

impl LinearWeights {
    /// Packs `weight` and `bias` on their device, in the dtype or format of `weight`. Blocks and groups, which are in host memory, go to
    /// the device of `bias`, without one to the CPU; [`LinearWeights::pack_on`] says where.
    ///
    /// # Shapes
    /// - `weight`: `[outputs, inputs]`
    /// - `bias`: `[outputs]`, f32
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above or in [`Weight`],
    /// [`OpError::Unsupported`] if the weight is int8 and on a GPU, or if sums of so many inputs do not fit int8's 32 bits.
    pub fn pack<'a>(weight: impl Into<Weight<'a>>, bias: Option<&Tensor>) -> Result<Self, OpError> {
        let weight = weight.into();
        let device = match weight {
            Weight::Values(values) | Weight::Int8(values) => values.device(),
            Weight::Blocks(_) | Weight::Groups(_) => bias.map_or(Device::Cpu, Tensor::device),
        };
        Self::pack_on(&device, weight, bias)
    }

    /// [`LinearWeights::pack`] on `device`, where tensors must be already.
    ///
    /// # Errors
    /// As [`LinearWeights::pack`].
    pub fn pack_on<'a>(
        device: &Device,
        weight: impl Into<Weight<'a>>,
        bias: Option<&Tensor>,
    ) -> Result<Self, OpError> {
        let weight = weight.into();
        let &[outputs, inputs] = weight.shape().as_slice() else {
            return Err(OpError::shape(OP, "weight", "[outputs, inputs]", &weight.shape()));
        };
        if let Some(bias) = bias
            && bias.shape() != [outputs]
        {
            return Err(OpError::shape(OP, "bias", format!("[{outputs}]"), bias.shape()));
        }
        let mut arguments = Vec::new();
        match weight {
            Weight::Values(values) => arguments.push(("weight", values, Holds::Factor)),
            Weight::Int8(values) => arguments.push(("weight", values, Holds::F32)),
            Weight::Blocks(_) | Weight::Groups(_) => {}
        }
        arguments.extend(bias.map(|bias| ("bias", bias, Holds::F32)));
        common_place(OP, &arguments)?;
        if let Some((argument, tensor, _)) = arguments.first()
            && tensor.device() != *device
        {
            let (expected, found) = (device.name().to_owned(), tensor.device().name().to_owned());
            return Err(OpError::Device { op: OP, argument, expected, found });
        }
        let packed = match device {
            Device::Cpu if matches!(weight, Weight::Int8(_)) && inputs > MAX_DEPTH => {
                let why =
                    format!("sums of {inputs} products of int8 do not fit 32 bits, only of {MAX_DEPTH}");
                return Err(OpError::Unsupported { op: OP, device: "cpu".to_owned(), why });
            }
            Device::Cpu => Packed::Cpu(Arc::new(cpu::Packed::new(weight, bias, [outputs, inputs]))),
            Device::Gpu(gpu) => match gpu::pack(gpu, weight, bias)? {
                Some(packed) => Packed::Gpu(packed),
                None => {
                    let why = "int8 weights run on the CPU only".to_owned();
                    return Err(OpError::Unsupported {
                        op: OP,
                        device: gpu.capabilities().name.clone(),
                        why,
                    });
                }
            },
        };
        Ok(Self { device: device.clone(), inputs, outputs, packed })
    }

    /// Whether a product with them may round `x` to bf16 or int8.
    pub fn rounds_rows(&self) -> bool {
        matches!(&self.packed, Packed::Cpu(packed) if packed.rounds_rows())
    }

    /// The device that they are laid out for.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Columns of `x` that the product takes.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Columns that the product gives.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// `activation(x Wᵀ + b)`.
///
/// # Shapes
/// - `x`: `[.., inputs]`, in the dtype of the weights; f32 if these are bf16 or int8; if in blocks or groups f32, on a GPU also f16
/// - returns: `[.., outputs]`, in the dtype of `x`
///
/// # Numerics
/// bf16 weights: where the CPU multiplies pairs of bf16 (AMX, AVX-512), `x` is rounded to bf16 too, to within 2^-8 of each value, else
/// it stays f32. Products are exact, sums f32.
///
/// Weights in blocks: where the CPU multiplies pairs of bf16, both `x` and the values that the blocks stand for are rounded to bf16, to
/// within 2^-8 of each, else both stay f32. On a GPU both stay f32, but where matrices of f16 are multiplied, which round these values
/// to f16, and up to 8 rows are summed in another order than more are.
///
/// Weights in groups: as in blocks on a GPU, and in f32 on every CPU. A row of `x` with an infinity may come out as NaN.
///
/// int8 weights: each is an integer of -127 to 127 times a scale of its output, the largest magnitude of that output's weights divided by
/// 127, and `x` an integer times a scale of its row, on every CPU. So an output is off by at most half a scale of the row times the sum of
/// the magnitudes of its weights, and half a scale of the output times that of the row. Values of a row above 8 times its mean
/// magnitude, or above 16 or 32 times if those are more than a 32nd of the row, are left out of its integers and its scale, and are
/// multiplied in f32 with the rounded weights. Integers are summed exactly, on CPUs without AMX or AVX-512 VNNI up to sums of 2^24 and else
/// as f32. NaN and infinities in `x` come out in their row alone; a weight that is not finite makes its output NaN.
///
/// Else f32 products and sums, on the CPU every 512 inputs on their own. Within `Tolerance::Sum { depth: inputs }`; GELU
/// adds at most 5e-7 absolute. f16 results are rounded once, to within 5e-4 of themselves.
///
/// f32 on a CPU with AMX: from 64 rows and 512 outputs on, each value is the sum of three bf16, of whose nine products the six largest are summed in f32;
/// what is left out is below 2^-24 of a product. If the largest magnitude of `x` or of the weights is not within 2^-60 and
/// 2^60 (or 0), or not finite, the whole is computed as elsewhere. So a row among 64 may differ in its last bits from the same
/// row among fewer, or beside a row that is out of range; both are within the tolerance.
///
/// Else a row does not depend on the others, but for blocks and groups on a GPU as said above. No result depends on the number of
/// threads.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if `x` does not fit the weights. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn linear(x: &Tensor, weights: &LinearWeights, activation: Activation) -> Result<Tensor, OpError> {
    let shape = result_shape(x, weights)?;
    match (place(OP, &[("x", x, Holds::Float)])?, &weights.packed) {
        (Place::Cpu, Packed::Cpu(packed)) => {
            Ok(on_cpu(&shape, cpu::linear(values(x), rows(&shape), packed, activation)))
        }
        (Place::Gpu(gpu), Packed::Gpu(packed)) => {
            common_place(OP, &[("x", x, Holds::Float), ("weights", packed.weight(), packed.holds())])?;
            gpu::linear(&gpu, x, &shape, packed, activation)
        }
        _ => Err(elsewhere(x, weights)),
    }
}

/// `residual + x Wᵀ + b`, in the memory of `residual` when nobody else holds it.
///
/// # Shapes
/// - `residual`, `x`: `[.., outputs]` and `[.., inputs]`, in a dtype that [`linear`] takes
/// - returns: `[.., outputs]`, in the dtype of `x`
///
/// # Numerics
/// As [`linear`]; the residual is added last.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument does not fit the weights. Nothing is computed
/// then.
///
/// # Source
/// Written from the formula.
pub fn linear_add(residual: Tensor, x: &Tensor, weights: &LinearWeights) -> Result<Tensor, OpError> {
    let shape = result_shape(x, weights)?;
    if residual.shape() != shape {
        return Err(OpError::shape(OP, "residual", format!("{shape:?}"), residual.shape()));
    }
    let arguments = [("x", x, Holds::Float), ("residual", &residual, Holds::Float)];
    match (place(OP, &arguments)?, &weights.packed) {
        (Place::Cpu, Packed::Cpu(packed)) => {
            let mut sum = residual.into_vec::<f32>().expect("the dtype was checked");
            cpu::linear_add(&mut sum, values(x), rows(&shape), packed);
            Ok(on_cpu(&shape, sum))
        }
        (Place::Gpu(gpu), Packed::Gpu(packed)) => {
            common_place(OP, &[("x", x, Holds::Float), ("weights", packed.weight(), packed.holds())])?;
            gpu::linear_add(&gpu, residual, x, packed)
        }
        _ => Err(elsewhere(x, weights)),
    }
}

fn result_shape(x: &Tensor, weights: &LinearWeights) -> Result<Vec<usize>, OpError> {
    let mut shape = x.shape().to_vec();
    match shape.last_mut() {
        Some(last) if *last == weights.inputs => *last = weights.outputs,
        _ => return Err(OpError::shape(OP, "x", format!("[.., {}]", weights.inputs), x.shape())),
    }
    Ok(shape)
}

fn elsewhere(x: &Tensor, weights: &LinearWeights) -> OpError {
    let (expected, found) = (x.device().name().to_owned(), weights.device.name().to_owned());
    OpError::Device { op: OP, argument: "weights", expected, found }
}

/// Rows of a matrix that stands for a tensor: the product of all extents but the last.
fn rows(shape: &[usize]) -> usize {
    shape.split_last().map_or(0, |(_, rows)| rows.iter().product())
}
