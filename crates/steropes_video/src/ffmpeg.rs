//! The system's ffmpeg as a child process that gives raw frames.
//!
//! Pixels come over its standard output. Time stamps come over its standard error, where the filter `showinfo` says for each frame its size and
//! its time in whole units of the stream's time base: so variable frame rates are right, and nothing is rounded. The line of a frame is there before its
//! pixels. A thread reads these lines all the time, so that a full pipe never stops the program.

use crate::error::one_line;
use crate::{Frame, Stopper, VideoError};
use image::RgbImage;
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// From this version on frames are passed through by `-fps_mode`; before it, by `-vsync`.
const FPS_MODE_SINCE: [u32; 2] = [5, 1];

/// How often a child that has closed its output is asked whether it has ended.
const POLL: Duration = Duration::from_millis(2);

/// Longest side of a frame that is taken; more than any video has.
pub(crate) const MAX_SIDE: u32 = 16_384;

/// Where ffmpeg and ffprobe are.
#[derive(Debug, Clone, Default)]
pub struct Ffmpeg {
    folder: Option<PathBuf>,
}

/// What a file says about its video.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoInfo {
    /// Width and height as the video is to be seen, turned upright.
    pub size: [u32; 2],
    /// Name of the codec, as ffmpeg calls it.
    pub codec: String,
    /// Frames a second on average, if the file says so.
    pub frame_rate: Option<f64>,
    /// Length of the video, if the file says so.
    pub duration: Option<Duration>,
    /// By how many degrees the pictures are turned clockwise to be upright: 0, 90, 180 or 270.
    pub rotation: u32,
}

impl Ffmpeg {
    /// The programs in `folder`, or, without one, those that the system finds (`PATH`).
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder }
    }

    fn program(&self, name: &str) -> OsString {
        match &self.folder {
            Some(folder) => folder.join(name).into_os_string(),
            None => OsString::from(name),
        }
    }

    /// Runs a program to its end; its output.
    fn output(&self, name: &str, args: &[&OsStr]) -> Result<std::process::Output, VideoError> {
        let program = self.program(name);
        let run = Command::new(&program).args(args).stdin(Stdio::null()).output();
        run.map_err(|source| start_error(&program, source))
    }

    /// What the file at `path` says about its video, by ffprobe.
    ///
    /// # Errors
    /// [`VideoError::Read`], [`VideoError::NoFfmpeg`], [`VideoError::Unreadable`] with what ffprobe said, or [`VideoError::NoVideo`].
    pub fn probe(&self, path: &Path) -> Result<VideoInfo, VideoError> {
        check_readable(path)?;
        let name = path.display().to_string();
        let input = input_name(path);
        let what = ["-v", "error", "-select_streams", "V:0", "-show_streams", "-show_format", "-of", "json"];
        let mut args: Vec<&OsStr> = what.iter().map(OsStr::new).collect();
        args.push(&input);
        let output = self.output("ffprobe", &args)?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let said = said.lines().next().map_or_else(|| output.status.to_string(), without_context);
            return Err(VideoError::Unreadable { name, said });
        }
        let answer: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
            VideoError::Unreadable { name: name.clone(), said: format!("ffprobe answers no JSON: {error}") }
        })?;
        let stream = &answer["streams"][0];
        video_info(stream, &answer["format"]).ok_or(VideoError::NoVideo { name })
    }

    /// The options that hand every frame through once, with its own time.
    fn pass_through(&self) -> Result<[&'static str; 2], VideoError> {
        let output = self.output("ffmpeg", &[OsStr::new("-version")])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // Builds without a number are newer than that.
        let version = version_of(&text).unwrap_or(FPS_MODE_SINCE);
        Ok(if version < FPS_MODE_SINCE { ["-vsync", "passthrough"] } else { ["-fps_mode", "passthrough"] })
    }

    /// Starts ffmpeg on an input, which stands in `input` with all its options.
    ///
    /// # Errors
    /// [`VideoError::NoFfmpeg`] or [`VideoError::Program`].
    pub(crate) fn frames(&self, name: &str, input: &[OsString]) -> Result<FramePipe, VideoError> {
        const BEFORE: [&str; 5] = ["-hide_banner", "-nostdin", "-nostats", "-loglevel", "level+info"];
        // Rounding that does not depend on the processor, and colour at every pixel.
        const FILTERS: &str = "showinfo=checksum=0,scale=flags=bicubic+accurate_rnd+full_chroma_int,format=rgb24";
        let after = ["-map", "0:V:0", "-vf", FILTERS, "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"];
        let program = self.program("ffmpeg");
        let pass_through = self.pass_through()?;
        let mut child = Command::new(&program)
            .args(BEFORE)
            .args(input)
            .args(pass_through)
            .args(after)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|source| start_error(&program, source))?;
        let pixels = child.stdout.take().expect("standard output is a pipe");
        let messages = child.stderr.take().expect("standard error is a pipe");
        let process = Process::new(child);
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || read_messages(messages, &sender));
        Ok(FramePipe {
            name: name.to_owned(),
            process,
            pixels,
            lines,
            reader: Some(reader),
            time_base: None,
            origin: None,
            last: Duration::ZERO,
            size: None,
            frames: 0,
            said: None,
        })
    }
}

/// Refuses what is no readable file before a program is started on it.
fn check_readable(path: &Path) -> Result<(), VideoError> {
    let opened = std::fs::File::open(path);
    opened.map(drop).map_err(|source| VideoError::Read { path: path.to_owned(), source })
}

/// The name of a file for ffmpeg: never an option and never an address.
pub(crate) fn input_name(path: &Path) -> OsString {
    let mut name = OsString::from("file:");
    name.push(path);
    name
}

fn start_error(program: &OsStr, source: std::io::Error) -> VideoError {
    let program = program.to_string_lossy().into_owned();
    match source.kind() {
        ErrorKind::NotFound => VideoError::NoFfmpeg { program },
        _ => VideoError::Program { program, source },
    }
}

/// Major and minor number of `ffmpeg version 5.1.9-0+deb12u1 ...` or `ffmpeg version n7.1 ...`.
fn version_of(text: &str) -> Option<[u32; 2]> {
    let word = text.strip_prefix("ffmpeg version ")?.split_whitespace().next()?;
    let mut numbers = word.trim_start_matches('n').split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    Some([major, numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0)])
}

fn video_info(stream: &Value, format: &Value) -> Option<VideoInfo> {
    let side = |key: &str| stream[key].as_u64().and_then(|v| u32::try_from(v).ok()).filter(|&v| v > 0);
    let [width, height] = [side("width")?, side("height")?];
    let seconds = |value: &Value| value.as_str()?.parse::<f64>().ok().filter(|s| s.is_finite() && *s > 0.0);
    let duration = seconds(&stream["duration"])
        .or_else(|| clock(stream["tags"]["DURATION"].as_str()?))
        .or_else(|| seconds(&format["duration"]))
        .and_then(|s| Duration::try_from_secs_f64(s).ok());
    let rotation = rotation(stream);
    let size = if rotation % 180 == 90 { [height, width] } else { [width, height] };
    let frame_rate = stream["avg_frame_rate"].as_str().and_then(ratio);
    let codec = stream["codec_name"].as_str().unwrap_or("unknown").to_owned();
    Some(VideoInfo { size, codec, frame_rate, duration, rotation })
}

/// How far pictures are turned clockwise. ffprobe counts the other way.
fn rotation(stream: &Value) -> u32 {
    let list = stream["side_data_list"].as_array().map(Vec::as_slice).unwrap_or_default();
    let matrix = list.iter().find_map(|data| data["rotation"].as_f64()).map(|degrees| -degrees);
    let tag = || stream["tags"]["rotate"].as_str()?.parse::<f64>().ok();
    let degrees = matrix.or_else(tag).unwrap_or(0.0);
    ((degrees / 90.0).round() as i64).rem_euclid(4) as u32 * 90
}

/// Seconds of `01:02:03.5`.
fn clock(text: &str) -> Option<f64> {
    let seconds = text.split(':').try_fold(0.0, |sum, part| Some(60.0 * sum + part.parse::<f64>().ok()?))?;
    (seconds.is_finite() && seconds > 0.0).then_some(seconds)
}

/// The value of `30000/1001`; `None` for `0/0`.
fn ratio(text: &str) -> Option<f64> {
    let (top, bottom) = text.split_once('/')?;
    let value = top.parse::<f64>().ok()? / bottom.parse::<f64>().ok()?;
    (value.is_finite() && value > 0.0).then_some(value)
}

/// What a line of ffmpeg means.
#[derive(Debug, PartialEq)]
enum Said {
    /// Numerator and denominator of the unit of times, in seconds.
    TimeBase(u64, u64),
    /// A frame: its time in units, and its width and height.
    Frame { units: Option<i64>, size: [u32; 2] },
    /// An error, without what stands before it.
    Error(String),
}

/// Takes the meaning of a line; most lines have none for us.
fn meaning(line: &str) -> Option<Said> {
    if line.contains("[error]") || line.contains("[fatal]") || line.contains("[panic]") {
        return Some(Said::Error(without_context(line)));
    }
    let (_, of_filter) = line.split_once("[Parsed_showinfo_0 @ ")?;
    let (_, text) = of_filter.split_once("[info] ")?;
    if let Some(base) = text.strip_prefix("config in time_base: ") {
        let (top, bottom) = base.split(',').next()?.split_once('/')?;
        return Some(Said::TimeBase(top.trim().parse().ok()?, bottom.trim().parse().ok()?));
    }
    if !text.starts_with("n:") {
        return None;
    }
    let (_, after) = text.split_once(" pts:")?;
    let units = after.split_whitespace().next()?.parse().ok();
    let (_, size) = text.split_once(" s:")?;
    let (width, height) = size.split_whitespace().next()?.split_once('x')?;
    Some(Said::Frame { units, size: [width.parse().ok()?, height.parse().ok()?] })
}

/// A line without the names and addresses in brackets before it.
fn without_context(line: &str) -> String {
    let mut rest = line.trim();
    while let Some((_, after)) = rest.strip_prefix('[').and_then(|inner| inner.split_once("] ")) {
        rest = after.trim_start();
    }
    one_line(rest)
}

/// Sends on what is of use, until ffmpeg ends.
fn read_messages(messages: ChildStderr, to: &Sender<Said>) {
    let mut messages = BufReader::new(messages);
    let mut line = Vec::new();
    while messages.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        // Nobody may listen any more; the pipe is emptied all the same, so that ffmpeg can end.
        if let Some(said) = meaning(&String::from_utf8_lossy(&line)) {
            to.send(said).unwrap_or_default();
        }
        line.clear();
    }
}

/// The children that run, for [`stop_all`].
static RUNNING: Mutex<Vec<Arc<Mutex<Child>>>> = Mutex::new(Vec::new());

/// Ends all programs that this library has started; for a program that is about to exit without dropping its sources.
pub fn stop_all() {
    for child in lock(&RUNNING).iter() {
        kill(child);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn kill(child: &Mutex<Child>) {
    if let Err(error) = lock(child).kill() {
        log::debug!("ending ffmpeg: {error}");
    }
}

/// A child that is ended and waited for when it is dropped.
struct Process {
    child: Arc<Mutex<Child>>,
    stopped: Arc<AtomicBool>,
}

impl Process {
    fn new(child: Child) -> Self {
        let child = Arc::new(Mutex::new(child));
        lock(&RUNNING).push(Arc::clone(&child));
        Self { child, stopped: Arc::default() }
    }

    /// How it ended; waits for that.
    fn ended(&self) -> std::io::Result<ExitStatus> {
        loop {
            // Not `wait`: it would keep the lock, and with it whoever wants to end the child.
            if let Some(status) = lock(&self.child).try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(&self.child);
        if let Err(error) = lock(&self.child).wait() {
            log::debug!("waiting for ffmpeg: {error}");
        }
        lock(&RUNNING).retain(|child| !Arc::ptr_eq(child, &self.child));
    }
}

/// Frames from a running ffmpeg.
pub(crate) struct FramePipe {
    name: String,
    process: Process,
    pixels: ChildStdout,
    lines: Receiver<Said>,
    reader: Option<JoinHandle<()>>,
    /// Unit of times.
    time_base: Option<(u64, u64)>,
    /// Time of the first frame, in units.
    origin: Option<i64>,
    /// Time of the frame before.
    last: Duration,
    /// Size of all frames: that of the first.
    size: Option<[u32; 2]>,
    frames: u64,
    /// The first error that ffmpeg told.
    said: Option<String>,
}

/// How the frames of a pipe ended.
pub(crate) struct PipeEnd {
    /// Whether ffmpeg says that all went well.
    pub(crate) success: bool,
    /// Whether it was ended by a [`Stopper`].
    pub(crate) stopped: bool,
    /// The first error that it told, in one line.
    pub(crate) said: Option<String>,
    /// Frames that came.
    pub(crate) frames: u64,
    /// Time of the last.
    pub(crate) time: Duration,
}

impl FramePipe {
    pub(crate) fn stopper(&self) -> Stopper {
        let (child, stopped) = (Arc::clone(&self.process.child), Arc::clone(&self.process.stopped));
        Stopper::new(move || {
            stopped.store(true, Ordering::SeqCst);
            kill(&child);
        })
    }

    /// Makes a stop look as if ffmpeg had ended by itself.
    #[cfg(test)]
    pub(crate) fn forget_stop(&self) {
        self.process.stopped.store(false, Ordering::SeqCst);
    }

    /// The next frame, or how the frames ended.
    pub(crate) fn next_frame(&mut self) -> Result<Result<Frame, PipeEnd>, VideoError> {
        let (units, size) = loop {
            match self.lines.recv() {
                Ok(Said::TimeBase(top, bottom)) => self.time_base = Some((top, bottom)),
                Ok(Said::Error(text)) => self.heard(text),
                Ok(Said::Frame { units, size }) => break (units, size),
                Err(_) => return Ok(Err(self.end()?)),
            }
        };
        let time = self.time(units).ok_or_else(|| VideoError::NoTimes { name: self.name.clone() })?;
        // A video may change its size; ffmpeg goes on with that of the first frame.
        let [width, height] = *self.size.get_or_insert(size);
        if width == 0 || height == 0 || width > MAX_SIDE || height > MAX_SIDE {
            let said = format!("its pictures have {width} x {height} pixels");
            return Err(VideoError::Unreadable { name: self.name.clone(), said });
        }
        let mut bytes = vec![0; 3 * width as usize * height as usize];
        if self.pixels.read_exact(&mut bytes).is_err() {
            return Ok(Err(self.end()?));
        }
        let image = RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel");
        let index = self.frames;
        self.frames += 1;
        self.last = time;
        Ok(Ok(Frame { index, time, image }))
    }

    /// A time since the first frame; never before that of the frame before.
    fn time(&mut self, units: Option<i64>) -> Option<Duration> {
        let (units, (top, bottom)) = (units?, self.time_base?);
        let origin = *self.origin.get_or_insert(units);
        let nanoseconds = (i128::from(units) - i128::from(origin)) * i128::from(top) * 1_000_000_000;
        let nanoseconds = nanoseconds.checked_div(i128::from(bottom))?;
        let time = Duration::from_nanos(u64::try_from(nanoseconds.max(0)).ok()?);
        Some(time.max(self.last))
    }

    fn heard(&mut self, error: String) {
        log::debug!("ffmpeg on `{}`: {error}", self.name);
        self.said.get_or_insert(error);
    }

    fn end(&mut self) -> Result<PipeEnd, VideoError> {
        let program = || "ffmpeg".to_owned();
        let status = self.process.ended();
        let status = status.map_err(|source| VideoError::Program { program: program(), source })?;
        while let Ok(line) = self.lines.recv() {
            if let Said::Error(text) = line {
                self.heard(text);
            }
        }
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        Ok(PipeEnd {
            success: status.success(),
            stopped: self.process.stopped.load(Ordering::SeqCst),
            said: self.said.take().or_else(|| (!status.success()).then(|| format!("it ended with {status}"))),
            frames: self.frames,
            time: self.last,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_of_ffmpeg_are_understood() {
        let filter = "[Parsed_showinfo_0 @ 0x55aca47a1a00] [info] ";
        let said = |text: &str| meaning(&format!("{filter}{text}"));
        assert_eq!(said("config in time_base: 1/10240, frame_rate: 10/1"), Some(Said::TimeBase(1, 10240)));
        assert_eq!(said("config out time_base: 0/0, frame_rate: 0/0"), None);
        let old = "n:   3 pts:   3072 pts_time:0.3     pos:     1815 fmt:yuv420p sar:1/1 s:64x48 i:P iskey:0 type:B \n";
        assert_eq!(said(old), Some(Said::Frame { units: Some(3072), size: [64, 48] }));
        let new = "n:  12 pts:  -7 pts_time:-0.1 duration:    512 duration_time:0.03 fmt:rgb24 cl:left sar:1/1 s:7x9 i:P";
        assert_eq!(said(new), Some(Said::Frame { units: Some(-7), size: [7, 9] }));
        let none = "n:   0 pts:NOPTS pts_time:NOPTS fmt:rgb24 sar:1/1 s:7x9 i:P";
        assert_eq!(said(none), Some(Said::Frame { units: None, size: [7, 9] }));
        assert_eq!(said("  side data - User Data Unregistered:"), None);
        let error = "[mov,mp4,m4a,3gp,3g2,mj2 @ 0x559341486900] [error] moov atom\u{1b} not found";
        assert_eq!(meaning(error), Some(Said::Error("moov atom not found".to_owned())));
        assert_eq!(meaning("[info] Stream mapping:"), None);
    }

    #[test]
    fn versions_are_told_apart() {
        assert_eq!(version_of("ffmpeg version 4.4.2-0ubuntu0.22.04.1 Copyright"), Some([4, 4]));
        assert_eq!(version_of("ffmpeg version n7.1 Copyright"), Some([7, 1]));
        assert_eq!(version_of("ffmpeg version 8"), Some([8, 0]));
        assert_eq!(version_of("ffmpeg version N-112345-gabcdef Copyright"), None);
    }

    #[test]
    fn what_a_file_says_is_read() {
        let stream = json!({
            "width": 320, "height": 240, "codec_name": "hevc", "avg_frame_rate": "30000/1001",
            "tags": { "DURATION": "00:01:02.500000000" }, "side_data_list": [{ "rotation": -90 }],
        });
        let info = video_info(&stream, &json!({ "duration": "99.0" })).unwrap();
        assert_eq!((info.size, info.rotation), ([240, 320], 90));
        assert_eq!(info.duration, Some(Duration::from_millis(62_500)));
        assert!((info.frame_rate.unwrap() - 29.97).abs() < 0.001);
        let old = json!({ "width": 2, "height": 4, "avg_frame_rate": "0/0", "tags": { "rotate": "180" } });
        let info = video_info(&old, &json!({ "duration": "1.5" })).unwrap();
        assert_eq!((info.size, info.rotation, info.frame_rate), ([2, 4], 180, None));
        assert_eq!(info.duration, Some(Duration::from_millis(1500)));
        assert_eq!(video_info(&Value::Null, &Value::Null), None);
    }
}
