//! Why a watch cannot start or go on.

use std::path::PathBuf;

/// A watch that cannot start or go on; one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// A file or folder that cannot be read or written.
    #[error("`{}`: {source}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A calibration or a recording whose text is not as it must be.
    #[error("`{file}`: {problem}")]
    Text {
        /// Name of the file.
        file: String,
        /// What is wrong, with the line where it is known.
        problem: String,
    },
    /// A value of a calibration that cannot be.
    #[error("calibration: `{key}` must be {expected}, got {found}")]
    Calibration {
        /// Name of the value.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: f64,
    },
    /// Frames of another size than the calibration was made for.
    #[error("the calibration is for {} x {} pixels, the frames have {} x {}: calibrate for this size", expected[0], expected[1], found[0], found[1])]
    FrameSize {
        /// Width and height in the calibration.
        expected: [u32; 2],
        /// Width and height of the frame.
        found: [u32; 2],
    },
    /// Weights that were never trained.
    #[error("the weights of `{model}` look random ({why}): a watch needs a trained network")]
    RandomWeights {
        /// Name of the network.
        model: String,
        /// The signature that was seen.
        why: String,
    },
    /// Weights without the part that predicts.
    #[error(
        "`{model}` has no mask predictor: surprise needs that of a V-JEPA 2.0 checkpoint, as vjepa2-large has it"
    )]
    NoPredictor {
        /// Name of the network.
        model: String,
    },
    /// The network failed.
    #[error(transparent)]
    Model(#[from] steropes_models::ModelError),
    /// Frames could not be read.
    #[error(transparent)]
    Video(#[from] steropes_video::VideoError),
    /// A picture could not be written or read.
    #[error("`{}`: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: image::ImageError,
    },
}

impl WatchError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    pub(crate) fn picture(path: impl Into<PathBuf>) -> impl FnOnce(image::ImageError) -> Self {
        let path = path.into();
        move |source| Self::Picture { path, source }
    }
}
