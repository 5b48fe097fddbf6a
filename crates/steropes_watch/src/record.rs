//! Recordings: everything that decisions depend on, so that they can be made again bit for bit.
//!
//! A folder with `record.jsonl` (one event a line), `frames/` (the frames that were looked at, as PNG), `camera.toml` (the calibration, if there
//! was one) and `decisions.jsonl`.

use crate::{Calibration, Decision, Judged, Surprise, WatchError};
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Something that a watch decided on. Times are whole nanoseconds and speeds whole micrometres a second, so that text keeps them exactly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A frame was looked at.
    Frame {
        /// Number in the stream.
        index: u64,
        /// When it was taken, since the start of the stream.
        time_ns: u64,
        /// Its age at the decision.
        age_ns: u64,
        /// Speed that the robot said.
        speed_um: Option<u64>,
        /// What was said of the picture, by one who saw the dropped ones, too.
        judged: Judged,
        /// The surprise that it was decided with; none without a video predictor.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        surprise: Option<Surprise>,
    },
    /// No frame came.
    Silence {
        /// When that was noticed, since the start of the stream.
        now_ns: u64,
    },
}

/// Seconds of whole nanoseconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Metres a second of whole micrometres a second.
pub fn metres(um: u64) -> f64 {
    um as f64 / 1e6
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder {
    folder: PathBuf,
    events: BufWriter<File>,
    decisions: BufWriter<File>,
}

impl Recorder {
    /// A recording in a folder, which is created.
    ///
    /// # Errors
    /// [`WatchError::File`].
    pub fn create(folder: &Path, calibration: Option<&Calibration>) -> Result<Self, WatchError> {
        let frames = folder.join("frames");
        std::fs::create_dir_all(&frames).map_err(WatchError::file(frames))?;
        if let Some(calibration) = calibration {
            let place = folder.join("camera.toml");
            std::fs::write(&place, calibration.to_toml()).map_err(WatchError::file(place))?;
        }
        let open = |name: &str| {
            let place = folder.join(name);
            File::create(&place).map(BufWriter::new).map_err(WatchError::file(place))
        };
        Ok(Self {
            folder: folder.to_owned(),
            events: open("record.jsonl")?,
            decisions: open("decisions.jsonl")?,
        })
    }

    /// Adds an event with its frame, if it has one, and its decision.
    ///
    /// # Errors
    /// [`WatchError::File`] or [`WatchError::Picture`].
    pub fn add(
        &mut self,
        event: &Event,
        frame: Option<&RgbImage>,
        decision: &Decision,
    ) -> Result<(), WatchError> {
        if let (Event::Frame { index, .. }, Some(frame)) = (event, frame) {
            let place = frame_place(&self.folder, *index);
            frame.save(&place).map_err(WatchError::picture(place))?;
        }
        write_line(&mut self.events, event).map_err(WatchError::file(self.folder.join("record.jsonl")))?;
        write_line(&mut self.decisions, decision)
            .map_err(WatchError::file(self.folder.join("decisions.jsonl")))
    }
}

fn frame_place(folder: &Path, index: u64) -> PathBuf {
    folder.join("frames").join(format!("{index:08}.png"))
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> std::io::Result<()> {
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    out.flush()
}

/// A recording that is read again.
#[derive(Debug)]
pub struct Recording {
    folder: PathBuf,
    events: Vec<Event>,
    decisions: Vec<String>,
}

impl Recording {
    /// Reads a recording but for its frames.
    ///
    /// # Errors
    /// [`WatchError::File`], or [`WatchError::Text`] with the line.
    pub fn open(folder: &Path) -> Result<Self, WatchError> {
        let events = lines(&folder.join("record.jsonl"))?;
        let parse = |(line, text): (usize, &String)| {
            serde_json::from_str(text).map_err(|error| WatchError::Text {
                file: folder.join("record.jsonl").display().to_string(),
                problem: format!("line {}: {error}", line + 1),
            })
        };
        let events = events.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { folder: folder.to_owned(), events, decisions: lines(&folder.join("decisions.jsonl"))? })
    }

    /// The calibration, if there was one.
    ///
    /// # Errors
    /// As [`Calibration::read`].
    pub fn calibration(&self) -> Result<Option<Calibration>, WatchError> {
        let place = self.folder.join("camera.toml");
        if place.is_file() { Calibration::read(&place).map(Some) } else { Ok(None) }
    }

    /// What was decided on, in order.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The decisions that were made, as their lines.
    pub fn decisions(&self) -> &[String] {
        &self.decisions
    }

    /// The frame of an event.
    ///
    /// # Errors
    /// [`WatchError::Picture`].
    pub fn frame(&self, index: u64) -> Result<RgbImage, WatchError> {
        let place = frame_place(&self.folder, index);
        Ok(image::open(&place).map_err(WatchError::picture(place))?.into_rgb8())
    }
}

fn lines(place: &Path) -> Result<Vec<String>, WatchError> {
    let file = File::open(place).map_err(WatchError::file(place))?;
    BufReader::new(file).lines().collect::<Result<_, _>>().map_err(WatchError::file(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, Vitals};

    #[test]
    fn events_keep_their_numbers() {
        for event in [
            Event::Frame {
                index: 7,
                time_ns: 123_456_789_012_345,
                age_ns: 333_333_333,
                speed_um: Some(650_001),
                judged: Judged {
                    faults: vec![Fault::Frozen],
                    vitals: Vitals {
                        level: 101.123,
                        contrast: 33.007,
                        sharpness: 0.1,
                        difference: Some(0.333),
                    },
                },
                surprise: Some(Surprise {
                    time_ns: 123_456_789_012_345,
                    resized: [256, 455],
                    origin: [0, 3],
                    grid: [1, 3],
                    patch: 16,
                    hundredths: vec![-120, 0, i32::MAX],
                }),
            },
            Event::Frame {
                index: 0,
                time_ns: 0,
                age_ns: 1,
                speed_um: None,
                judged: Judged::default(),
                surprise: None,
            },
            Event::Silence { now_ns: u64::MAX },
        ] {
            let text = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event, "{text}");
        }
    }

    #[test]
    fn a_damaged_recording_names_its_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("record.jsonl"), "{\"silence\":{\"now_ns\":1}}\nnonsense\n")
            .unwrap();
        std::fs::write(folder.path().join("decisions.jsonl"), "").unwrap();
        let error = Recording::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("record.jsonl") && error.contains("line 2"), "{error}");
        assert!(Recording::open(Path::new("no/such")).unwrap_err().to_string().contains("record.jsonl"));
    }
}
