//! A frame and where frames come from.

use crate::VideoError;
use image::RgbImage;
use std::time::Duration;

/// A picture of a video and when it was taken.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Number in the stream from 0; frames that the source dropped are counted, so that gaps show.
    pub index: u64,
    /// When the picture was taken, since the start of the stream.
    pub time: Duration,
    /// The picture as it is to be seen: turned upright, 8 bits a channel, sRGB.
    pub image: RgbImage,
}

/// Gives the frames of a video in the order of time.
pub trait FrameSource: Send {
    /// The next frame, or `None` at the end of the video. A live source waits for it.
    ///
    /// # Errors
    /// [`VideoError`] if the source broke; it gives nothing more then.
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError>;

    /// Whether frames come as they are taken, so that a slow reader loses some: a camera or a pipe.
    fn is_live(&self) -> bool;
}
