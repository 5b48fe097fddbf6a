//! A video predictor at work: what it expected of the newest frames, beside what they are.

use crate::{Judged, Surprise, WatchError};
use image::RgbImage;
use std::collections::VecDeque;
use std::path::Path;
use steropes_models::Precision;
use steropes_models::vjepa2::preprocess::{Crop, Placement, Preprocess, Resampling};
use steropes_models::vjepa2::{Layout, Model, OpenOptions, Predictor, Tokens};
use steropes_tensor::Device;
use steropes_testkit::floats;

/// Seconds between frames that the predictor is shown: 4 a second, as in its training.
const STEP: f64 = 0.25;
/// By so much a frame may come before it is due, seconds.
const EARLY: f64 = 1e-3;
/// Seconds between two frames after which they are of one clip no more.
const LONGEST_GAP: f64 = 1.0;
/// Tubelets of a clip: those that are seen, and the newest, which is predicted.
const TUBELETS: usize = 4;
/// Passes that a cell is compared with, half a minute.
const HISTORY: usize = 60;
/// Fewest of them from which a cell has something usual.
const LEAST_HISTORY: usize = 8;
/// Standard deviation of a normal distribution whose median absolute deviation is 1.
const NORMAL: f64 = 1.4826;
/// Least spread of a cell, as a share of its median: what is closer to it than a few of these is as usual, however still the camera stands.
const LEAST_SPREAD: f64 = 0.05;

/// Predicts the newest tubelet of a camera's clip from those before it and says how wrong that was.
///
/// Frames are taken by their time stamps, 4 a second or as many as there are, each with its whole width (256 x 448 of 16:9 for a network
/// of 256). The encoder sees the tubelets before the newest; the mask predictor says what it would say about the newest; that is compared
/// with what it does say when it sees all of them, each token normalised without factors. A cell's distance is the mean over channels of
/// the absolute difference, and its surprise how far that is above what was usual for this cell in the last half minute.
///
/// The published predictor was trained and is used on square grids only. Here it is given the rows and columns of the clip as the encoder
/// is, which is the same on a square.
#[derive(Debug)]
pub struct Foresight {
    model: Model,
    preprocess: Preprocess,
    placement: Option<Placement>,
    /// Values of the frames of the tubelet that is not complete yet.
    frames: Vec<Vec<f32>>,
    /// Embedded tubelets, the oldest first.
    clip: VecDeque<Tokens>,
    /// When the last frame was taken and when the next one is due, seconds.
    taken: Option<[f64; 2]>,
    usual: Usual,
    newest: Surprise,
}

impl Foresight {
    /// A watch's predictor from a file or folder with V-JEPA 2.0 weights.
    ///
    /// # Errors
    /// [`WatchError::Model`], and as [`Foresight::new`].
    pub fn open(path: &Path, device: &Device, precision: Precision) -> Result<Self, WatchError> {
        Self::new(Model::open(path, device, precision, &OpenOptions::default())?)
    }

    /// A watch's predictor.
    ///
    /// # Errors
    /// [`WatchError::RandomWeights`] if nobody has trained the network, [`WatchError::NoPredictor`] if it has no mask predictor.
    pub fn new(model: Model) -> Result<Self, WatchError> {
        let name = model.info().name.clone();
        if model.info().is_untrained {
            let why = "the last normalisation has gains of 1 and shifts of 0".to_owned();
            return Err(WatchError::RandomWeights { model: name, why });
        }
        if model.predictor().is_none() {
            return Err(WatchError::NoPredictor { model: name });
        }
        let resampling = match model.source().layout() {
            Layout::HuggingFace => Resampling::Hf,
            Layout::Official => Resampling::MetaEval,
        };
        let preprocess = Preprocess { resampling, size: model.config().crop_size, crop: Crop::Full };
        Ok(Self {
            model,
            preprocess,
            placement: None,
            frames: Vec::new(),
            clip: VecDeque::new(),
            taken: None,
            usual: Usual::default(),
            newest: Surprise::default(),
        })
    }

    /// Takes a frame of `time` seconds, if one is due, and gives the newest surprise: that of this frame, or of an earlier one. After a
    /// bad picture or a gap a clip begins anew; what is usual is kept.
    ///
    /// # Errors
    /// [`WatchError::Model`] if the device fails, [`WatchError::Text`] for frames that cannot be used or features that are no numbers.
    pub fn see(&mut self, time: f64, frame: &RgbImage, judged: &Judged) -> Result<Surprise, WatchError> {
        if !judged.faults.is_empty() {
            self.forget();
            return Ok(self.newest.clone());
        }
        let size = [frame.height() as usize, frame.width() as usize];
        let is_other_size = self.placement.is_some_and(|placement| placement.frame != size);
        if is_other_size || self.taken.is_some_and(|[last, _]| !(0.0..=LONGEST_GAP).contains(&(time - last)))
        {
            self.forget();
        }
        let due = self.taken.map_or(time, |[_, due]| due);
        if time < due - EARLY {
            return Ok(self.newest.clone());
        }
        // A frame that is late keeps the beat; one that is later than a step begins another.
        let next = if time < due + STEP { due + STEP } else { time + STEP };
        self.taken = Some([time, next]);
        let placement = self.placement(size)?;
        let picture = self.preprocess.frame(frame.as_raw(), size, &placement);
        self.frames.push(self.preprocess.values(&picture));
        if self.frames.len() == self.model.config().tubelet {
            self.next_tubelet(&placement, time)?;
        }
        Ok(self.newest.clone())
    }

    /// Forgets the clip and its surprise, not what is usual.
    pub fn forget(&mut self) {
        self.frames.clear();
        self.clip.clear();
        self.placement = None;
        self.taken = None;
        self.newest = Surprise::default();
    }

    /// Where the predictor's picture lies in frames of this size.
    fn placement(&mut self, size: [usize; 2]) -> Result<Placement, WatchError> {
        if let Some(placement) = self.placement {
            return Ok(placement);
        }
        let unusable = |problem: String| WatchError::Text { file: "frame".to_owned(), problem };
        let placements = self.preprocess.placements(size).map_err(|error| unusable(error.to_string()))?;
        let first = *placements.first().ok_or_else(|| unusable("shows the predictor nothing".to_owned()))?;
        self.placement = Some(first);
        Ok(first)
    }

    /// Embeds the tubelet that is complete, and judges it if there are enough before it.
    fn next_tubelet(&mut self, placement: &Placement, time: f64) -> Result<(), WatchError> {
        let values = self.frames.concat();
        let [height, width] = placement.size;
        let tubelet = self.model.clip([1, self.frames.len(), height, width], &values)?;
        self.frames.clear();
        self.clip.push_back(self.model.embed(&tubelet)?);
        if self.clip.len() > TUBELETS {
            self.clip.pop_front();
        }
        if self.clip.len() < TUBELETS {
            return Ok(());
        }
        let distances = self.distances()?;
        let grid = self.clip[0].grid();
        self.newest = Surprise {
            time_ns: (time.max(0.0) * 1e9).round() as u64,
            resized: placement.resized,
            origin: placement.origin,
            grid: [grid.rows, grid.columns],
            patch: self.model.config().patch_size,
            hundredths: self.usual.judge(&distances),
        };
        Ok(())
    }

    /// For each cell of the newest tubelet, the mean over channels of the absolute difference of what was predicted and what is.
    fn distances(&self) -> Result<Vec<f64>, WatchError> {
        let all: Vec<&Tokens> = self.clip.iter().collect();
        let (whole, past) = (Tokens::join_in_time(&all)?, Tokens::join_in_time(&all[..TUBELETS - 1])?);
        let (first, end) = (past.count() as u32, whole.count() as u32);
        let context = self.model.encode(past)?;
        let predicted = self.model.predict(&context, &[(first..end).collect()], Predictor::MASK_INDEX)?;
        let seen = self.model.encode(whole)?.normalized()?;
        let width = predicted.width();
        let unusable = |problem: String| WatchError::Text { file: self.model.info().name.clone(), problem };
        let predicted = floats(predicted.values()).map_err(unusable)?;
        let seen = floats(&seen.tubelet(TUBELETS - 1)?).map_err(unusable)?;
        let difference = |(p, s): (&[f32], &[f32])| {
            let sum: f64 = p.iter().zip(s).map(|(p, s)| (f64::from(*p) - f64::from(*s)).abs()).sum();
            sum / width as f64
        };
        let cells = predicted.chunks_exact(width).zip(seen.chunks_exact(width));
        let distances: Vec<f64> = cells.map(difference).collect();
        if distances.iter().any(|distance| !distance.is_finite()) {
            return Err(unusable("its features hold NaN or infinity: try --precision f32".to_owned()));
        }
        Ok(distances)
    }
}

/// What is usual for each cell.
#[derive(Clone, Debug, Default)]
struct Usual {
    cells: Vec<VecDeque<f64>>,
}

impl Usual {
    /// How far each value is above the cell's median, in hundredths of its spread, and none before there is enough to compare with; then
    /// these values count, too.
    fn judge(&mut self, values: &[f64]) -> Vec<i32> {
        if self.cells.len() != values.len() {
            self.cells = vec![VecDeque::new(); values.len()];
        }
        let has_enough = self.cells.first().is_some_and(|past| past.len() >= LEAST_HISTORY);
        let judged = self.cells.iter().zip(values).map(|(past, &value)| hundredths(past, value));
        let judged = if has_enough { judged.collect() } else { Vec::new() };
        for (past, &value) in self.cells.iter_mut().zip(values) {
            past.push_back(value);
            if past.len() > HISTORY {
                past.pop_front();
            }
        }
        judged
    }
}

fn hundredths(past: &VecDeque<f64>, value: f64) -> i32 {
    let usual = median(past.iter().copied());
    let spread = NORMAL * median(past.iter().map(|v| (v - usual).abs()));
    let least = (LEAST_SPREAD * usual).max(f64::MIN_POSITIVE);
    // What does not fit an i32 becomes its largest value.
    (100.0 * (value - usual) / spread.max(least)).round() as i32
}

/// The middle value, or the upper of the two in the middle; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fault, SURPRISING};
    use image::Rgb;
    use steropes_models::mast3r::synthetic::weight_file;
    use steropes_models::vjepa2::Source;
    use steropes_models::vjepa2::synthetic::{Extents, Version, checkpoint, encoder};
    use steropes_scene::photo::{InputFormat, Orientation, PixelMap};
    use steropes_tensor::DType;

    fn load(bytes: Vec<u8>) -> Result<Foresight, WatchError> {
        let options = OpenOptions {
            heads: Some(Extents::TINY.encoder.heads),
            predictor_heads: Some(Extents::TINY.predictor.heads),
            crop_size: Some(64),
            ..OpenOptions::default()
        };
        let source = Source::from_bytes("tiny", None, bytes, options.encoder)?;
        Foresight::new(Model::load("tiny".to_owned(), source, &Device::cpu(), Precision::F32, &options)?)
    }

    fn whole_file() -> Vec<u8> {
        weight_file("foresight", &checkpoint(&Extents::TINY, Version::V2_0), DType::F32)
    }

    fn tiny() -> Foresight {
        load(whole_file()).unwrap()
    }

    /// A network that predicts the same for all places, what the encoder says of a plain picture: it knows the quiet frames of these tests.
    fn of_quiet() -> Foresight {
        let model = tiny().model;
        let plain = Preprocess { resampling: Resampling::Hf, size: 64, crop: Crop::Full }
            .values(&vec![LEVEL as u8; 8 * 64 * 112 * 3]);
        let tokens = model.features(&model.clip([1, 8, 64, 112], &plain).unwrap()).unwrap();
        let features = floats(tokens.normalized().unwrap().values()).unwrap();
        let mean =
            |c: usize| features.iter().skip(c).step_by(tokens.width()).sum::<f32>() / tokens.count() as f32;
        let mut file = whole_file();
        fill(&mut file, "predictor.backbone.predictor_proj.weight", &[0.0]);
        let means: Vec<f32> = (0..tokens.width()).map(mean).collect();
        fill(&mut file, "predictor.backbone.predictor_proj.bias", &means);
        load(file).unwrap()
    }

    /// Overwrites the values of a tensor in a safetensors file, again and again with these.
    fn fill(file: &mut [u8], tensor: &str, values: &[f32]) {
        let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&file[8..8 + length]).unwrap();
        let at = |k: usize| header[tensor]["data_offsets"][k].as_u64().unwrap() as usize + 8 + length;
        for (bytes, value) in file[at(0)..at(1)].chunks_exact_mut(4).zip(values.iter().cycle()) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }

    /// Level of a plain picture.
    const LEVEL: u32 = 110;

    /// A plain picture with the camera's noise, `seed`, and something striped at its left side.
    fn frame(seed: u32, has_object: bool) -> RgbImage {
        RgbImage::from_fn(320, 180, |x, y| {
            let noise = (x.wrapping_mul(7919) ^ y.wrapping_mul(104_729) ^ seed.wrapping_mul(65_537)) >> 3 & 7;
            let level = if has_object && x < 100 && y > 40 { 250 - 200 * (y / 20 % 2) } else { LEVEL };
            Rgb([level + noise, level, level - noise / 2].map(|v| v.min(255) as u8))
        })
    }

    /// Shows frames at 4 a second from number `from` on; the surprise after the last.
    fn show(foresight: &mut Foresight, from: u32, frames: &[RgbImage]) -> Surprise {
        let mut last = Surprise::default();
        for (k, frame) in frames.iter().enumerate() {
            let time = STEP * (f64::from(from) + k as f64);
            last = foresight.see(time, frame, &Judged::default()).unwrap();
        }
        last
    }

    /// Thirds of the picture as zones.
    fn thirds(surprise: &Surprise) -> [f64; 3] {
        let format = InputFormat { preset: 320, patch: 16, square_ok: false };
        let map = PixelMap::new(Path::new("frame"), [320, 180], Orientation::NoTransforms, &format).unwrap();
        let [width, height] = map.network_size.map(|side| side as usize);
        let lanes: Vec<Option<u8>> =
            (0..width * height).map(|i| Some((i % width * 3 / width) as u8)).collect();
        surprise.zones(&lanes, &map).map(|value| value.unwrap())
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        let mut foresight = tiny();
        let frames: Vec<RgbImage> = (0..8).map(|k| frame(k, k > 4)).collect();
        show(&mut foresight, 0, &frames);
        let found = foresight.distances().unwrap();
        // The same from the whole clip: 64 x 113 pixels, of which the 112 in the middle are seen.
        let preprocess = Preprocess { resampling: Resampling::MetaEval, size: 64, crop: Crop::Full };
        let placement = preprocess.placements([180, 320]).unwrap()[0];
        let pictures = frames.iter().map(|f| preprocess.frame(f.as_raw(), [180, 320], &placement));
        let model = &foresight.model;
        let clip = model.clip([1, 8, 64, 112], &preprocess.values(&pictures.collect::<Vec<_>>().concat()));
        let whole = model.embed(&clip.unwrap()).unwrap();
        let [seen, newest] = [(0..84).collect(), (84..112).collect::<Vec<u32>>()];
        let context = model.encode(whole.subset(&[seen]).unwrap()).unwrap();
        let predicted = floats(model.predict(&context, &[newest], 1).unwrap().values()).unwrap();
        let features = floats(model.encode(whole).unwrap().values()).unwrap();
        for (cell, distance) in found.iter().enumerate() {
            let of = |values: &[f32], row: usize| -> Vec<f64> {
                values[32 * row..32 * (row + 1)].iter().map(|v| f64::from(*v)).collect()
            };
            let (expected, token) = (of(&predicted, cell), of(&features, 84 + cell));
            let mean = token.iter().sum::<f64>() / 32.0;
            let variance = token.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 32.0;
            let target = token.iter().map(|v| (v - mean) / (variance + 1e-5).sqrt());
            let want = expected.iter().zip(target).map(|(p, t)| (p - t).abs()).sum::<f64>() / 32.0;
            assert!((distance - want).abs() < 1e-5, "{cell}: {distance} is not {want}");
        }
    }

    #[test]
    fn a_constant_video_is_no_surprise() {
        let mut foresight = tiny();
        let still = frame(0, false);
        // Eight frames are a clip, each pass takes two more, and the ninth pass has eight to compare with.
        let before = show(&mut foresight, 0, &vec![still.clone(); 23]);
        assert_eq!((before.hundredths.len(), before.grid), (0, [4, 7]), "not enough history");
        let after = show(&mut foresight, 23, &vec![still; 5]);
        assert_eq!(after.hundredths, vec![0; 28]);
        assert_eq!(after.time_ns, 6_750_000_000);
    }

    #[test]
    fn a_sudden_object_is_one_in_its_zone() {
        let mut foresight = of_quiet();
        let quiet: Vec<RgbImage> = (0..40).map(|k| frame(k, false)).collect();
        let before = thirds(&show(&mut foresight, 0, &quiet));
        let sudden = thirds(&show(&mut foresight, 40, &[frame(40, true), frame(41, true)]));
        assert!(before.iter().all(|value| value.abs() < SURPRISING), "{before:?}");
        assert!(sudden[0] > SURPRISING && sudden[0] > 2.0 * sudden[2], "{sudden:?}");
    }

    #[test]
    fn frames_are_taken_by_their_times() {
        let (mut slow, mut fast) = (tiny(), tiny());
        let frames: Vec<RgbImage> = (0..30).map(|k| frame(k, k > 25)).collect();
        let expected = show(&mut slow, 0, &frames);
        // Three frames between those that are due, which are not taken.
        let mut found = Surprise::default();
        for (k, due) in frames.iter().enumerate() {
            for part in 0..4 {
                let shown = if part == 0 { due.clone() } else { frame(1000 + part, true) };
                let time = STEP * (k as f64 + 0.25 * f64::from(part));
                found = fast.see(time, &shown, &Judged::default()).unwrap();
            }
        }
        assert!(!expected.hundredths.is_empty());
        assert_eq!(found, expected);
    }

    #[test]
    fn gaps_and_bad_pictures_begin_a_clip_anew() {
        let mut foresight = tiny();
        let still = frame(0, false);
        let known = show(&mut foresight, 0, &vec![still.clone(); 24]);
        assert!(!known.hundredths.is_empty());
        let bad = Judged { faults: vec![Fault::Dark], ..Judged::default() };
        assert_eq!(foresight.see(6.0, &still, &bad).unwrap(), Surprise::default());
        // What is usual is kept: the first clip after it is judged.
        assert!(show(&mut foresight, 25, &vec![still.clone(); 7]).hundredths.is_empty());
        assert_eq!(show(&mut foresight, 32, std::slice::from_ref(&still)).hundredths, vec![0; 28]);
        assert!(foresight.see(9.3, &still, &Judged::default()).unwrap().hundredths.is_empty(), "a gap");
    }

    #[test]
    fn weights_that_cannot_predict_are_refused_in_a_line() {
        let mut random = whole_file();
        fill(&mut random, "encoder.backbone.norm.weight", &[1.0]);
        fill(&mut random, "encoder.backbone.norm.bias", &[0.0]);
        let error = load(random).unwrap_err().to_string();
        assert!(
            error.contains("`tiny`") && error.contains("look random") && !error.contains('\n'),
            "{error}"
        );
        let encoder = weight_file("foresight", &encoder(&Extents::TINY, Version::V2_0), DType::F32);
        let error = load(encoder).unwrap_err().to_string();
        assert!(error.contains("mask predictor") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn spreads_are_of_the_cell_itself() {
        let mut usual = Usual::default();
        // Medians 5 and 50, absolute deviations 1 and 10 in the middle.
        for k in [3.0, 4.0, 5.0, 6.0, 7.0, 4.0, 5.0, 6.0, 5.0] {
            let judged = usual.judge(&[k, 10.0 * k, 2.0]);
            assert_eq!(judged.is_empty(), usual.cells[0].len() <= LEAST_HISTORY);
        }
        let mut again = usual.clone();
        let by_hand = (100.0 * 3.0 / NORMAL).round() as i32;
        // The third never changed: its least spread is a twentieth of 2.
        assert_eq!(usual.judge(&[8.0, 80.0, 2.3]), [by_hand, by_hand, 300]);
        assert_eq!(again.judge(&[2.0, 20.0, 2.0]), [-by_hand, -by_hand, 0]);
        assert_eq!(again.judge(&[f64::MAX, 50.0, 2.0])[0], i32::MAX);
        (0..100).for_each(|_| drop(again.judge(&[9.0, 0.0, 0.0])));
        assert_eq!(again.cells[0].len(), HISTORY);
    }
}
