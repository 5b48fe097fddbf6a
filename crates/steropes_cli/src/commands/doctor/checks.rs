//! Checks of the device as a whole.

use super::{Detail, Skip};
use crate::device::DeviceArgs;
use rayon::prelude::*;
use std::time::Instant;
use steropes_models::mast3r::{PairTolerance, StoredPair};
use steropes_models::{Model, Precision, ViewOutput};
use steropes_ops::OpError;
use steropes_ops::norm::layer_norm::layer_norm;
use steropes_tensor::{Device, DeviceError, Gpu, Tensor, TensorError};
use steropes_testkit::floats;

/// One check.
#[derive(Clone, Copy)]
pub(super) enum Check {
    /// The stored pair in a precision.
    Pair(Precision),
    /// The same bits twice.
    Repeat,
    /// A tensor larger than one binding.
    Memory,
    /// Seconds until the first answer.
    Start,
}

impl Check {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pair(Precision::F16) => "pair/f16",
            Self::Pair(Precision::Bf16) => "pair/bf16",
            Self::Pair(Precision::Int8) => "pair/int8",
            Self::Pair(Precision::Q8) => "pair/q8",
            Self::Pair(Precision::Q4) => "pair/q4",
            Self::Pair(_) => "pair/f32",
            Self::Repeat => "repeat",
            Self::Memory => "memory",
            Self::Start => "start",
        }
    }

    /// # Errors
    /// What is wrong, in one line.
    pub(super) fn run(self, pair: &mut Pair<'_>) -> Result<Detail, String> {
        match self {
            Self::Pair(precision) => pair.check(precision),
            Self::Repeat => pair.repeat(),
            Self::Memory => match pair.device.gpu() {
                Some(gpu) => memory(gpu, pair.device),
                None => Ok(Skip("only GPUs have bindings".to_owned()).into()),
            },
            Self::Start => pair.start(),
        }
    }
}

/// The built-in network and its stored pair on a device.
pub(super) struct Pair<'a> {
    device: &'a Device,
    place: &'a DeviceArgs,
    stored: StoredPair,
}

impl<'a> Pair<'a> {
    pub(super) fn new(device: &'a Device, place: &'a DeviceArgs) -> Self {
        Self { device, place, stored: StoredPair::embedded() }
    }

    fn model(&self, device: &Device, precision: Precision) -> Result<Model, String> {
        Model::embedded(device, precision).map_err(|e| e.to_string())
    }

    fn run(&self, model: &Model) -> Result<[ViewOutput; 2], String> {
        self.stored.run(model).map_err(|e| e.to_string())
    }

    fn check(&self, precision: Precision) -> Result<Detail, String> {
        let model = self.model(self.device, precision)?;
        let start = Instant::now();
        let outputs = self.run(&model)?;
        self.stored.check(&outputs, &PairTolerance::of(model.precision()))?;
        let seconds = start.elapsed().as_secs_f64();
        Ok(format!("the network's outputs are the stored ones ({seconds:.2} s)").into())
    }

    /// The default precision twice.
    fn repeat(&self) -> Result<Detail, String> {
        let model = self.model(self.device, Precision::Auto)?;
        let mut seen: Option<Vec<Vec<u32>>> = None;
        for _ in 0..2 {
            let bits = bits(&self.run(&model)?)?;
            match &seen {
                Some(first) if *first != bits => return Err("two runs give different bits".to_owned()),
                _ => seen = Some(bits),
            }
        }
        Ok("two runs give the same bits".to_owned().into())
    }

    /// How long a user waits: a device opened anew takes its compiled kernels from the disk where the driver allows it.
    fn start(&self) -> Result<Detail, String> {
        let start = Instant::now();
        let device = self.place.open().map_err(|e| e.to_string())?;
        let adapter = start.elapsed().as_secs_f64();
        let model = self.model(&device, Precision::Auto)?;
        let mut seconds = [0.0; 2];
        for lap in &mut seconds {
            let start = Instant::now();
            bits(&self.run(&model)?)?;
            *lap = start.elapsed().as_secs_f64();
        }
        let [first, again] = seconds;
        let compiling = (first - again).max(0.0);
        Ok(format!("adapter {adapter:.2} s, kernels {compiling:.2} s, then a pair every {again:.3} s").into())
    }
}

fn bits(outputs: &[ViewOutput; 2]) -> Result<Vec<Vec<u32>>, String> {
    let tensors = outputs.iter().flat_map(|o| {
        let optional = [o.descriptors.as_ref(), o.descriptor_confidence.as_ref()];
        [Some(&o.points), Some(&o.confidence)].into_iter().chain(optional).flatten()
    });
    tensors.map(|t| Ok(floats(t)?.iter().map(|v| v.to_bits()).collect())).collect()
}

/// Width of the rows of the large tensor.
const WIDTH: usize = 1024;
/// No tensor of the check has more bytes than this: input and result must fit the memory of a small computer.
const LARGEST: u64 = 1 << 30;

/// LayerNorm of a tensor larger than one binding, or as large as the device and this check allow. Each row is the one before
/// moved by an element, so that a row at a wrong place shows.
fn memory(gpu: &Gpu, device: &Device) -> Result<Detail, String> {
    let caps = gpu.capabilities();
    let mut bytes = (caps.max_binding_bytes + (64 << 20)).min(LARGEST).min(caps.max_buffer_bytes);
    loop {
        let rows = (bytes / (4 * WIDTH as u64)) as usize;
        match large_layer_norm(device, rows) {
            Ok(values) => {
                check_rows(&values)?;
                return Ok(format!("a tensor of {} MiB is right from end to end", bytes >> 20).into());
            }
            Err(OpError::Failed(DeviceError::OutOfMemory { .. })) if bytes > 64 << 20 => bytes /= 2,
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn value(row: usize, column: usize) -> f32 {
    ((row + column) % WIDTH) as f32 - (WIDTH - 1) as f32 / 2.0
}

fn large_layer_norm(device: &Device, rows: usize) -> Result<Vec<f32>, OpError> {
    let tensor = |shape: &[usize], values: Vec<f32>| match Tensor::new(device, shape, values) {
        Ok(tensor) => Ok(tensor),
        Err(TensorError::Device(error)) => Err(OpError::from(error)),
        Err(error) => panic!("{error}"),
    };
    let mut values = vec![0.0; rows * WIDTH];
    values.par_chunks_mut(WIDTH).enumerate().for_each(|(row, values)| {
        values.iter_mut().enumerate().for_each(|(column, v)| *v = value(row, column));
    });
    let x = tensor(&[rows, WIDTH], values)?;
    let (ones, zeros) = (tensor(&[WIDTH], vec![1.0; WIDTH])?, tensor(&[WIDTH], vec![0.0; WIDTH])?);
    Ok(layer_norm(&x, &ones, &zeros, 0.0)?.into_vec()?)
}

/// Mean 0, variance `(WIDTH² - 1) / 12`.
fn check_rows(values: &[f32]) -> Result<(), String> {
    let deviation = (((WIDTH * WIDTH - 1) as f64) / 12.0).sqrt();
    let wrong = values.par_chunks(WIDTH).enumerate().find_map_first(|(row, values)| {
        let is_wrong = |(column, &got): (usize, &f32)| {
            let want = f64::from(value(row, column)) / deviation;
            // Written so that NaN is wrong.
            let is_right = (f64::from(got) - want).abs() <= 1e-5;
            (!is_right).then(|| format!("row {row}, column {column}: got {got}, want {want:.6}"))
        };
        values.iter().enumerate().find_map(is_wrong)
    });
    wrong.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_row_is_seen() {
        let mut values = large_layer_norm(&Device::cpu(), 40).unwrap();
        check_rows(&values).unwrap();
        values.copy_within(..WIDTH, 17 * WIDTH);
        assert!(check_rows(&values).unwrap_err().starts_with("row 17, column 0"));
        values[0] = f32::NAN;
        assert!(check_rows(&values).unwrap_err().starts_with("row 0, column 0"));
    }
}
