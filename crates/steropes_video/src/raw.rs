//! Raw frames, as other programs write them to a pipe.

use crate::error::checked_rate;
use crate::ffmpeg::MAX_SIDE;
use crate::{Frame, FrameSource, VideoError};
use image::RgbImage;
use std::io::Read;
use std::time::Duration;

/// Frames of RGB bytes one after the other (`rgb24`), at a fixed rate.
pub struct RawFrames<R> {
    input: Option<R>,
    size: [u32; 2],
    rate: f64,
    frames: u64,
}

impl<R: Read + Send> RawFrames<R> {
    /// Reads frames of `size` (width, height) pixels, `rate` a second, from `input`.
    ///
    /// # Errors
    /// [`VideoError::Setting`] for a size or rate out of its range.
    pub fn new(input: R, size: [u32; 2], rate: f64) -> Result<Self, VideoError> {
        if size.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
            let problem =
                format!("the size of raw frames must be between 1x1 and {MAX_SIDE}x{MAX_SIDE}, got {}x{}", size[0], size[1]);
            return Err(VideoError::Setting { problem });
        }
        let rate = checked_rate("the rate of raw frames", rate)?;
        Ok(Self { input: Some(input), size, rate, frames: 0 })
    }
}

/// Reads until `bytes` is full or the input ends; how many came.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match input.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

impl<R: Read + Send> FrameSource for RawFrames<R> {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        let Some(mut input) = self.input.take() else { return Ok(None) };
        let [width, height] = self.size;
        let mut bytes = vec![0; 3 * width as usize * height as usize];
        let problem = match fill(&mut input, &mut bytes) {
            Ok(count) if count == bytes.len() => None,
            Ok(0) => return Ok(None),
            Ok(count) => Some(format!(
                "it ends inside frame {}: {count} of {} bytes; is --frame-size {width}x{height} right, and are the pixels rgb24?",
                self.frames,
                bytes.len()
            )),
            Err(error) => Some(error.to_string()),
        };
        if let Some(problem) = problem {
            return Err(VideoError::Stream { problem });
        }
        self.input = Some(input);
        let (index, image) = (self.frames, RgbImage::from_raw(width, height, bytes));
        self.frames += 1;
        let time = Duration::from_secs_f64(index as f64 / self.rate);
        Ok(Some(Frame { index, time, image: image.expect("three bytes a pixel") }))
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, as a slow pipe does.
    struct Slow(std::vec::IntoIter<u8>);

    impl Read for Slow {
        fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
            Ok(self.0.next().map_or(0, |byte| {
                bytes[0] = byte;
                1
            }))
        }
    }

    #[test]
    fn frames_are_cut_from_the_stream() {
        let bytes: Vec<u8> = (0..12).collect();
        let mut raw = RawFrames::new(Slow(bytes.into_iter()), [2, 1], 10.0).unwrap();
        let frames: Vec<Frame> = std::iter::from_fn(|| raw.next_frame().unwrap()).collect();
        assert_eq!(frames[1].image.as_raw(), &[6, 7, 8, 9, 10, 11]);
        assert_eq!((frames.len(), frames[1].index, frames[1].time), (2, 1, Duration::from_millis(100)));
    }

    #[test]
    fn a_part_of_a_frame_is_an_error() {
        let mut raw = RawFrames::new(&[0u8; 8][..], [2, 1], 10.0).unwrap();
        assert!(raw.next_frame().unwrap().is_some());
        let line = raw.next_frame().unwrap_err().to_string();
        assert!(line.contains("inside frame 1: 2 of 6 bytes"), "{line}");
        assert!(raw.next_frame().unwrap().is_none());
        assert!(RawFrames::new(&[][..], [0, 1], 1.0).is_err() && RawFrames::new(&[][..], [1, 1], f64::NAN).is_err());
    }
}
