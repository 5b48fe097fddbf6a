//! The precision that a network computes in.

use crate::ModelError;
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use steropes_nn::WeightType;
use steropes_ops::linalg::quantize::BlockFormat;
use steropes_tensor::{DType, Device, Tensor, TensorError};

/// How weights are held and what flows between layers. Sums, norms, softmax and outputs are f32 in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f16 for large networks on a GPU that has it, else f32: the rounding of f16 shows in cameras (0.1 degrees over twelve photos with
    /// the built-in network), and a small network is not what a reconstruction waits for. On the CPU a file whose weights are in blocks
    /// keeps them so.
    #[default]
    Auto,
    /// f32.
    F32,
    /// f16, on a GPU that has it.
    F16,
    /// bf16 for the weights of linear layers, on the CPU: half the memory, and several times as fast where the CPU multiplies bf16. What
    /// flows between layers, convolutions and points stay f32.
    Bf16,
    /// Linear layers in integers of 8 bits, on the CPU: weights with a scale for each output, made of what the file holds, and rows with a
    /// scale for each. A quarter of the memory, and up to twice the speed of bf16 where the CPU multiplies int8; the rest is as with bf16.
    Int8,
    /// Blocks of 32 integers of 8 bits with a scale for the weights of linear layers, on the CPU: a quarter of the memory. They are
    /// widened as they are multiplied; the rest is as with bf16.
    Q8,
    /// The same with 4 bits: an eighth of the memory, for a visible loss.
    Q4,
}

/// Bytes of stored weights from which on a network is large.
const LARGE_NETWORK: u64 = 200 << 20;

impl Precision {
    /// How weights are held on `device` by a network whose weights take `weight_bytes` bytes as they are stored.
    ///
    /// # Errors
    /// [`ModelError::Precision`] if `device` does not compute with it.
    pub fn on(self, device: &Device, weight_bytes: u64) -> Result<WeightType, ModelError> {
        let has_f16 = device.gpu().is_some_and(|gpu| gpu.capabilities().f16);
        let is_cpu = device.gpu().is_none();
        match self {
            Self::Auto if has_f16 && weight_bytes >= LARGE_NETWORK => Ok(WeightType::F16),
            Self::F16 if has_f16 => Ok(WeightType::F16),
            Self::Bf16 if is_cpu => Ok(WeightType::Bf16),
            Self::Int8 if is_cpu => Ok(WeightType::Int8),
            Self::Q8 if is_cpu => Ok(WeightType::Q8),
            Self::Q4 if is_cpu => Ok(WeightType::Q4),
            Self::F16 | Self::Bf16 => {
                Err(ModelError::Precision { device: device.name().to_owned(), precision: self })
            }
            Self::Int8 | Self::Q8 | Self::Q4 => {
                let instead = if has_f16 { Self::F16 } else { Self::F32 };
                Err(ModelError::OnlyCpu { precision: self, instead })
            }
            Self::Auto | Self::F32 => Ok(WeightType::F32),
        }
    }

    /// This precision for weights that are stored in blocks of `format`: on the CPU, [`Precision::Auto`] keeps them.
    pub(crate) fn of_stored(self, device: &Device, format: Option<BlockFormat>) -> Self {
        match format.filter(|_| self == Self::Auto && device.gpu().is_none()) {
            Some(BlockFormat::Q8) => Self::Q8,
            Some(BlockFormat::Q4) => Self::Q4,
            None => self,
        }
    }

    /// Where there is such a precision, in words.
    pub(crate) fn place(self) -> &'static str {
        match self {
            Self::Bf16 | Self::Int8 | Self::Q8 | Self::Q4 => "--device cpu",
            Self::F16 => "a GPU that has f16",
            Self::Auto | Self::F32 => "any device",
        }
    }
}

/// Values that flow through a network, on `device` as `dtype`: f16, else f32.
///
/// # Errors
/// [`TensorError`] if there are not as many values as `shape` has or the device has no memory for them.
pub(crate) fn upload(
    device: &Device,
    dtype: DType,
    shape: &[usize],
    values: Vec<f32>,
) -> Result<Tensor, TensorError> {
    if dtype != DType::F16 {
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
            "int8" => Ok(Self::Int8),
            "q8" => Ok(Self::Q8),
            "q4" => Ok(Self::Q4),
            _ => Err("must be f32, f16, bf16, int8, q8, q4 or auto".to_owned()),
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
            Self::Int8 => "int8",
            Self::Q8 => "q8",
            Self::Q4 => "q4",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_computes_in_f32() {
        assert_eq!(Precision::Auto.on(&Device::cpu(), LARGE_NETWORK).unwrap(), WeightType::F32);
        let error = Precision::F16.on(&Device::cpu(), LARGE_NETWORK).unwrap_err().to_string();
        assert_eq!(error, "`cpu` does not compute with f16: use --precision f32 or a GPU that has f16");
    }

    #[test]
    fn only_the_default_keeps_what_is_stored() {
        let q4 = Some(BlockFormat::Q4);
        assert_eq!(Precision::Auto.of_stored(&Device::cpu(), q4), Precision::Q4);
        assert_eq!(Precision::Auto.of_stored(&Device::cpu(), None), Precision::Auto);
        assert_eq!(Precision::F32.of_stored(&Device::cpu(), q4), Precision::F32);
    }

    #[test]
    fn names_come_back() {
        use Precision::{Auto, Bf16, F16, F32, Int8, Q4, Q8};
        for precision in [Auto, F32, F16, Bf16, Int8, Q8, Q4] {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("f64".parse::<Precision>().is_err());
    }
}
