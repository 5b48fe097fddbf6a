//! Video as frames with time stamps, whatever it comes from.

mod error;
mod frame;

pub use error::VideoError;
pub use frame::{Frame, FrameSource};
