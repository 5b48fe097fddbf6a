//! Where tensors live and ops run.

use crate::gpu::driver::{Adapter, Driver, adapters};
use crate::gpu::{Capabilities, Gpu};

/// A cheap handle to a place where tensors live and ops run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// Rust kernels (SIMD and threads) on host memory.
    Cpu,
    /// WGSL kernels on a GPU.
    Gpu(Gpu),
}

/// A device that cannot be had, or failed while working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device answers to the selector.
    #[error("no device `{selector}`; this machine has: {available}")]
    Unknown {
        /// What was asked for.
        selector: String,
        /// The names that would be answered.
        available: String,
    },
    /// The driver does not give the device.
    #[error("`{device}` cannot be used: {why}; use another --device")]
    Refused {
        /// The adapter's name.
        device: String,
        /// What the driver said.
        why: String,
    },
    /// The memory of the device or the budget is used up.
    #[error(
        "{op}: no {bytes} bytes left on `{device}` ({in_use} in use{}): use a smaller --size, fewer photos, a larger --memory or --device cpu",
        limit.map(|l| format!(", limit {l}")).unwrap_or_default()
    )]
    OutOfMemory {
        /// The op that asked.
        op: &'static str,
        /// What it asked for.
        bytes: u64,
        /// What all tensors use.
        in_use: u64,
        /// The budget or the largest buffer, if that is what was in the way.
        limit: Option<u64>,
        /// The device.
        device: String,
    },
    /// The device stopped working; its tensors are gone.
    #[error("`{device}` stopped working: {why}; try again, with a smaller --size or with --device cpu")]
    Lost {
        /// The device.
        device: String,
        /// What the driver said.
        why: String,
    },
    /// The driver does not compile a kernel.
    #[error("`{device}`: {why}; run `steropes doctor`, or use --device cpu")]
    Kernel {
        /// The device.
        device: String,
        /// The kernel and what the compiler said.
        why: String,
    },
    /// The device cannot do what was asked for.
    #[error("`{device}` has no {what}")]
    Unsupported {
        /// The device.
        device: String,
        /// What it lacks.
        what: &'static str,
    },
    /// The elements were read as another type than they are stored in.
    #[error("the tensor holds {stored}, it cannot be read as {asked}")]
    WrongType {
        /// The dtype of the tensor.
        stored: crate::DType,
        /// The dtype asked for.
        asked: crate::DType,
    },
}

impl Device {
    /// The CPU of this machine.
    pub fn cpu() -> Self {
        Self::Cpu
    }

    /// A hardware GPU if this machine has one that opens, else the CPU. Never a GPU that is a program.
    pub fn best() -> Self {
        let hardware = adapters().into_iter().filter(|a| !a.capabilities.software);
        for adapter in hardware {
            match Driver::open(&adapter) {
                Ok(driver) => return Self::Gpu(Gpu::new(Box::new(driver))),
                Err(error) => log::warn!("{error}"),
            }
        }
        Self::Cpu
    }

    /// The GPUs of this machine, the best first.
    pub fn gpus() -> Vec<Capabilities> {
        adapters().into_iter().map(|a| a.capabilities).collect()
    }

    /// The device that `selector` names, as given to `--device` or `STEROPES_DEVICE`.
    ///
    /// | selector | device |
    /// |---|---|
    /// | `auto` | [`Device::best`] |
    /// | `cpu` | the CPU |
    /// | `gpu` | the best hardware GPU |
    /// | `gpu:1` | the GPU with that number in [`Device::gpus`] |
    /// | other | the first GPU whose name contains it, in any case |
    ///
    /// # Errors
    /// [`DeviceError::Unknown`] if nothing answers to that name, [`DeviceError::Refused`] if the driver does not give it.
    pub fn select(selector: &str) -> Result<Self, DeviceError> {
        match selector {
            "cpu" => return Ok(Self::Cpu),
            "auto" => return Ok(Self::best()),
            _ => {}
        }
        let adapters = adapters();
        let position = position(selector, &adapters.iter().map(|a| &a.capabilities).collect::<Vec<_>>());
        let Some(position) = position else {
            return Err(unknown(selector, &adapters));
        };
        Ok(Self::Gpu(Gpu::new(Box::new(Driver::open(&adapters[position])?))))
    }

    /// The GPU, if it is one.
    pub fn gpu(&self) -> Option<&Gpu> {
        match self {
            Self::Cpu => None,
            Self::Gpu(gpu) => Some(gpu),
        }
    }

    /// A name for reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu(gpu) => &gpu.capabilities().name,
        }
    }
}

/// The index of the GPU that a selector names.
fn position(selector: &str, gpus: &[&Capabilities]) -> Option<usize> {
    if selector == "gpu" {
        return gpus.iter().position(|g| !g.software);
    }
    if let Some(number) = selector.strip_prefix("gpu:") {
        return number.parse().ok().filter(|&n| n < gpus.len());
    }
    let part = selector.to_lowercase();
    gpus.iter().position(|g| !part.is_empty() && g.name.to_lowercase().contains(&part))
}

fn unknown(selector: &str, adapters: &[Adapter]) -> DeviceError {
    let gpu = |(i, a): (usize, &Adapter)| {
        let note = if a.capabilities.software { ", in software" } else { "" };
        format!(", gpu:{i} ({}{note})", a.capabilities.name)
    };
    let gpus: String = adapters.iter().enumerate().map(gpu).collect();
    DeviceError::Unknown { selector: selector.to_owned(), available: format!("cpu{gpus}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GpuApi;

    fn gpu(name: &str, software: bool) -> Capabilities {
        Capabilities {
            name: name.to_owned(),
            api: GpuApi::Vulkan,
            driver: String::new(),
            software,
            f16: false,
            subgroup: None,
            matrices: Vec::new(),
            timestamps: false,
            max_binding_bytes: 0,
            max_buffer_bytes: 0,
            workgroup_bytes: 0,
            workgroup_threads: 0,
        }
    }

    #[test]
    fn selectors_name_gpus_by_kind_number_and_name() {
        let (big, small, program) = (gpu("Big 9000", false), gpu("Small", false), gpu("llvmpipe", true));
        let all = [&big, &small, &program];
        let at = |selector| position(selector, &all);
        assert_eq!([at("gpu"), at("gpu:1"), at("small"), at("9000")], [Some(0), Some(1), Some(1), Some(0)]);
        assert_eq!([at("LLVM"), at("gpu:2")], [Some(2), Some(2)]);
        assert_eq!([at("gpu:3"), at("gpu:x"), at("other"), at("")], [None; 4]);
    }

    #[test]
    fn software_is_never_chosen_unless_named() {
        assert_eq!(position("gpu", &[&gpu("llvmpipe", true)]), None);
    }

    #[test]
    fn an_unknown_selector_is_refused_by_name() {
        let error = Device::select("no such device").unwrap_err().to_string();
        assert!(error.starts_with("no device `no such device`; this machine has: cpu"), "{error}");
    }
}
