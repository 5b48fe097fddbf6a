//! Where decisions go beside standard output: overlays, a page, a recording.

use super::Args;
use crate::output::OutputFolder;
use anyhow::{Context as _, bail};
use image::RgbImage;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use steropes_watch::{Calibration, Decision, Event, Page, Recorder, Seen, Watch, overlay};

/// Frames a second of a film.
const FILM_RATE: f64 = 15.0;

/// Everything that a decision is written to.
pub(super) struct Outputs {
    recorder: Option<Recorder>,
    page: Option<Page>,
    pictures: Option<Pictures>,
}

enum Pictures {
    Folder(PathBuf),
    Film(Film),
}

struct Film {
    program: PathBuf,
    place: PathBuf,
    child: Option<Child>,
    /// The picture that is shown until the next one, and since when.
    shown: Option<(RgbImage, f64)>,
    written: u64,
    start: f64,
}

impl Outputs {
    pub(super) fn open(args: &Args, calibration: Option<&Calibration>) -> anyhow::Result<Self> {
        let record = |folder: &Path| -> anyhow::Result<Recorder> {
            new_folder(folder, args.force)?;
            Ok(Recorder::create(folder, calibration)?)
        };
        let recorder = args.record.as_deref().map(record).transpose()?;
        let page = args.page.map(Page::serve).transpose()?;
        if let Some(page) = &page {
            log::warn!("the page is at {}", page.address());
        }
        let is_film =
            |place: &Path| place.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("mp4"));
        let pictures = match &args.overlay {
            None => None,
            Some(place) if is_film(place) => {
                if place.exists() && !args.force {
                    bail!(
                        "`{}` exists: choose another name or allow replacing it with --force",
                        place.display()
                    );
                }
                let program = args
                    .frames
                    .ffmpeg
                    .as_ref()
                    .map_or_else(|| "ffmpeg".into(), |folder| folder.join("ffmpeg"));
                let check = Command::new(&program)
                    .arg("-version")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                if !check.is_ok_and(|status| status.success()) {
                    bail!(
                        "`{}` needs ffmpeg, which is not there: install it, give --ffmpeg FOLDER, or name a folder for pictures",
                        place.display()
                    );
                }
                Some(Pictures::Film(Film {
                    program,
                    place: place.clone(),
                    child: None,
                    shown: None,
                    written: 0,
                    start: 0.0,
                }))
            }
            Some(folder) => {
                new_folder(folder, args.force)?;
                Some(Pictures::Folder(folder.clone()))
            }
        };
        Ok(Self { recorder, page, pictures })
    }

    pub(super) fn add(
        &mut self,
        event: &Event,
        frame: Option<&RgbImage>,
        seen: Option<(&Watch, &Seen)>,
        decision: &Decision,
    ) -> anyhow::Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.add(event, frame, decision)?;
        }
        if self.page.is_none() && self.pictures.is_none() {
            return Ok(());
        }
        let picture = match (frame, seen) {
            (Some(frame), Some((watch, seen))) => {
                let map = watch.map([frame.width(), frame.height()])?;
                Some(overlay(frame, &map, watch.eye(), watch.calibration(), Some(seen), decision))
            }
            _ => None,
        };
        if let Some(page) = &self.page {
            page.show(decision, picture.as_ref());
        }
        let Some(picture) = picture else { return Ok(()) };
        match &mut self.pictures {
            None => Ok(()),
            Some(Pictures::Folder(folder)) => {
                let place = folder.join(format!("{:08}.png", decision.frame.unwrap_or_default()));
                picture.save(&place).with_context(|| format!("writing `{}`", place.display()))
            }
            Some(Pictures::Film(film)) => film.add(picture, decision.time),
        }
    }

    /// Ends a film.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self.pictures {
            Some(Pictures::Film(film)) => film.finish(),
            _ => Ok(()),
        }
    }
}

impl Film {
    /// Shows the picture before until `time`, and this one from then on.
    fn add(&mut self, picture: RgbImage, time: f64) -> anyhow::Result<()> {
        if self.child.is_none() {
            self.start = time;
            self.child = Some(self.spawn(&picture)?);
        }
        self.show_until(time)?;
        self.shown = Some((picture, time));
        Ok(())
    }

    fn spawn(&self, picture: &RgbImage) -> anyhow::Result<Child> {
        let size = format!("{}x{}", picture.width(), picture.height());
        let rate = FILM_RATE.to_string();
        let input =
            ["-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", &size, "-r", &rate, "-i", "-"];
        // Coders take even sides only.
        let coding =
            ["-vf", "crop=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p", "-movflags", "+faststart"];
        let mut command = Command::new(&self.program);
        command.args(input).args(coding).arg(&self.place).stdin(Stdio::piped()).stdout(Stdio::null());
        command.spawn().with_context(|| format!("starting `{}`", self.program.display()))
    }

    fn show_until(&mut self, time: f64) -> anyhow::Result<()> {
        let Some((picture, _)) = &self.shown else { return Ok(()) };
        let due = ((time - self.start) * FILM_RATE).round() as u64;
        let input =
            self.child.as_mut().and_then(|child| child.stdin.as_mut()).context("ffmpeg takes no pictures")?;
        while self.written < due {
            input.write_all(picture.as_raw()).context("ffmpeg ended early")?;
            self.written += 1;
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<()> {
        let last = self.shown.as_ref().map(|(_, time)| *time);
        if let Some(time) = last {
            self.show_until(time + 1.0 / FILM_RATE)?;
        }
        let Some(mut child) = self.child else { return Ok(()) };
        drop(child.stdin.take());
        let status = child.wait().context("waiting for ffmpeg")?;
        if !status.success() {
            bail!("ffmpeg could not write `{}`: {status}", self.place.display());
        }
        Ok(())
    }
}

/// Makes sure that a folder is new, or may be replaced.
fn new_folder(folder: &Path, force: bool) -> anyhow::Result<()> {
    OutputFolder::create(folder, force)?.finish()
}
