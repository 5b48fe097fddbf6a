//! How one row is timed.

use crate::guard::guarded;
use std::time::{Duration, Instant};
use steropes_ops::gpu_seconds;
use steropes_tensor::{Device, DeviceError, Gpu};
use steropes_testkit::{Bench, Launch};

/// The times of one launch.
pub(super) struct Measured {
    /// Median in seconds.
    pub(super) median: f64,
    /// Distance between the quartiles divided by the median.
    pub(super) spread: f64,
}

/// On the CPU each bench runs at least this often and this long.
const MIN_RUNS: usize = 10;
const MIN_TIME: Duration = Duration::from_millis(400);

/// On a GPU a sample lasts about this long, if one submit holds as many launches.
const SAMPLE_SECONDS: f64 = 0.02;
/// Launches of kernels that surely go to the device in one submit, so that it never waits for the host within a sample.
const SAMPLE_LAUNCHES: f64 = 90.0;
/// An idle GPU takes its time to reach its clock.
const WARM_UP: Duration = Duration::from_millis(200);
/// Samples on a GPU, and for how long they are taken.
const MIN_SAMPLES: usize = 7;
/// Enough samples of what takes longer than a second.
const MIN_SLOW_SAMPLES: usize = 3;
const MAX_SAMPLES: usize = 50;
const SAMPLES_TIME: Duration = Duration::from_millis(300);

/// Times a bench. Whatever keeps it from running is said in one line.
pub(super) fn measure(bench: &Bench, device: &Device) -> Result<Measured, String> {
    let seconds = guarded(|| {
        let launch = (bench.prepare)(device);
        match device.gpu() {
            None => Ok(on_cpu(launch)),
            Some(gpu) => on_gpu(gpu, launch),
        }
    })?
    .map_err(|error| error.to_string())?;
    Ok(summary(seconds))
}

fn on_cpu(mut launch: Launch) -> Vec<f64> {
    launch(); // the first run pays for pages and caches
    let mut seconds = Vec::new();
    let start = Instant::now();
    while seconds.len() < MIN_RUNS || start.elapsed() < MIN_TIME {
        let begin = Instant::now();
        launch();
        seconds.push(begin.elapsed().as_secs_f64());
    }
    seconds
}

fn on_gpu(gpu: &Gpu, mut launch: Launch) -> Result<Vec<f64>, DeviceError> {
    launch(); // the first run compiles
    gpu.sync()?;
    let before = gpu.launches();
    launch();
    gpu.sync()?;
    let kernels = gpu.launches().saturating_sub(before).max(1) as f64;
    let mut sample = |runs: usize| -> Result<f64, DeviceError> {
        let seconds = gpu_seconds::<DeviceError>(gpu, || {
            (0..runs).for_each(|_| launch());
            Ok(())
        })?;
        Ok(seconds / runs as f64)
    };
    let one = sample(1)?.max(1e-9);
    let runs = (SAMPLE_SECONDS / one).ceil().min((SAMPLE_LAUNCHES / kernels).floor()).max(1.0) as usize;
    let enough = if one > 1.0 { MIN_SLOW_SAMPLES } else { MIN_SAMPLES };
    let start = Instant::now();
    while start.elapsed() < WARM_UP {
        sample(runs)?;
    }
    let mut seconds = Vec::new();
    let start = Instant::now();
    while seconds.len() < enough || (start.elapsed() < SAMPLES_TIME && seconds.len() < MAX_SAMPLES) {
        seconds.push(sample(runs)?);
    }
    Ok(seconds)
}

fn summary(mut seconds: Vec<f64>) -> Measured {
    seconds.sort_by(f64::total_cmp);
    let quartile = |q: usize| seconds[q * (seconds.len() - 1) / 4];
    let median = quartile(2);
    Measured { median, spread: (quartile(3) - quartile(1)) / median }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        let measured = summary(vec![5.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!((measured.median, measured.spread), (3.0, 2.0 / 3.0));
    }
}
