//! What the device can do at most, measured before the rows.

use serde_json::{Value, json};
use std::io::Write;
use steropes_ops::cpu::{Peak, peak};
use steropes_ops::{GpuPeak, gpu_peak};
use steropes_tensor::{Capabilities, Device};
use steropes_testkit::Needs;

/// The limits of a device.
pub(super) enum Limits {
    Cpu(Peak),
    Gpu(Box<Capabilities>, GpuPeak),
}

impl Limits {
    /// # Errors
    /// The device failed.
    pub(super) fn measure(device: &Device) -> anyhow::Result<Self> {
        Ok(match device.gpu() {
            None => Self::Cpu(peak()),
            Some(gpu) => Self::Gpu(Box::new(gpu.capabilities().clone()), gpu_peak(gpu)?),
        })
    }

    /// Floating-point operations per second for a bench.
    pub(super) fn flops(&self, needs: Needs) -> f64 {
        1e9 * match self {
            Self::Cpu(peak) => peak.gflops_all_threads,
            Self::Gpu(_, peak) if needs == Needs::F16 => peak.f16_gflops.unwrap_or(peak.f32_gflops),
            Self::Gpu(_, peak) => peak.f32_gflops,
        }
    }

    /// Bytes read and written per second.
    pub(super) fn bytes_per_second(&self) -> f64 {
        1e9 * match self {
            Self::Cpu(peak) => peak.copy_gbytes_per_second,
            Self::Gpu(_, peak) => peak.copy_gbytes_per_second,
        }
    }

    /// The lines above the table.
    pub(super) fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        match self {
            Self::Cpu(peak) => writeln!(
                out,
                "# cpu, {} with {} threads: {:.0} GFLOP/s f32 (one thread {:.0}), copy {:.1} GB/s",
                peak.isa.name(),
                peak.threads,
                peak.gflops_all_threads,
                peak.gflops_one_thread,
                peak.copy_gbytes_per_second
            ),
            Self::Gpu(caps, peak) => {
                let clock = if caps.timestamps { "its own clock" } else { "the clock of the host" };
                writeln!(out, "# {}, {}, driver {}, timed by {clock}", caps.name, caps.api, caps.driver)?;
                let f16 = match peak.f16_gflops {
                    Some(gflops) => format!("{gflops:.0} GFLOP/s f16 ({})", peak.f16_method()),
                    None => "no f16".to_owned(),
                };
                let (f32_gflops, copy) = (peak.f32_gflops, peak.copy_gbytes_per_second);
                writeln!(
                    out,
                    "# {f32_gflops:.0} GFLOP/s f32, {f16}, copy {copy:.1} GB/s ({} MiB)",
                    peak.copied_bytes >> 20
                )
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        match self {
            Self::Cpu(peak) => json!({
                "device": "cpu",
                "instruction_set": peak.isa.name(),
                "threads": peak.threads,
                "gflops_one_thread": peak.gflops_one_thread,
                "gflops_all_threads": peak.gflops_all_threads,
                "copy_gbytes_per_second": peak.copy_gbytes_per_second,
            }),
            Self::Gpu(caps, peak) => json!({
                "device": caps.name,
                "api": caps.api.to_string(),
                "driver": caps.driver,
                "timestamps": caps.timestamps,
                "f32_gflops": peak.f32_gflops,
                "f16_gflops": peak.f16_gflops,
                "f16_method": peak.f16_gflops.map(|_| peak.f16_method()),
                "copy_gbytes_per_second": peak.copy_gbytes_per_second,
                "copied_bytes": peak.copied_bytes,
            }),
        }
    }
}
