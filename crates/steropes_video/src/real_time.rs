//! A recording at the speed at which it was taken.

use crate::{Frame, FrameSource, Stopper, VideoError};
use std::time::Instant;

/// Gives the frames of a recording when they are due, so that it behaves like a camera: with [`Latest`](crate::Latest) a slow reader loses some.
pub struct RealTime<S> {
    source: S,
    start: Option<Instant>,
}

impl<S: FrameSource> RealTime<S> {
    /// Plays `source` from now on.
    pub fn new(source: S) -> Self {
        Self { source, start: None }
    }
}

impl<S: FrameSource> FrameSource for RealTime<S> {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        let Some(frame) = self.source.next_frame()? else { return Ok(None) };
        let due = *self.start.get_or_insert_with(Instant::now) + frame.time;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        Ok(Some(frame))
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stopper(&self) -> Option<Stopper> {
        self.source.stopper()
    }
}
