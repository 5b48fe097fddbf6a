//! What can be wrong with a model or its inputs.

use crate::Precision;
use steropes_nn::LoadError;
use steropes_ops::OpError;
use steropes_tensor::DeviceError;

/// A model that cannot be loaded, or an input that it cannot take.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The weight file cannot be used.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration cannot be used.
    #[error("`{file}`: {problem}")]
    Config {
        /// The file that holds the configuration.
        file: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The device does not compute with the precision asked for.
    #[error("`{device}` does not compute with {precision}: use --precision f32 or {where_else}", where_else = precision.place())]
    Precision {
        /// The device.
        device: String,
        /// The precision.
        precision: Precision,
    },
    /// Weights in blocks are multiplied by the CPU only.
    #[error("{precision} weights run on the CPU only; use --precision {instead} on this device")]
    OnlyCpu {
        /// The precision asked for.
        precision: Precision,
        /// What the device computes with.
        instead: Precision,
    },
    /// The device failed or has no memory for an input.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An input does not fit the network.
    #[error(transparent)]
    Input(#[from] OpError),
}
