//! The score that a well-known demonstration prints as motion, on the same clips.
//!
//! It is the variance of the encoder's features over all tokens of the 16 newest frames, mean over channels, and "OBSTACLE DETECTED" above
//! 0.5. Where its weights cannot be downloaded that demonstration goes on with those that networks begin with; so does this.

use crate::{Clip, Outcome};
use image::RgbImage;
use rayon::prelude::*;
use serde_json::{Map, json};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use steropes_models::Precision;
use steropes_models::vjepa2::preprocess::{Crop, Preprocess, Resampling};
use steropes_models::vjepa2::synthetic::{Extents, Version, encoder};
use steropes_models::vjepa2::{Model, OpenOptions};
use steropes_tensor::Device;
use steropes_testkit::floats;
use steropes_testkit::inputs::{fnv1a, uniform_at};

/// Frames that a score is of.
const FRAMES: usize = 16;
/// Score from which it says that there is an obstacle.
const DETECTED: f64 = 0.5;
/// Scores of a clip.
const SCORES: usize = 3;
/// Distance within which something counts as an obstacle in the table, metres.
const NEAR: f64 = 1.5;

/// The network and how it sees frames.
pub(crate) struct Other {
    model: Model,
    preprocess: Preprocess,
}

impl Other {
    /// ViT-L with the weights that such networks begin with.
    pub(crate) fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let place = folder.path().join("initial.safetensors");
        write_initial(&place)?;
        let model = Model::open(&place, &Device::cpu(), Precision::Auto, &OpenOptions::default())?;
        let preprocess = Preprocess { resampling: Resampling::MetaTensor, size: 256, crop: Crop::Centre };
        Ok(Self { model, preprocess })
    }

    /// A line of the table: the scores of a clip, what they would say, and what is true then.
    pub(crate) fn row(&self, clip: &Clip) -> Outcome<String> {
        let last = clip.frames();
        if last < FRAMES {
            return Err(format!("{} has fewer than {FRAMES} frames", clip.name).into());
        }
        let mut scores = Vec::new();
        let mut truth = Vec::new();
        for k in 0..SCORES {
            let end = FRAMES + (last - FRAMES) * k / (SCORES - 1);
            let mut frames = Vec::with_capacity(FRAMES);
            let mut nearest = None;
            for index in end - FRAMES..end {
                let (image, distance) = clip.frame(index)?;
                frames.push(image);
                nearest = distance;
            }
            scores.push(self.score(&frames)?);
            truth.push(nearest);
        }
        let says = |score: &f64| if *score > DETECTED { "OBSTACLE DETECTED" } else { "Clear" };
        let is = |distance: &Option<f64>| match distance {
            Some(d) if *d <= NEAR => format!("{d:.2} m (near)"),
            Some(d) => format!("{d:.2} m"),
            None => "free".to_owned(),
        };
        let (low, high) = scores.iter().fold((f64::MAX, f64::MIN), |(a, b), s| (a.min(*s), b.max(*s)));
        let words = |all: Vec<String>| all.join(", ");
        Ok(format!(
            "| {} | {low:.3} to {high:.3} | {} | {} |",
            clip.name,
            words(scores.iter().map(|score| says(score).to_owned()).collect()),
            words(truth.iter().map(is).collect()),
        ))
    }

    /// Mean over channels of the variance over all tokens.
    fn score(&self, frames: &[RgbImage]) -> Outcome<f64> {
        let size = [frames[0].height() as usize, frames[0].width() as usize];
        let placement = self.preprocess.placements(size)?[0];
        let seen = |frame: &RgbImage| {
            self.preprocess.values(&self.preprocess.frame(frame.as_raw(), size, &placement))
        };
        let values: Vec<f32> = frames.iter().flat_map(seen).collect();
        let clip = self.model.clip([1, frames.len(), placement.size[0], placement.size[1]], &values)?;
        let tokens = self.model.features(&clip)?;
        Ok(mean_variance(&floats(tokens.values())?, tokens.width()))
    }
}

/// Mean over columns of the variance over rows, of rows of `width` values.
fn mean_variance(values: &[f32], width: usize) -> f64 {
    let rows = (values.len() / width) as f64;
    let variance = |column: usize| {
        let of_column = || values.iter().skip(column).step_by(width).map(|v| f64::from(*v));
        let mean = of_column().sum::<f64>() / rows;
        of_column().map(|v| (v - mean).powi(2)).sum::<f64>() / (rows - 1.0)
    };
    (0..width).map(variance).sum::<f64>() / width as f64
}

/// The encoder's initial weights as a safetensors file: a normal distribution of deviation 0.02, divided by the root of twice the number of the
/// block where a block adds to its tokens; norms of 1 and no shifts.
fn write_initial(place: &Path) -> Outcome<()> {
    let parameters = encoder(&Extents::LARGE, Version::V2_0);
    let mut header = Map::new();
    let mut end = 0usize;
    for (name, shape) in &parameters {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "F32", "shape": shape, "data_offsets": [start, end] }));
    }
    let header = serde_json::to_string(&header)?;
    let mut file = BufWriter::new(File::create(place)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for (name, shape) in &parameters {
        let values = initial(name, shape.iter().product());
        file.write_all(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())?;
    }
    file.flush()?;
    Ok(())
}

/// The initial values of a tensor.
fn initial(name: &str, count: usize) -> Vec<f32> {
    if name.ends_with("bias") {
        return vec![0.0; count];
    }
    if name.split('.').any(|part| part.starts_with("norm")) {
        return vec![1.0; count];
    }
    let block = name.strip_prefix("blocks.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    let adds = name.ends_with("attn.proj.weight") || name.ends_with("mlp.fc2.weight");
    let depth = block.filter(|_| adds).map_or(1.0, |block| f64::from(2 * (block + 1)).sqrt());
    let hash = fnv1a(name);
    let normal = |i: u64| {
        // Box and Muller, of numbers in -1..1 brought to 0..1.
        let [u, v] = [2 * i, 2 * i + 1].map(|k| 0.5 * (uniform_at(hash, k) + 1.0));
        (-2.0 * u.max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    };
    (0..count as u64).into_par_iter().map(|i| (0.02 * normal(i) / depth) as f32).collect()
}
