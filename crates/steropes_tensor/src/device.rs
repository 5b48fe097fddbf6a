//! Where tensors live and ops run.

/// A cheap handle to a place where tensors live and ops run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    kind: DeviceKind,
}

/// The kinds of device that a kernel is dispatched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceKind {
    /// Rust kernels (SIMD and threads) on host memory.
    Cpu,
}

/// A device that cannot be had, or failed while working.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// No device answers to the selector.
    #[error("no device `{selector}`; this build has: cpu")]
    Unknown {
        /// What was asked for.
        selector: String,
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
        Self { kind: DeviceKind::Cpu }
    }

    /// The device that `selector` names, as given to `--device` or `STEROPES_DEVICE`.
    ///
    /// # Errors
    /// [`DeviceError::Unknown`] if nothing answers to that name.
    pub fn select(selector: &str) -> Result<Self, DeviceError> {
        match selector {
            "cpu" => Ok(Self::cpu()),
            _ => Err(DeviceError::Unknown { selector: selector.to_owned() }),
        }
    }

    /// The kind, for dispatch.
    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// A name for reports.
    pub fn name(&self) -> &str {
        match self.kind {
            DeviceKind::Cpu => "cpu",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_selector_is_refused_by_name() {
        let error = Device::select("gpu").unwrap_err();
        assert_eq!(error.to_string(), "no device `gpu`; this build has: cpu");
    }
}
