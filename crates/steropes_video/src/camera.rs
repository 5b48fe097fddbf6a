//! Cameras, through ffmpeg's inputs for them.

use crate::error::checked_rate;
use crate::ffmpeg::FramePipe;
use crate::{Ffmpeg, Frame, FrameSource, Stopper, VideoError};
use std::ffi::OsString;

/// What a camera is asked for. It may refuse what it cannot give.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct CameraFormat {
    /// Width and height in pixels; the camera's own choice if not given.
    pub size: Option<[u32; 2]>,
    /// Frames a second; the camera's own choice if not given.
    pub rate: Option<f64>,
}

/// The pictures of a camera, with the times that its driver gives them, counted from the first.
pub struct Camera {
    name: String,
    pipe: Option<FramePipe>,
    stopper: Stopper,
}

/// A camera of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCamera {
    /// What opens it: `/dev/video0`.
    pub device: String,
    /// What its driver calls it.
    pub name: String,
}

impl Camera {
    /// Opens a camera: `device` is a number (`0`, in the order of the system), or what the system calls it: `/dev/video0` on Linux, the
    /// name on a Mac (AVFoundation) and on Windows (DirectShow, where a number will not do).
    ///
    /// # Errors
    /// [`VideoError::NoFfmpeg`], [`VideoError::Program`], or [`VideoError::Setting`]. A camera that is not there shows with the first frame.
    pub fn open(device: &str, format: CameraFormat, ffmpeg: &Ffmpeg) -> Result<Self, VideoError> {
        let (kind, device_name) = input_of(device)?;
        let mut input: Vec<OsString> = vec!["-f".into(), kind.into()];
        if let Some(rate) = format.rate {
            input.extend(["-framerate".into(), checked_rate("the rate of a camera", rate)?.to_string().into()]);
        }
        if let Some([width, height]) = format.size {
            input.extend(["-video_size".into(), format!("{width}x{height}").into()]);
        }
        input.extend(["-i".into(), device_name.into()]);
        Self::from_input(device, &input, ffmpeg)
    }

    /// A live source from an input of ffmpeg with its options.
    pub(crate) fn from_input(name: &str, input: &[OsString], ffmpeg: &Ffmpeg) -> Result<Self, VideoError> {
        // Nothing may wait for later pictures: no probing, no queue, no threads that each hold a frame.
        let at_once = ["-fflags", "nobuffer", "-flags", "low_delay", "-threads", "1"];
        let mut all: Vec<OsString> = at_once.map(Into::into).to_vec();
        all.extend_from_slice(input);
        let pipe = ffmpeg.frames(name, &all)?;
        let stopper = pipe.stopper();
        Ok(Self { name: name.to_owned(), pipe: Some(pipe), stopper })
    }
}

/// The input of ffmpeg for cameras of this system, and what it calls this one.
fn input_of(device: &str) -> Result<(&'static str, String), VideoError> {
    let is_number = !device.is_empty() && device.bytes().all(|b| b.is_ascii_digit());
    if device.is_empty() {
        return Err(VideoError::Setting { problem: "a camera needs a number or name: camera:0".to_owned() });
    }
    if cfg!(target_os = "macos") {
        return Ok(("avfoundation", format!("{device}:none")));
    }
    if cfg!(windows) {
        if is_number {
            let problem = format!(
                "cameras have names on Windows, not numbers: give camera:NAME instead of camera:{device}; `ffmpeg -list_devices true -f dshow -i dummy` lists them"
            );
            return Err(VideoError::Setting { problem });
        }
        return Ok(("dshow", format!("video={device}")));
    }
    Ok(("v4l2", if is_number { format!("/dev/video{device}") } else { device.to_owned() }))
}

/// The cameras that Linux lists, in the order of their numbers; empty on other systems, where `ffmpeg -list_devices` shows them.
pub fn cameras() -> Vec<ListedCamera> {
    let Ok(entries) = std::fs::read_dir("/sys/class/video4linux") else { return Vec::new() };
    let mut found: Vec<ListedCamera> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = std::fs::read_to_string(entry.path().join("name")).ok()?;
            let device = format!("/dev/{}", entry.file_name().to_string_lossy());
            Some(ListedCamera { device, name: crate::error::one_line(&name) })
        })
        .collect();
    found.sort_by(|a, b| alphanumeric_sort::compare_str(&a.device, &b.device));
    found
}

/// What else could be opened, to follow a message.
fn others() -> String {
    let listed: Vec<String> = cameras().iter().map(|c| format!("{} ({})", c.device, c.name)).collect();
    if listed.is_empty() { String::new() } else { format!("; this machine has {}", listed.join(", ")) }
}

impl FrameSource for Camera {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        let Some(pipe) = &mut self.pipe else { return Ok(None) };
        let end = match pipe.next_frame() {
            Ok(Ok(frame)) => return Ok(Some(frame)),
            Ok(Err(end)) => Ok(end),
            Err(error) => Err(error),
        };
        self.pipe = None;
        let end = end?;
        if end.stopped {
            return Ok(None);
        }
        let name = self.name.clone();
        let said = end.said.unwrap_or_else(|| "the stream ended".to_owned());
        if end.frames == 0 {
            return Err(VideoError::Unreadable { name, said: said + &others() });
        }
        Err(VideoError::Unplugged { name, said })
    }

    fn is_live(&self) -> bool {
        true
    }

    fn stopper(&self) -> Option<Stopper> {
        Some(self.stopper.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Arrived, Latest};
    use std::time::{Duration, Instant};

    /// A camera that ffmpeg makes up, `rate` pictures a second as time goes by.
    fn made_up(rate: u32) -> Camera {
        let pattern = format!("testsrc2=size=64x48:rate={rate}");
        let input = ["-re", "-f", "lavfi", "-i", &pattern].map(OsString::from);
        Camera::from_input("made up", &input, &Ffmpeg::default()).unwrap()
    }

    #[test]
    fn pictures_come_as_they_are_taken_and_are_fresh() {
        let latest = Latest::new(Box::new(made_up(50)));
        let wait = || latest.wait(Duration::from_secs(20)).unwrap().unwrap();
        let first = wait();
        assert_eq!((first.frame.index, first.frame.image.dimensions()), (0, (64, 48)));
        // Whoever comes late gets a picture of now, and knows how many were lost.
        std::thread::sleep(Duration::from_millis(400));
        let Arrived { frame, at, dropped } = wait();
        assert!(at.elapsed() < Duration::from_millis(200), "{:?} old", at.elapsed());
        assert!(dropped >= 5 && frame.index == dropped + 1, "{dropped} dropped, now at {}", frame.index);
        assert!((frame.time.as_secs_f64() - frame.index as f64 / 50.0).abs() < 1e-6);
    }

    #[test]
    fn a_camera_that_is_unplugged_is_an_error() {
        let mut camera = made_up(100);
        assert!(camera.next_frame().unwrap().is_some());
        // What ffmpeg does when its input goes away: it ends.
        let pipe = camera.pipe.as_ref().unwrap();
        pipe.stopper().stop();
        pipe.forget_stop();
        let error = loop {
            match camera.next_frame() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the end of a camera is no end of a video"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, VideoError::Unplugged { .. }), "{error}");
        assert!(camera.next_frame().unwrap().is_none(), "it gives nothing more");
    }

    #[test]
    fn a_stopped_camera_ends_in_time() {
        let latest = Latest::new(Box::new(made_up(1)));
        latest.wait(Duration::from_secs(20)).unwrap().unwrap();
        let start = Instant::now();
        drop(latest);
        assert!(start.elapsed() < Duration::from_millis(800), "it waited for the next picture");
    }

    #[test]
    fn a_camera_that_is_not_there_is_one_line() {
        let mut camera = Camera::open("/dev/no-such-camera", CameraFormat::default(), &Ffmpeg::default()).unwrap();
        let line = camera.next_frame().unwrap_err().to_string();
        assert!(line.contains("no-such-camera") && !line.contains('\n'), "{line}");
        assert!(Camera::open("", CameraFormat::default(), &Ffmpeg::default()).is_err());
    }
}
