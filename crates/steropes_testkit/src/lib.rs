//! What the tests, `doctor` and `bench` share: deterministic inputs, tolerances, [`Case`] and [`Bench`].

pub mod inputs;
mod tolerance;

pub use tolerance::{Tolerance, check_close, check_equal};

use steropes_tensor::Device;

/// The outcome of a case: `Err` says in one line what is wrong.
pub type Verdict = Result<(), String>;

/// One check of one op that can run on any device.
pub struct Case {
    /// `op/kind/what`, for example `rope2d/oracle/odd_sizes`.
    pub name: &'static str,
    /// Runs the check on a device.
    pub run: Box<dyn Fn(&Device) -> Verdict + Send + Sync>,
}

/// A [`Case`] from its name and its check.
pub fn case(name: &'static str, run: impl Fn(&Device) -> Verdict + Send + Sync + 'static) -> Case {
    Case { name, run: Box::new(run) }
}

/// A launch that can be repeated.
pub type Launch = Box<dyn FnMut()>;

/// One timed launch of one op on the shape of a real model.
pub struct Bench {
    /// `op/what`, for example `linear/mast3r_fc1`.
    pub name: &'static str,
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
    Bench { name, flops, bytes, prepare: Box::new(prepare) }
}

/// Passes if `result` is an error whose text contains `part`; for the error cases of an op.
pub fn expect_error<T, E: std::fmt::Display>(result: Result<T, E>, part: &str) -> Verdict {
    match result {
        Ok(_) => Err(format!("accepted, expected an error about `{part}`")),
        Err(error) if error.to_string().contains(part) => Ok(()),
        Err(error) => Err(format!("expected an error about `{part}`, got `{error}`")),
    }
}
