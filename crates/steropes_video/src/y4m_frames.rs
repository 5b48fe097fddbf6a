//! Raw frames that say their own size and rate (YUV4MPEG2).

use crate::ffmpeg::MAX_SIDE;
use crate::{Frame, FrameSource, VideoError};
use image::{Rgb, RgbImage};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use y4m::{Colorspace, Decoder, Limits};

/// Frames of a YUV4MPEG2 stream with 8 bits a sample: mono, 4:2:0, 4:2:2 or 4:4:4.
///
/// Colours are those of BT.601, as ffmpeg takes streams that do not say; values from 16 to 235, or from 0 to 255 if the header says
/// `XCOLORRANGE=FULL`. A pixel has the colour of the nearest sample.
pub struct Y4mFrames<R: Read> {
    decoder: Option<Decoder<Counted<R>>>,
    /// Bytes that were read in all.
    read: Arc<AtomicU64>,
    frames: u64,
}

/// Counts what is read, which tells an end between frames from one inside.
struct Counted<R> {
    input: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(bytes)?;
        self.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

impl<R: Read + Send> Y4mFrames<R> {
    /// Reads the header of `input`.
    ///
    /// # Errors
    /// [`VideoError::Stream`] if it is none, or says something that is not read here.
    pub fn new(input: R) -> Result<Self, VideoError> {
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { input, read: Arc::clone(&read) };
        let limits = Limits { bytes: 3 * (MAX_SIDE as usize).pow(2) };
        let decoder = Decoder::new_with_limits(counted, limits).map_err(|error| problem(&error))?;
        let refuse = |problem: String| Err(VideoError::Stream { problem });
        let side = 1..=MAX_SIDE as usize;
        if !side.contains(&decoder.get_width()) || !side.contains(&decoder.get_height()) {
            return refuse(format!("frames of {} x {} pixels are too large", decoder.get_width(), decoder.get_height()));
        }
        if decoder.get_bit_depth() != 8 {
            return refuse(format!(
                "samples of {} bits are not read: write 8 bits, as `ffmpeg -pix_fmt yuv420p`",
                decoder.get_bit_depth()
            ));
        }
        if decoder.get_framerate().num == 0 || decoder.get_framerate().den == 0 {
            return refuse("its header gives no frame rate".to_owned());
        }
        Ok(Self { decoder: Some(decoder), read, frames: 0 })
    }

    /// Frames a second.
    pub fn frame_rate(&self) -> Option<f64> {
        let rate = self.decoder.as_ref()?.get_framerate();
        Some(rate.num as f64 / rate.den as f64)
    }
}

fn problem(error: &y4m::Error) -> VideoError {
    let problem = match error {
        y4m::Error::UnknownColorspace => {
            "its colour space is not read: write yuv420p, as `ffmpeg -pix_fmt yuv420p`".to_owned()
        }
        y4m::Error::OutOfMemory => "its frames are too large".to_owned(),
        y4m::Error::EOF => "it ends before the first frame".to_owned(),
        other => format!("it is no YUV4MPEG2 stream: {other}"),
    };
    VideoError::Stream { problem }
}

/// How pixels share colour samples.
struct Planes<'a> {
    planes: [&'a [u8]; 3],
    width: usize,
    /// Pixels for each colour sample, across and down; `None` if there are none.
    shared: Option<[usize; 2]>,
    full_range: bool,
}

impl Planes<'_> {
    fn pixel(&self, x: u32, y: u32) -> Rgb<u8> {
        let (x, y) = (x as usize, y as usize);
        let light = f32::from(self.planes[0][y * self.width + x]);
        let [blue, red] = self.shared.map_or([0.0; 2], |[across, down]| {
            let at = y / down * self.width.div_ceil(across) + x / across;
            [1, 2].map(|plane: usize| f32::from(self.planes[plane][at]) - 128.0)
        });
        let (light, gain) =
            if self.full_range { (light, 1.0) } else { ((light - 16.0) * 255.0 / 219.0, 255.0 / 224.0) };
        // BT.601: luma is 0.299 R + 0.587 G + 0.114 B.
        let (blue, red) = (gain * blue, gain * red);
        let rgb = [
            light + 1.402 * red,
            light - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587,
            light + 1.772 * blue,
        ];
        Rgb(rgb.map(|v| v.round().clamp(0.0, 255.0) as u8))
    }
}

/// Pixels for each colour sample, across and down.
fn shared(space: Colorspace) -> Option<[usize; 2]> {
    match space {
        Colorspace::Cmono | Colorspace::Cmono12 => None,
        Colorspace::C422 | Colorspace::C422p10 | Colorspace::C422p12 => Some([2, 1]),
        Colorspace::C444 | Colorspace::C444p10 | Colorspace::C444p12 => Some([1, 1]),
        _ => Some([2, 2]),
    }
}

impl<R: Read + Send> FrameSource for Y4mFrames<R> {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        let Some(mut decoder) = self.decoder.take() else { return Ok(None) };
        let before = self.read.load(Ordering::Relaxed);
        let (width, height, rate) = (decoder.get_width(), decoder.get_height(), decoder.get_framerate());
        let shared = shared(decoder.get_colorspace());
        let full_range = decoder.get_raw_params().windows(16).any(|w| w == b"XCOLORRANGE=FULL");
        let image = match decoder.read_frame() {
            Ok(frame) => {
                let planes = [frame.get_y_plane(), frame.get_u_plane(), frame.get_v_plane()];
                let planes = Planes { planes, width, shared, full_range };
                RgbImage::from_fn(width as u32, height as u32, |x, y| planes.pixel(x, y))
            }
            Err(y4m::Error::EOF) if self.read.load(Ordering::Relaxed) == before => return Ok(None),
            Err(y4m::Error::EOF) => {
                return Err(VideoError::Stream { problem: format!("it ends inside frame {}", self.frames) });
            }
            Err(error) => {
                let problem = format!("frame {}: {error}", self.frames);
                return Err(VideoError::Stream { problem });
            }
        };
        self.decoder = Some(decoder);
        let index = self.frames;
        self.frames += 1;
        let nanoseconds = u128::from(index) * rate.den as u128 * 1_000_000_000 / rate.num as u128;
        let time = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        Ok(Some(Frame { index, time, image }))
    }

    fn is_live(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(header: &str, frames: &[&[u8]]) -> Vec<u8> {
        let mut bytes = format!("YUV4MPEG2 {header}\n").into_bytes();
        for frame in frames {
            bytes.extend_from_slice(b"FRAME\n");
            bytes.extend_from_slice(frame);
        }
        bytes
    }

    #[test]
    fn colours_and_times_are_those_of_the_header() {
        // Odd sizes: three columns share two colour samples. White, black and the red of BT.601.
        let frame: &[u8] = &[235, 16, 81, 128, 90, 128, 240];
        let bytes = stream("W3 H1 F30000:1001 C420jpeg", &[frame; 2]);
        let mut y4m = Y4mFrames::new(&bytes[..]).unwrap();
        assert!((y4m.frame_rate().unwrap() - 29.97).abs() < 0.001);
        let first = y4m.next_frame().unwrap().unwrap();
        assert_eq!(first.image.as_raw(), &[255, 255, 255, 0, 0, 0, 254, 0, 0]);
        let second = y4m.next_frame().unwrap().unwrap();
        assert_eq!((second.index, second.time.as_nanos()), (1, 33_366_666));
        assert!(y4m.next_frame().unwrap().is_none());
        let full = stream("W2 H1 F1:1 Cmono XCOLORRANGE=FULL", &[&[0, 200]]);
        let frame = Y4mFrames::new(&full[..]).unwrap().next_frame().unwrap().unwrap();
        assert_eq!(frame.image.as_raw(), &[0, 0, 0, 200, 200, 200]);
    }

    #[test]
    fn what_is_no_stream_is_one_line() {
        let problem = |bytes: &[u8]| Y4mFrames::new(bytes).err().unwrap().to_string();
        assert!(problem(b"RIFF....\n").contains("YUV4MPEG2"));
        assert!(problem(&stream("W2 H2 F1:1 C420p10", &[])).contains("10 bits"));
        assert!(problem(&stream("W99999999 H99999999 F1:1 Cmono", &[])).contains("too large"));
        assert!(problem(&stream("W2 H2 F0:0 Cmono", &[])).contains("frame rate"));
        let cut = stream("W2 H1 F1:1 Cmono", &[&[1]]);
        let mut y4m = Y4mFrames::new(&cut[..]).unwrap();
        assert!(y4m.next_frame().unwrap_err().to_string().contains("inside frame 0"));
        assert!(y4m.next_frame().unwrap().is_none());
    }
}
