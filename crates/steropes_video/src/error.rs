//! Why a video gives no more frames.

use std::path::PathBuf;
use std::time::Duration;

/// A video that cannot be read; one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// A file or folder that cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Video files and cameras need a program that is not there.
    #[error(
        "the program `{program}` is not found, and video files and cameras are read through it: install ffmpeg, or name its folder with --ffmpeg; folders of pictures and raw frames on standard input need none"
    )]
    NoFfmpeg {
        /// The program.
        program: String,
    },
    /// A program that cannot be run.
    #[error("`{program}` cannot be run: {source}")]
    Program {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The first frame did not come.
    #[error("`{name}` cannot be read as a video: {said}")]
    Unreadable {
        /// The file or camera.
        name: String,
        /// What ffmpeg said, in one line.
        said: String,
    },
    /// There are no pictures in it, as in a sound file.
    #[error("`{name}` holds no video")]
    NoVideo {
        /// The file.
        name: String,
    },
    /// The video ended before its time.
    #[error("`{name}` is damaged or cut off after {:.3} s ({frames} frames): {said}", time.as_secs_f64())]
    Damaged {
        /// The file or stream.
        name: String,
        /// Frames that came before.
        frames: u64,
        /// Time of the last of them.
        time: Duration,
        /// What ffmpeg said, in one line.
        said: String,
    },
    /// Frames came without time stamps.
    #[error("the frames of `{name}` have no time stamps: remux it first, as `ffmpeg -i {name} -c copy out.mkv`")]
    NoTimes {
        /// The file.
        name: String,
    },
    /// A live source ended by itself.
    #[error("`{name}` gives no more pictures (unplugged, or taken by another program): {said}")]
    Unplugged {
        /// The camera.
        name: String,
        /// What ffmpeg said, in one line.
        said: String,
    },
    /// A live source gave nothing for too long; it may give something later.
    #[error("no new picture within {:.1} s", after.as_secs_f64())]
    Stalled {
        /// How long was waited.
        after: Duration,
    },
    /// A folder without pictures.
    #[error("`{}` holds no pictures: expected names ending in {}", folder.display(), crate::pictures::EXTENSIONS.join(", "))]
    NoPictures {
        /// The folder.
        folder: PathBuf,
    },
    /// A picture that cannot be used.
    #[error("{said}")]
    Picture {
        /// What its reader said, in one line that names the file.
        said: String,
    },
    /// A picture whose time cannot be told.
    #[error("`{}`: {problem}", path.display())]
    PictureTime {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// Raw frames that are not what they should be.
    #[error("standard input: {problem}")]
    Stream {
        /// What is wrong and what to do.
        problem: String,
    },
    /// A setting that cannot be used.
    #[error("{problem}")]
    Setting {
        /// What is wrong and what to do.
        problem: String,
    },
}

/// One line without anything that drives a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A rate in frames per second, or what is wrong with it.
pub(crate) fn checked_rate(what: &str, rate: f64) -> Result<f64, VideoError> {
    if rate.is_finite() && (1e-3..=1e3).contains(&rate) {
        return Ok(rate);
    }
    Err(VideoError::Setting {
        problem: format!("{what} must be between 0.001 and 1000 frames a second, got {rate}"),
    })
}
