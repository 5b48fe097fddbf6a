//! The device that a command runs on.

use anyhow::Context as _;
use steropes_tensor::Device;

/// Where a command runs.
#[derive(clap::Args)]
pub(crate) struct DeviceArgs {
    /// Where to run: auto (a hardware GPU if there is one, else the CPU), cpu, gpu, gpu:1 or part of a GPU's name
    #[arg(long, env = "STEROPES_DEVICE", default_value = "auto")]
    pub(crate) device: String,
    /// Most memory to use on a GPU, as 4G or 500M
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) memory: Option<u64>,
}

impl DeviceArgs {
    /// The device, with its budget.
    ///
    /// # Errors
    /// No such device, or its driver does not give it.
    pub(crate) fn open(&self) -> anyhow::Result<Device> {
        let device = Device::select(&self.device)?;
        match device.gpu() {
            Some(gpu) => gpu.set_memory_budget(self.memory),
            None if self.memory.is_some() => log::warn!("--memory is for GPUs; this runs on the CPU"),
            None => {}
        }
        Ok(device)
    }
}

/// A number of bytes such as `4G`, `500M`, `1.5GiB` or `1000000`; the units are powers of 1024.
fn bytes(text: &str) -> anyhow::Result<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let unit = unit.trim().trim_end_matches('b').trim_end_matches('i');
    let power = ["", "k", "m", "g", "t"].iter().position(|u| *u == unit);
    let power = power.context("must be a number with k, M, G or T behind it, as 4G")?;
    let number: f64 = number.parse().context("must be a number with k, M, G or T behind it, as 4G")?;
    let bytes = number * 1024f64.powi(power as i32);
    anyhow::ensure!(bytes >= 1.0, "must be at least one byte");
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, want) in [
            ("4G", 4u64 << 30),
            ("4GiB", 4 << 30),
            ("500M", 500 << 20),
            ("1.5 gb", 3 << 29),
            ("64k", 64 << 10),
            ("1000", 1000),
        ] {
            assert_eq!(bytes(text).unwrap(), want, "{text}");
        }
        for text in ["", "G", "4X", "-1", "0", "1.2.3G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
