//! Why a network was not trained.

use crate::TapeError;
use std::path::Path;
use steropes_models::ModelError;
use steropes_nn::LoadError;
use steropes_ops::OpError;
use steropes_tensor::{DeviceError, TensorError};

/// Why a network was not trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A step of the network or its gradient did not run.
    #[error(transparent)]
    Tape(#[from] TapeError),
    /// An op of the optimiser did not run.
    #[error(transparent)]
    Op(#[from] OpError),
    /// A device had no memory, or failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The weights were not read.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The configuration was not read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The network is not one that is trained here.
    #[error("{model}: {problem}")]
    Refused {
        /// Its name.
        model: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A file was not read or written.
    #[error("{file}: {problem}")]
    File {
        /// Its path.
        file: String,
        /// What the system says.
        problem: std::io::Error,
    },
    /// A file does not hold the state of this training.
    #[error("{file}: {problem}")]
    State {
        /// Its path.
        file: String,
        /// What is wrong.
        problem: String,
    },
    /// A setting is out of its range.
    #[error("`{name}` must be {expected}, got {found}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The loss or its gradient is no number any more.
    #[error("the loss of step {0} is not finite; use a smaller learning rate")]
    Diverged(u64),
}

impl TrainError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let file = path.display().to_string();
        move |problem| Self::File { file, problem }
    }
}
