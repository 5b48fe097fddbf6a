//! From a video stream to states of an obstacle watch.
//!
//! This is no safety-rated device: whoever relies on it needs an independent stop.

mod calibration;
mod corridor;
mod error;
mod eye;
mod look;
mod motion;
mod network;
mod ruler;

pub use calibration::{Calibration, CameraCalibration, Noise, Robot};
pub use corridor::{Kind, Lane, Nearest, RANGE, Surfaces};
pub use error::WatchError;
pub use eye::Eye;
pub use look::{Look, Match};
pub use motion::{Motion, expansion};
pub use network::{IMAGE_SIZE, Key, Network};
pub use ruler::Ruler;
