//! Products with packed weights: the linear layer and everything that is one underneath.

pub(crate) mod bench;
mod cpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host, on_cpu};
use steropes_tensor::{Device, Tensor};

pub use crate::cpu::Activation;

const OP: &str = "linalg::linear";

/// The weights of a linear layer, laid out once for the kernel of one device.
#[derive(Debug, Clone)]
pub struct LinearWeights {
    device: Device,
    inputs: usize,
    outputs: usize,
    packed: std::sync::Arc<cpu::Packed>,
}

impl LinearWeights {
    /// Packs `weight` `[outputs, inputs]` (f32) and `bias` `[outputs]` on the device of `weight`.
    ///
    /// # Errors
    /// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above.
    pub fn pack(weight: &Tensor, bias: Option<&Tensor>) -> Result<Self, OpError> {
        let &[outputs, inputs] = weight.shape() else {
            return Err(OpError::shape(OP, "weight", "[outputs, inputs]", weight.shape()));
        };
        if let Some(bias) = bias
            && bias.shape() != [outputs]
        {
            return Err(OpError::shape(OP, "bias", format!("[{outputs}]"), bias.shape()));
        }
        let values = host::<f32>(OP, "weight", weight)?;
        let bias = bias.map(|b| host::<f32>(OP, "bias", b)).transpose()?;
        let packed = std::sync::Arc::new(cpu::Packed::new(values, bias, outputs, inputs));
        Ok(Self { device: weight.device(), inputs, outputs, packed })
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
/// - `x`: `[.., inputs]`, f32
/// - returns: `[.., outputs]`
///
/// # Numerics
/// f32 products and sums; every 512 inputs are summed on their own. Within `Tolerance::Sum { depth: inputs }`; GELU
/// adds at most 5e-7 absolute. The result does not depend on the number of threads, nor a row on the others.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `x` does not fit the weights. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn linear(x: &Tensor, weights: &LinearWeights, activation: Activation) -> Result<Tensor, OpError> {
    let (values, shape) = checked(x, weights)?;
    let rows = rows(&shape);
    Ok(on_cpu(&shape, cpu::linear(values, rows, &weights.packed, activation)))
}

/// `residual + x Wᵀ + b`, in the memory of `residual` when nobody else holds it.
///
/// # Shapes
/// - `residual`: `[.., outputs]`, f32
/// - `x`: `[.., inputs]`, f32
/// - returns: `[.., outputs]`
///
/// # Numerics
/// As [`linear`]; the residual is added last.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument does not fit the weights. Nothing is computed then.
///
/// # Source
/// Written from the formula.
pub fn linear_add(residual: Tensor, x: &Tensor, weights: &LinearWeights) -> Result<Tensor, OpError> {
    let (values, shape) = checked(x, weights)?;
    if residual.shape() != shape {
        return Err(OpError::shape(OP, "residual", format!("{shape:?}"), residual.shape()));
    }
    host::<f32>(OP, "residual", &residual)?;
    let mut sum = residual.into_vec::<f32>().expect("the dtype was checked");
    cpu::linear_add(&mut sum, values, rows(&shape), &weights.packed);
    Ok(on_cpu(&shape, sum))
}

fn checked<'a>(x: &'a Tensor, weights: &LinearWeights) -> Result<(&'a [f32], Vec<usize>), OpError> {
    let values = host::<f32>(OP, "x", x)?;
    let mut shape = x.shape().to_vec();
    match shape.last_mut() {
        Some(last) if *last == weights.inputs => *last = weights.outputs,
        _ => return Err(OpError::shape(OP, "x", format!("[.., {}]", weights.inputs), x.shape())),
    }
    Ok((values, shape))
}

/// Rows of a matrix that stands for a tensor: the product of all extents but the last.
fn rows(shape: &[usize]) -> usize {
    shape.split_last().map_or(0, |(_, rows)| rows.iter().product())
}
