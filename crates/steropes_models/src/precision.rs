//! The element type that a network computes with.

use crate::ModelError;
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use steropes_tensor::{DType, Device, Tensor, TensorError};

/// The element type of weights and of what flows between layers. Sums, norms, softmax and outputs are f32 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f16 for large networks on a GPU that has it, else f32: the rounding of f16 shows in cameras (0.1 degrees over twelve photos with
    /// the built-in network), and a small network is not what a reconstruction waits for.
    #[default]
    Auto,
    /// f32.
    F32,
    /// f16, on a GPU that has it.
    F16,
    /// bf16 for the weights of linear layers, on the CPU: half the memory, and several times as fast where the CPU multiplies bf16. What
    /// flows between layers, convolutions and points stay f32.
    Bf16,
}

/// Bytes of stored weights from which on a network is large.
const LARGE_NETWORK: u64 = 200 << 20;

impl Precision {
    /// The element type on `device` for a network whose weights take `weight_bytes` bytes as they are stored.
    ///
    /// # Errors
    /// [`ModelError::Precision`] if `device` does not compute with it.
    pub fn on(self, device: &Device, weight_bytes: u64) -> Result<DType, ModelError> {
        let has_f16 = device.gpu().is_some_and(|gpu| gpu.capabilities().f16);
        match self {
            Self::Auto if has_f16 && weight_bytes >= LARGE_NETWORK => Ok(DType::F16),
            Self::F16 if has_f16 => Ok(DType::F16),
            Self::Bf16 if device.gpu().is_none() => Ok(DType::BF16),
            Self::F16 | Self::Bf16 => {
                Err(ModelError::Precision { device: device.name().to_owned(), precision: self })
            }
            Self::Auto | Self::F32 => Ok(DType::F32),
        }
    }

    /// Where there is such a precision, in words.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Bf16 => "--device cpu",
            Self::F16 => "a GPU that has f16",
            Self::Auto | Self::F32 => "any device",
        }
    }
}

/// Values that flow through a network of `precision`, on `device`: f16, or f32 with f32 and bf16.
///
/// # Errors
/// [`TensorError`] if there are not as many values as `shape` has or the device has no memory for them.
pub(crate) fn upload(
    device: &Device,
    precision: DType,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<Tensor, TensorError> {
    if precision != DType::F16 {
        return Tensor::new(device, shape, values);
    }
    let mut halves = vec![f16::ZERO; values.len()];
    halves.convert_from_f32_slice(&values);
    Tensor::new(device, shape, halves)
}

impl std::str::FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::Bf16),
            _ => Err("must be f32, f16, bf16 or auto".to_owned()),
        }
    }
}

impl std::fmt::Display for Precision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_computes_in_f32() {
        assert_eq!(Precision::Auto.on(&Device::cpu(), LARGE_NETWORK).unwrap(), DType::F32);
        let error = Precision::F16.on(&Device::cpu(), LARGE_NETWORK).unwrap_err().to_string();
        assert_eq!(error, "`cpu` does not compute with f16: use --precision f32 or a GPU that has f16");
    }

    #[test]
    fn names_come_back() {
        for precision in [Precision::Auto, Precision::F32, Precision::F16, Precision::Bf16] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("f64".parse::<Precision>().is_err());
    }
}
