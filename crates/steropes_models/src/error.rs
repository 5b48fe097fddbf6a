//! What can be wrong with a model or its inputs.

use crate::Precision;
use steropes_nn::{LoadError, OneLine};
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
    #[error("`{file}`: {problem}", problem = OneLine(.problem))]
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
    /// Weights in blocks or int8 are multiplied by the CPU only.
    #[error("{precision} weights run on the CPU only; use --precision {instead} on this device")]
    OnlyCpu {
        /// The precision asked for.
        precision: Precision,
        /// What the device computes with.
        instead: Precision,
    },
    /// The system has no folder for what is kept between runs.
    #[error("this system has no cache folder: set STEROPES_CACHE to a folder")]
    NoCacheFolder,
    /// The weights of that name were not fetched.
    #[error("model `{given}` is not here: get it with `steropes models fetch {given}`")]
    NotFetched {
        /// What was asked for.
        given: String,
    },
    /// Neither a known name nor a path.
    #[error(
        "no model `{given}`: give a name that `steropes models list` shows, a .pth or .safetensors file, or a folder"
    )]
    NoSuchModel {
        /// What was asked for.
        given: String,
    },
    /// A setting of an engine cannot be used.
    #[error("{}{}{problem}", from_file(file.as_deref(), *line), of_key(key))]
    Setting {
        /// The file, if the setting comes from one.
        file: Option<String>,
        /// The line in the file, from 1, if it is known.
        line: Option<usize>,
        /// The setting with those that it is in, as `matching.top_k`; empty if the text is no settings at all.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// The file of an engine's settings cannot be read.
    #[error("cannot read `{file}`: {source}")]
    SettingsFile {
        /// The file.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// An engine was used before [`crate::engine::Engine::load`] or after [`crate::engine::Engine::release`].
    #[error("the engine holds no network: call `load` first")]
    NotLoaded,
    /// Matches were asked for from a network without descriptors.
    #[error("`{model}` gives no descriptors, so its pixels cannot be matched")]
    NoDescriptors {
        /// The network.
        model: String,
    },
    /// Features at other places were asked for from a network without a mask predictor.
    #[error("`{model}` has no mask predictor (only V-JEPA 2.0 files that hold one have)")]
    NoPredictor {
        /// The network.
        model: String,
    },
    /// The system does not give the threads asked for.
    #[error("the threads cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The device failed or has no memory for an input.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// An input does not fit the network.
    #[error(transparent)]
    Input(#[from] OpError),
}

fn from_file(file: Option<&str>, line: Option<usize>) -> String {
    let line = line.map(|line| format!(" line {line}")).unwrap_or_default();
    file.map(|file| format!("`{file}`{line}: ")).unwrap_or_default()
}

fn of_key(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("`{key}`: ") }
}
