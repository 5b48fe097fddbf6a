//! What the tests, `doctor` and `bench` share: deterministic inputs, tolerances, [`Case`] and [`Bench`].

pub mod inputs;
mod narrow;
mod tolerance;
pub mod torch_file;

pub use narrow::{narrow_groups, narrow_text, set_narrow};
pub use tolerance::{Tolerance, check_close, check_equal};

use half::{bf16, f16};
use steropes_tensor::{DType, Device, Tensor};

/// The outcome of a case: `Err` says in one line what is wrong.
pub type Verdict = Result<(), String>;

/// One check of one op that can run on any device.
pub struct Case {
    /// `op/kind/what`, for example `rope2d/oracle/odd_sizes`.
    pub name: &'static str,
    /// What the device must have.
    pub needs: Needs,
    /// Runs the check on a device.
    pub run: Box<dyn Fn(&Device) -> Verdict + Send + Sync>,
}

/// A [`Case`] from its name and its check.
pub fn case(name: &'static str, run: impl Fn(&Device) -> Verdict + Send + Sync + 'static) -> Case {
    Case { name, needs: Needs::Nothing, run: Box::new(run) }
}

/// A [`Case`] for devices that compute with f16 storage.
pub fn f16_case(name: &'static str, run: impl Fn(&Device) -> Verdict + Send + Sync + 'static) -> Case {
    Case { needs: Needs::F16, ..case(name, run) }
}

/// A [`Case`] for the CPU only, for example about a format that only it has.
pub fn cpu_case(name: &'static str, run: impl Fn(&Device) -> Verdict + Send + Sync + 'static) -> Case {
    Case { needs: Needs::Cpu, ..case(name, run) }
}

/// A [`Case`] of assertions in a function about what only the inside of a crate can see, on the CPU. As a case and not as a test of the
/// library it doesn't have the library compiled a second time.
pub fn unit_case(name: &'static str, check: fn()) -> Case {
    cpu_case(name, move |_| {
        std::panic::catch_unwind(check).map_err(|panic| match panic.downcast::<String>() {
            Ok(message) => *message,
            Err(panic) => {
                panic.downcast::<&str>().map_or_else(|_| "panicked".to_owned(), |m| (*m).to_owned())
            }
        })
    })
}

/// A [`Case`] for GPUs only, for example about memory that only they have.
pub fn gpu_case(name: &'static str, run: impl Fn(&Device) -> Verdict + Send + Sync + 'static) -> Case {
    Case { needs: Needs::Gpu, ..case(name, run) }
}

/// A [`Case`] for a GPU whose kernels see at most `bytes` bytes of each array at once, so that small tensors are split as long ones are.
pub fn small_bindings_case(
    name: &'static str,
    bytes: u64,
    run: impl Fn(&Device) -> Verdict + Send + Sync + 'static,
) -> Case {
    gpu_case(name, move |device| {
        let gpu = device.gpu().expect("a case for GPUs");
        run(&Device::Gpu(gpu.with_bindings_of(bytes)))
    })
}

/// What a device must have for a case or a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: it runs everywhere.
    Nothing,
    /// To be the CPU: what runs has no kernels for others.
    Cpu,
    /// A GPU.
    Gpu,
    /// f16 storage.
    F16,
}

impl Needs {
    /// Whether `device` has it.
    pub fn met_by(self, device: &Device) -> bool {
        match self {
            Self::Nothing => true,
            Self::Cpu => device.gpu().is_none(),
            Self::Gpu => device.gpu().is_some(),
            Self::F16 => device.gpu().is_some_and(|gpu| gpu.capabilities().f16),
        }
    }
}

/// An f16 tensor of `values`, and the values as it holds them.
///
/// # Panics
/// If the shape does not fit the values.
pub fn f16_tensor(device: &Device, shape: &[usize], values: &[f32]) -> (Tensor, Vec<f32>) {
    let halves: Vec<f16> = values.iter().map(|&v| f16::from_f32(v)).collect();
    let rounded = halves.iter().map(|h| h.to_f32()).collect();
    (Tensor::new(device, shape, halves).expect("a test's shape fits its values"), rounded)
}

/// A bf16 tensor of `values`, and the values as it holds them.
///
/// # Panics
/// If the shape does not fit the values.
pub fn bf16_tensor(device: &Device, shape: &[usize], values: &[f32]) -> (Tensor, Vec<f32>) {
    let halves: Vec<bf16> = values.iter().map(|&v| bf16::from_f32(v)).collect();
    let rounded = halves.iter().map(|h| h.to_f32()).collect();
    (Tensor::new(device, shape, halves).expect("a test's shape fits its values"), rounded)
}

/// The values of an f32 or f16 tensor as f32.
///
/// # Errors
/// What the device said, in one line.
pub fn floats(tensor: &Tensor) -> Result<Vec<f32>, String> {
    match tensor.dtype() {
        DType::F16 => tensor.read::<f16>().map(|v| v.into_iter().map(f16::to_f32).collect()),
        _ => tensor.read::<f32>(),
    }
    .map_err(|e| e.to_string())
}

/// A launch that can be repeated.
pub type Launch = Box<dyn FnMut()>;

/// One timed launch of one op on the shape of a real model.
pub struct Bench {
    /// `op/what`, for example `linear/mast3r_fc1`.
    pub name: &'static str,
    /// What the device must have.
    pub needs: Needs,
    /// Floating-point operations of one launch, counted by hand (one multiply-add is two).
    pub flops: f64,
    /// Bytes that one launch must read and write at least.
    pub bytes: f64,
    /// Uploads the inputs and returns the closure that only launches.
    pub prepare: Box<dyn Fn(&Device) -> Launch>,
}

/// A [`Bench`] from its name, its work and its preparation.
pub fn bench(
    name: &'static str,
    flops: f64,
    bytes: f64,
    prepare: impl Fn(&Device) -> Launch + 'static,
) -> Bench {
    Bench { name, needs: Needs::Nothing, flops, bytes, prepare: Box::new(prepare) }
}

/// A [`Bench`] for devices that compute with f16 storage.
pub fn f16_bench(
    name: &'static str,
    flops: f64,
    bytes: f64,
    prepare: impl Fn(&Device) -> Launch + 'static,
) -> Bench {
    Bench { needs: Needs::F16, ..bench(name, flops, bytes, prepare) }
}

/// A [`Bench`] for the CPU only.
pub fn cpu_bench(
    name: &'static str,
    flops: f64,
    bytes: f64,
    prepare: impl Fn(&Device) -> Launch + 'static,
) -> Bench {
    Bench { needs: Needs::Cpu, ..bench(name, flops, bytes, prepare) }
}

/// Passes if `result` is an error whose text contains `part`; for the error cases of an op.
pub fn expect_error<T, E: std::fmt::Display>(result: Result<T, E>, part: &str) -> Verdict {
    match result {
        Ok(_) => Err(format!("accepted, expected an error about `{part}`")),
        Err(error) if error.to_string().contains(part) => Ok(()),
        Err(error) => Err(format!("expected an error about `{part}`, got `{error}`")),
    }
}
