//! Whether a camera's pictures are fit to decide on.

use crate::Noise;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use steropes_video::{Frame, FrameSource, Stopper, VideoError};

/// Columns and rows of the grid on which a picture is judged.
const GRID: [u32; 2] = [160, 90];
/// Mean level below which a picture is dark.
const DARK: f64 = 12.0;
/// Level from which a pixel is too bright to show anything.
const BRIGHT: f64 = 250.0;
/// Standard deviation of levels below which a picture shows nothing.
const FLAT: f64 = 4.0;
/// One in so many pixels is an edge.
const EDGES: usize = 25;
/// Share of the usual sharpness below which a picture is blurred: edges two and a half times as wide.
const SOFT: f64 = 0.4;
/// Ratio of mean levels of two frames that is a step of the exposure.
const STEP: f64 = 1.35;
/// Seconds without any change after which a picture is frozen.
const FROZEN: f64 = 0.2;

/// What can be wrong with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Too dark to show anything.
    Dark,
    /// Most of it is too bright to show anything.
    Glare,
    /// Hardly any contrast: a covered lens, fog, a wall right before it.
    Flat,
    /// The same picture for too long.
    Frozen,
    /// Much less sharp than this camera's pictures are, or were a moment ago.
    Blurred,
    /// The brightness has just jumped.
    ExposureStep,
}

/// Judges pictures in the order of time.
#[derive(Clone, Debug)]
pub struct Health {
    noise: Noise,
    last: Option<Seen>,
    /// When the picture last changed.
    changed: f64,
    /// Sharpness of good pictures so far, slowly forgotten.
    usual: f64,
}

#[derive(Clone, Debug)]
struct Seen {
    levels: Vec<f64>,
    mean: f64,
    /// Second over first differences of levels at the strongest edges: about 1 for a step, 1 over its width in pixels for a soft one.
    edges: f64,
}

/// Numbers of a picture that its faults follow from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Vitals {
    /// Mean level, 0 to 255.
    pub level: f64,
    /// Standard deviation of levels.
    pub contrast: f64,
    /// Second over first differences of neighbouring pixels at the strongest edges: near 1 for sharp ones, however much or little a picture shows.
    pub sharpness: f64,
    /// Mean magnitude of the difference from the frame before; `None` for the first.
    pub difference: Option<f64>,
}

/// What is wrong with a frame, and the numbers that it follows from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Worst first; none for a sound one.
    pub faults: Vec<Fault>,
    /// Rounded to three decimals, so that text keeps them exactly.
    pub vitals: Vitals,
}

/// A source whose frames are judged as they come, those that nobody looks at, too: a camera breaks while the network is busy.
pub struct Judging<S> {
    source: S,
    health: Health,
    judged: Arc<Mutex<BTreeMap<u64, Judged>>>,
}

/// What was said of frames that came; shared with the source.
#[derive(Clone, Debug, Default)]
pub struct Judgements(Arc<Mutex<BTreeMap<u64, Judged>>>);

impl Judgements {
    /// What was said of a frame; those before it are forgotten.
    pub fn take(&self, index: u64) -> Option<Judged> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = all.split_off(&index);
        *all = later;
        all.remove(&index)
    }
}

impl<S: FrameSource> Judging<S> {
    /// Judges the frames of `source`; and where to ask.
    pub fn new(source: S, noise: &Noise) -> (Self, Judgements) {
        let judged = Arc::default();
        let judgements = Judgements(Arc::clone(&judged));
        (Self { source, health: Health::new(noise), judged }, judgements)
    }
}

impl<S: FrameSource> FrameSource for Judging<S> {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        let frame = self.source.next_frame()?;
        if let Some(frame) = &frame {
            let judged = self.health.judge(&frame.image, frame.time.as_secs_f64());
            self.judged.lock().unwrap_or_else(PoisonError::into_inner).insert(frame.index, judged);
        }
        Ok(frame)
    }

    fn is_live(&self) -> bool {
        self.source.is_live()
    }

    fn stopper(&self) -> Option<Stopper> {
        self.source.stopper()
    }
}

impl Health {
    /// Nothing seen yet.
    pub fn new(noise: &Noise) -> Self {
        Self { noise: noise.clone(), last: None, changed: 0.0, usual: noise.sharpness }
    }

    /// The faults of a frame taken at `time` seconds, and the numbers they follow from.
    pub fn judge(&mut self, frame: &RgbImage, time: f64) -> Judged {
        let seen = Seen::new(frame);
        let spread =
            seen.levels.iter().map(|l| (l - seen.mean).powi(2)).sum::<f64>() / seen.levels.len() as f64;
        let contrast = spread.sqrt();
        let sharpness = seen.edges;
        let difference = self.last.as_ref().map(|last| last.difference(&seen));
        let still = difference.is_some_and(|d| d <= 0.5 * self.noise.difference);
        if !still {
            self.changed = time;
        }
        let mut faults = Vec::new();
        let mut check = |wrong: bool, fault: Fault| {
            if wrong {
                faults.push(fault);
            }
        };
        let bright = seen.levels.iter().filter(|l| **l >= BRIGHT).count() as f64;
        let dark = seen.mean < DARK;
        let flat = contrast < FLAT;
        check(dark, Fault::Dark);
        check(bright > 0.6 * seen.levels.len() as f64, Fault::Glare);
        check(flat && !dark, Fault::Flat);
        check(still && time - self.changed >= FROZEN, Fault::Frozen);
        check(!flat && !dark && sharpness < SOFT * self.usual, Fault::Blurred);
        let jump = self.last.as_ref().map_or(1.0, |last| (seen.mean + 1.0) / (last.mean + 1.0));
        check(!(1.0 / STEP..STEP).contains(&jump), Fault::ExposureStep);
        if faults.is_empty() {
            self.usual = if self.usual == 0.0 { sharpness } else { 0.98 * self.usual + 0.02 * sharpness };
        }
        let round = |v: f64| (v * 1e3).round() / 1e3;
        let vitals = Vitals {
            level: round(seen.mean),
            contrast: round(contrast),
            sharpness: round(sharpness),
            difference: difference.filter(|d| d.is_finite()).map(round),
        };
        self.last = Some(seen);
        Judged { faults, vitals }
    }
}

impl Seen {
    /// Looks at the pixel in the middle of each cell and at its neighbours, so that the cost does not depend on the size of a frame.
    fn new(frame: &RgbImage) -> Self {
        let [width, height] = [frame.width(), frame.height()];
        let [columns, rows] = [GRID[0].min(width), GRID[1].min(height)];
        let level = |x: u32, y: u32| {
            let p = frame.get_pixel(x.min(width - 1), y.min(height - 1)).0;
            0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2])
        };
        let at = |k: u32, cells: u32, side: u32| (2 * k + 1) * side / (2 * cells);
        let (mut levels, mut steps) = (Vec::with_capacity((columns * rows) as usize), Vec::new());
        for row in 0..rows {
            for column in 0..columns {
                let (x, y) = (at(column, columns, width), at(row, rows, height));
                let here = level(x, y);
                levels.push(here);
                for [before, after] in [
                    [level(x.saturating_sub(1), y), level(x + 1, y)],
                    [level(x, y.saturating_sub(1)), level(x, y + 1)],
                ] {
                    steps.push([
                        (before - here).abs().max((after - here).abs()),
                        (before - 2.0 * here + after).abs(),
                    ]);
                }
            }
        }
        steps.sort_by(|a, b| b[0].total_cmp(&a[0]));
        let strongest = &steps[..steps.len().div_ceil(EDGES)];
        let sum = |k: usize| strongest.iter().map(|step| step[k]).sum::<f64>();
        let mean = levels.iter().sum::<f64>() / levels.len() as f64;
        Self { levels, mean, edges: sum(1) / sum(0).max(1e-9) }
    }

    fn difference(&self, other: &Self) -> f64 {
        if self.levels.len() != other.levels.len() {
            return f64::INFINITY;
        }
        let sum: f64 = self.levels.iter().zip(&other.levels).map(|(a, b)| (a - b).abs()).sum();
        sum / self.levels.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Rgb, imageops};

    /// A textured picture; `shift` moves it, `gain` makes it brighter, and noise differs from seed to seed.
    fn picture(shift: u32, gain: f64, seed: u32) -> RgbImage {
        let hash = |a: u32, b: u32, c: u32| {
            let h = (a.wrapping_mul(0x9E37_79B9) ^ b.wrapping_mul(0x85EB_CA6B) ^ c).wrapping_mul(0xC2B2_AE35);
            f64::from((h ^ (h >> 15)) & 0xFF)
        };
        RgbImage::from_fn(640, 360, |x, y| {
            let level = 60.0 + 0.35 * hash((x + shift) / 8, y / 8, 1) + 0.01 * hash(x, y, seed);
            Rgb([(gain * level).clamp(0.0, 255.0) as u8; 3])
        })
    }

    fn judge(frames: &[RgbImage]) -> Vec<Fault> {
        let mut health = Health::new(&Noise::default());
        let judged = frames.iter().enumerate().map(|(i, frame)| health.judge(frame, i as f64 / 15.0).faults);
        judged.last().unwrap_or_default()
    }

    fn moving(count: u32) -> Vec<RgbImage> {
        (0..count).map(|i| picture(i, 1.0, i)).collect()
    }

    #[test]
    fn a_moving_picture_is_sound() {
        for count in 1..8 {
            assert_eq!(judge(&moving(count)), [], "{count} frames");
        }
    }

    #[test]
    fn what_shows_nothing_has_its_fault() {
        let after = |last: RgbImage| {
            let mut frames = moving(5);
            frames.extend([last.clone(), last]);
            judge(&frames)
        };
        assert!(after(RgbImage::new(640, 360)).contains(&Fault::Dark));
        assert!(after(RgbImage::from_pixel(640, 360, Rgb([255; 3]))).contains(&Fault::Glare));
        assert!(after(RgbImage::from_pixel(640, 360, Rgb([120; 3]))).contains(&Fault::Flat));
        assert_eq!(after(imageops::blur(&picture(5, 1.0, 5), 6.0)), [Fault::Blurred]);
    }

    #[test]
    fn a_picture_that_stands_still_is_frozen_after_its_time() {
        let mut frames = moving(4);
        let last = frames[3].clone();
        frames.extend([last.clone(), last.clone()]);
        assert_eq!(judge(&frames), [], "two frames later is 0.13 s");
        frames.push(last);
        assert_eq!(judge(&frames), [Fault::Frozen]);
        // Noise alone is enough for a camera that stands.
        let standing: Vec<_> = (0..9).map(|i| picture(0, 1.0, i)).collect();
        assert_eq!(judge(&standing), []);
    }

    #[test]
    fn a_step_of_the_exposure_shows_in_its_frame_only() {
        let mut frames = moving(4);
        frames.push(picture(4, 1.6, 4));
        assert_eq!(judge(&frames), [Fault::ExposureStep]);
        frames.push(picture(5, 1.6, 5));
        assert_eq!(judge(&frames), []);
        // A slow automatic exposure is none.
        let slow: Vec<_> = (0..9).map(|i| picture(i, 1.0 + 0.05 * f64::from(i), i)).collect();
        assert_eq!(judge(&slow), []);
    }
}
