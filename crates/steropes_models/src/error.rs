//! What can be wrong with a model or its inputs.

use steropes_nn::LoadError;
use steropes_ops::OpError;

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
    /// An input does not fit the network.
    #[error(transparent)]
    Input(#[from] OpError),
}
