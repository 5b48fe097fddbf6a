//! Video files.

use crate::ffmpeg::{FramePipe, PipeEnd, input_name};
use crate::{Ffmpeg, Frame, FrameSource, Stopper, VideoError, VideoInfo};
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// The frames of a video file (mp4, mkv, webm, mov, avi and whatever else ffmpeg reads), each once, with the time that the file gives it.
///
/// Times count from the first frame and never go back. Pictures are turned upright by the file's rotation. If the video changes its size, later frames
/// are scaled to that of the first.
pub struct VideoFile {
    name: String,
    pipe: Option<FramePipe>,
    info: VideoInfo,
    stopper: Stopper,
}

/// What is missing at the end of a video whose file is damaged, at least, or two frames of a slow one.
const MISSING: Duration = Duration::from_millis(500);

impl VideoFile {
    /// Starts to decode the file at `path`.
    ///
    /// # Errors
    /// [`VideoError::Read`], [`VideoError::NoFfmpeg`], [`VideoError::Program`], [`VideoError::Unreadable`] or [`VideoError::NoVideo`].
    pub fn open(path: &Path, ffmpeg: &Ffmpeg) -> Result<Self, VideoError> {
        let info = ffmpeg.probe(path)?;
        let name = path.display().to_string();
        let pipe = ffmpeg.frames(&name, &[OsString::from("-i"), input_name(path)])?;
        let stopper = pipe.stopper();
        Ok(Self { name, pipe: Some(pipe), info, stopper })
    }

    /// What the file says about its video.
    pub fn info(&self) -> &VideoInfo {
        &self.info
    }

    /// Whether the frames that came are the whole video. ffmpeg tells of damage and then ends as if all were well, but it also tells of much
    /// that does not matter: so what counts is whether a part of the time is missing, too.
    fn verdict(&self, end: PipeEnd) -> Result<(), VideoError> {
        if end.stopped {
            return Ok(());
        }
        let name = self.name.clone();
        let is_short = |end: &PipeEnd| {
            let interval = end.time.div_f64(end.frames.max(1) as f64);
            self.info.duration.is_some_and(|whole| end.time + MISSING.max(2 * interval) < whole)
        };
        match end.said.clone() {
            Some(said) if end.frames == 0 => Err(VideoError::Unreadable { name, said }),
            None if end.frames == 0 => Err(VideoError::NoVideo { name }),
            Some(said) if !end.success || is_short(&end) => {
                Err(VideoError::Damaged { name, frames: end.frames, time: end.time, said })
            }
            Some(said) => {
                log::warn!("`{name}`: ffmpeg says: {said}");
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl FrameSource for VideoFile {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        let Some(pipe) = &mut self.pipe else { return Ok(None) };
        match pipe.next_frame() {
            Ok(Ok(frame)) => Ok(Some(frame)),
            Ok(Err(end)) => {
                self.pipe = None;
                self.verdict(end).map(|()| None)
            }
            Err(error) => {
                self.pipe = None;
                Err(error)
            }
        }
    }

    fn is_live(&self) -> bool {
        false
    }

    fn stopper(&self) -> Option<Stopper> {
        Some(self.stopper.clone())
    }
}
