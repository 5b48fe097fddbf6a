//! A frame and where frames come from.

use crate::VideoError;
use image::RgbImage;
use std::fmt;
use std::sync::Arc;
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

    /// What ends a [`next_frame`](Self::next_frame) that waits in another thread; `None` if nothing can.
    fn stopper(&self) -> Option<Stopper> {
        None
    }
}

impl FrameSource for Box<dyn FrameSource> {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        self.as_mut().next_frame()
    }

    fn is_live(&self) -> bool {
        self.as_ref().is_live()
    }

    fn stopper(&self) -> Option<Stopper> {
        self.as_ref().stopper()
    }
}

/// Ends a source from another thread: it gives no more frames.
#[derive(Clone)]
pub struct Stopper(Arc<dyn Fn() + Send + Sync>);

impl Stopper {
    /// A stopper that calls `stop`, which may be called more than once.
    pub fn new(stop: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(stop))
    }

    /// Ends the source.
    pub fn stop(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stopper")
    }
}
