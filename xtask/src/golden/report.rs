//! One line per check.

use std::io::Write;
use steropes_tensor::Device;
use steropes_testkit::{Tolerance, check_close};

/// What came out of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Within its tolerance.
    Ok,
    /// Not within its tolerance, or an error.
    Fail,
    /// The program does not do this yet.
    NotBuilt,
    /// The program does this on the CPU only, and the run is on a GPU.
    CpuOnly,
}

/// Collects and prints the checks of a run on one device.
pub struct Report<'a> {
    only: String,
    device: Device,
    out: &'a mut dyn Write,
    counts: [usize; 4],
}

impl<'a> Report<'a> {
    /// A report that prints checks on `device` whose name contains `only` to `out`.
    pub fn new(only: &str, device: &Device, out: &'a mut dyn Write) -> Self {
        Self { only: only.to_owned(), device: device.clone(), out, counts: [0; 4] }
    }

    /// Where ops run.
    pub fn device(&self) -> Device {
        self.device.clone()
    }

    /// Whether checks of what runs on the CPU only belong to this run; if not, a line says that those of `name` are left out.
    pub fn is_on_cpu(&mut self, name: &str) -> bool {
        let on_cpu = self.device.gpu().is_none();
        if !on_cpu {
            self.line(name, Outcome::CpuOnly, "");
        }
        on_cpu
    }

    /// Whether any check whose name starts with `prefix` may be wanted; lets a long case be skipped.
    pub fn wants(&self, prefix: &str) -> bool {
        self.only.is_empty() || prefix.contains(&self.only) || self.only.starts_with(prefix)
    }

    /// A float tensor against its expected values, with the largest error relative to the largest value.
    pub fn close(&mut self, name: &str, got: &[f32], want: &[f64], tolerance: Tolerance) {
        let largest = want.iter().filter(|w| w.is_finite()).fold(0.0f64, |m, w| m.max(w.abs()));
        let error = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).abs()).fold(0.0, f64::max);
        let bound = tolerance.bound(largest, largest);
        match check_close(got, want, tolerance) {
            Ok(()) => self.line(name, Outcome::Ok, &format!("error {error:.2e} of {bound:.2e}")),
            Err(what) => self.line(name, Outcome::Fail, &what),
        }
    }

    /// A number that must not exceed its bound. NaN fails.
    pub fn at_most(&mut self, name: &str, error: f64, bound: f64) {
        let outcome = if error <= bound { Outcome::Ok } else { Outcome::Fail };
        self.line(name, outcome, &format!("error {error:.2e} of {bound:.2e}"));
    }

    /// A check with its own verdict; the text of `Ok` or `Err` stands in the line.
    pub fn verdict(&mut self, name: &str, verdict: Result<String, String>) {
        match verdict {
            Ok(text) => self.line(name, Outcome::Ok, &text),
            Err(text) => self.line(name, Outcome::Fail, &text),
        }
    }

    /// Something that the program does not do yet.
    pub fn not_built(&mut self, name: &str) {
        self.line(name, Outcome::NotBuilt, "");
    }

    fn line(&mut self, name: &str, outcome: Outcome, text: &str) {
        if !name.contains(&self.only) {
            return;
        }
        self.counts[outcome as usize] += 1;
        let word = ["ok", "FAIL", "not-built", "cpu-only"][outcome as usize];
        writeln!(self.out, "{name}\t{word}\t{text}").expect("the report can be written");
    }

    /// Prints the counts; true if at least one check ran and none failed.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn finish(self) -> std::io::Result<bool> {
        let [ok, failed, not_built, cpu_only] = self.counts;
        let left_out = if cpu_only > 0 { format!(", {cpu_only} cpu-only") } else { String::new() };
        writeln!(self.out, "{ok} ok, {failed} FAIL, {not_built} not-built{left_out}")?;
        Ok(failed == 0 && ok + not_built > 0)
    }
}
