//! The device that a command runs on.

use steropes_models::engine::parse_bytes;
use steropes_tensor::Device;

/// Where a command runs.
#[derive(clap::Args)]
pub(crate) struct DeviceArgs {
    /// Where to run: auto (a hardware GPU if there is one, else the CPU; the default), cpu, gpu, gpu:1 or part of a GPU's name
    #[arg(long, env = "STEROPES_DEVICE")]
    pub(crate) device: Option<String>,
    /// Most memory to use on a GPU, as 4G or 500M
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) memory: Option<u64>,
}

impl DeviceArgs {
    /// The device, with its budget.
    ///
    /// # Errors
    /// No such device, or its driver does not give it.
    pub(crate) fn open(&self) -> anyhow::Result<Device> {
        let device = Device::select(self.device.as_deref().unwrap_or("auto"))?;
        match device.gpu() {
            Some(gpu) => gpu.set_memory_budget(self.memory),
            None if self.memory.is_some() => log::warn!("--memory is for GPUs; this runs on the CPU"),
            None => {}
        }
        Ok(device)
    }
}
