//! Video as frames with time stamps, whatever it comes from.
//!
//! [`open`] takes what a user types: a file, a folder of pictures, `camera:0` or `-`. Files and cameras are decoded by the system's `ffmpeg`, which is
//! looked for when it is needed: it is the one way to H.264 and H.265 on every system that needs no C library when the program is built. Folders and raw
//! frames need nothing.
//!
//! What comes out is a [`FrameSource`]. Around it go a mailbox for live sources ([`Latest`]), the speed of the recording ([`RealTime`]) and a fixed
//! rate ([`Resampled`]).

mod camera;
mod error;
mod ffmpeg;
mod file;
mod frame;
mod latest;
mod open;
mod pictures;
mod raw;
mod real_time;
mod resampled;
mod sampling;
mod y4m_frames;

pub use camera::{Camera, CameraFormat, ListedCamera, cameras};
pub use error::VideoError;
pub use ffmpeg::{Ffmpeg, VideoInfo, stop_all};
pub use file::VideoFile;
pub use frame::{Frame, FrameSource, Stopper};
pub use latest::{Arrived, Delivery, Latest};
pub use open::{Opened, SourceOptions, open};
pub use pictures::{PictureTimes, Pictures, ReadPicture};
pub use raw::RawFrames;
pub use real_time::RealTime;
pub use resampled::{Pick, Resampled};
pub use sampling::{ClipSampling, SamplingError, clip_indices};
pub use y4m_frames::Y4mFrames;
