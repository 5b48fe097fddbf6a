//! From what a user types to frames.

use crate::{
    Camera, CameraFormat, Ffmpeg, FrameSource, PictureTimes, Pictures, RawFrames, ReadPicture, VideoError,
    VideoFile, Y4mFrames,
};
use std::io::{Cursor, Read};
use std::path::Path;
use std::time::Duration;

/// How a YUV4MPEG2 stream begins.
const Y4M_MAGIC: &[u8; 9] = b"YUV4MPEG2";

/// What a source may need beside its name.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// Where ffmpeg is.
    pub ffmpeg: Ffmpeg,
    /// Frames a second of a folder of pictures, of raw frames, or asked of a camera.
    pub rate: Option<f64>,
    /// Width and height of raw frames, or asked of a camera.
    pub frame_size: Option<[u32; 2]>,
    /// Take the times of a folder's pictures from these instead of a rate.
    pub times: Option<PictureTimes>,
    /// Reads the pictures of a folder.
    pub read_picture: ReadPicture,
}

/// An opened source and what is known of it.
pub struct Opened {
    /// Gives the frames.
    pub source: Box<dyn FrameSource>,
    /// Frames a second on average, if that is known.
    pub frame_rate: Option<f64>,
    /// Length of the video, if that is known.
    pub duration: Option<Duration>,
}

/// Opens a source by its name: `-` is standard input (YUV4MPEG2, or rgb24 frames with a size and rate), `camera:0` or `/dev/video0` a camera, a
/// folder its pictures, and everything else a video file. `./camera:0` is a file.
///
/// # Errors
/// [`VideoError`] as those that open the kinds of sources; [`VideoError::Setting`] if something is missing that the source needs.
pub fn open(name: &str, options: &SourceOptions) -> Result<Opened, VideoError> {
    if name == "-" {
        return open_stream(std::io::stdin(), options);
    }
    let camera = name.strip_prefix("camera:").or_else(|| name.starts_with("/dev/video").then_some(name));
    if let Some(device) = camera {
        let format = CameraFormat { size: options.frame_size, rate: options.rate };
        let camera = Camera::open(device, format, &options.ffmpeg)?;
        return Ok(Opened { source: Box::new(camera), frame_rate: options.rate, duration: None });
    }
    let path = Path::new(name);
    let metadata = std::fs::metadata(path);
    let metadata = metadata.map_err(|source| VideoError::Read { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        return open_folder(path, options);
    }
    let file = VideoFile::open(path, &options.ffmpeg)?;
    let (frame_rate, duration) = (file.info().frame_rate, file.info().duration);
    Ok(Opened { source: Box::new(file), frame_rate, duration })
}

fn open_folder(path: &Path, options: &SourceOptions) -> Result<Opened, VideoError> {
    let times = options.times.or(options.rate.map(PictureTimes::Rate)).ok_or_else(|| VideoError::Setting {
        problem: format!(
            "`{}` is a folder: say how many pictures it has a second with --source-fps, or where their times stand with --times",
            path.display()
        ),
    })?;
    let pictures = Pictures::open(path, times, options.read_picture)?;
    let frame_rate = pictures.frame_rate();
    let duration = frame_rate.map(|rate| Duration::from_secs_f64(pictures.files().len() as f64 / rate));
    Ok(Opened { source: Box::new(pictures), frame_rate, duration })
}

/// Raw frames from `input`.
fn open_stream(mut input: impl Read + Send + 'static, options: &SourceOptions) -> Result<Opened, VideoError> {
    if let Some(size) = options.frame_size {
        let rate = options.rate.ok_or_else(|| VideoError::Setting {
            problem: "raw frames need a rate: give --source-fps".to_owned(),
        })?;
        let frames = RawFrames::new(input, size, rate)?;
        return Ok(Opened { source: Box::new(frames), frame_rate: Some(rate), duration: None });
    }
    let mut begin = Vec::new();
    let read = input.by_ref().take(Y4M_MAGIC.len() as u64).read_to_end(&mut begin);
    read.map_err(|error| VideoError::Stream { problem: error.to_string() })?;
    if begin != Y4M_MAGIC {
        let problem = "it is no YUV4MPEG2 stream: give --frame-size and --source-fps for raw rgb24 frames, or pipe `ffmpeg -i VIDEO -f yuv4mpegpipe -`";
        return Err(VideoError::Stream { problem: problem.to_owned() });
    }
    let frames = Y4mFrames::new(Cursor::new(begin).chain(input))?;
    let frame_rate = frames.frame_rate();
    Ok(Opened { source: Box::new(frames), frame_rate, duration: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SourceOptions {
        SourceOptions {
            ffmpeg: Ffmpeg::default(),
            rate: None,
            frame_size: None,
            times: None,
            read_picture: |path| Err(path.display().to_string()),
        }
    }

    fn problem(opened: Result<Opened, VideoError>) -> String {
        opened.err().unwrap().to_string()
    }

    #[test]
    fn streams_say_what_they_are_or_are_told() {
        let mut y4m = open_stream(&b"YUV4MPEG2 W1 H1 F5:1 Cmono\nFRAME\nx"[..], &options()).unwrap();
        assert_eq!(y4m.frame_rate, Some(5.0));
        assert!(y4m.source.next_frame().unwrap().is_some() && y4m.source.is_live());
        let raw = SourceOptions { rate: Some(2.0), frame_size: Some([1, 1]), ..options() };
        let mut raw = open_stream(&b"rgb"[..], &raw).unwrap();
        assert_eq!(raw.source.next_frame().unwrap().unwrap().image.as_raw(), b"rgb");
        assert!(problem(open_stream(&b"rgb"[..], &options())).contains("--frame-size"));
        let no_rate = SourceOptions { frame_size: Some([1, 1]), ..options() };
        assert!(problem(open_stream(&b"rgb"[..], &no_rate)).contains("--source-fps"));
    }

    #[test]
    fn what_is_missing_is_named() {
        assert!(problem(open("no/such.mp4", &options())).contains("no/such.mp4"));
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().to_str().unwrap();
        assert!(problem(open(name, &options())).contains("--source-fps"));
        let with_rate = SourceOptions { rate: Some(1.0), ..options() };
        assert!(problem(open(name, &with_rate)).contains("no pictures"));
    }
}
