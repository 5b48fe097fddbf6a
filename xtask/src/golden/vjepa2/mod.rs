//! The golden cases of V-JEPA 2: generated weights and clips, stored outputs and intermediate results. A manifest has an object
//! `files`, an entry for each file of tensors or weights.

mod ac;
mod checkpoints;
mod encoder;
mod generator;
mod predictor;
mod preprocess;
mod probe;
mod rope;

use super::{Report, TensorFile};
use anyhow::{Context as _, bail};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use steropes_models::Precision;
use steropes_models::mast3r::Trunk;
use steropes_models::mast3r::synthetic::Parameter;
use steropes_models::vjepa2::synthetic::{self, Extents, Version};
use steropes_models::vjepa2::{Clip, Model, OpenOptions, Source};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Tolerance, floats};

/// Runs everything that the manifest of a folder describes, and lists what no part of this program covers.
pub(super) fn run(
    folder: &Path,
    manifest: &Value,
    files: &Map<String, Value>,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let golden = Golden {
        folder,
        salt: manifest["salt"].as_str().unwrap_or_default(),
        files,
        tolerance: tolerance(manifest)?,
        device: report.device(),
    };
    for (name, entry) in files {
        golden.file(name, entry, report).with_context(|| name.clone())?;
    }
    if folder.join("hf_model").is_dir() {
        checkpoints::hugging_face(&golden, report).context("hf_model")?;
    }
    if folder.join("hf_classifier").is_dir() {
        probe::hugging_face(&golden, report).context("hf_classifier")?;
    }
    Ok(())
}

/// The largest error relative to the largest value, in the words of the manifest: the number behind `<=`.
fn tolerance(manifest: &Value) -> anyhow::Result<Tolerance> {
    let text = manifest["tolerance"].as_str().context("`tolerance` is a text")?;
    let number = text.split("<=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let number = number.and_then(|number| number.trim_end_matches([',', ';', '.']).parse().ok());
    Ok(Tolerance::OfLargest(number.with_context(|| format!("a number behind `<=` in `{text}`"))?))
}

/// A folder of golden files with its manifest.
pub(super) struct Golden<'a> {
    folder: &'a Path,
    salt: &'a str,
    files: &'a Map<String, Value>,
    tolerance: Tolerance,
    device: Device,
}

impl Golden<'_> {
    /// One arm for each kind of file.
    fn file(&self, name: &str, entry: &Value, report: &mut Report<'_>) -> anyhow::Result<()> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        if !report.wants(stem) {
            return Ok(());
        }
        match name {
            _ if name.starts_with("rope") => rope::run(&self.open(name, entry)?, self, report),
            _ if name.starts_with("encoder_") => encoder::run(&self.open(name, entry)?, self, report),
            "preprocess.safetensors" => preprocess::run(&self.open(name, entry)?, report),
            "mask_predictor.safetensors" => predictor::run(&self.open(name, entry)?, self, report),
            "probe.safetensors" => probe::run(&self.open(name, entry)?, self, report),
            "probe_tiny.pt" => probe::official(self, name, report),
            "ac_predictor.safetensors" => ac::run(&self.open(name, entry)?, self, report),
            "vjepa2_ac_tiny.pt" => ac::checkpoint(self, name, report),
            "vjepa2_tiny.pt" => checkpoints::training_checkpoint(self, name, report),
            // Read with the checkpoint, and with the folder of Hugging Face's library.
            "target_encoder.safetensors" | "hf_outputs.safetensors" => Ok(()),
            _ => {
                report.not_built(stem);
                Ok(())
            }
        }
    }

    /// The tensors of a file of the folder.
    fn open(&self, name: &str, entry: &Value) -> anyhow::Result<TensorFile> {
        TensorFile::open(&self.path(name), entry)
    }

    /// The tensors of another file of the manifest.
    fn other(&self, name: &str) -> anyhow::Result<TensorFile> {
        let entry = self.files.get(name).with_context(|| format!("`{name}` in the manifest"))?;
        self.open(name, entry)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Compares a result with a stored tensor, of which every `stride`-th token is kept.
    fn close(
        &self,
        report: &mut Report<'_>,
        label: &str,
        got: &Tensor,
        file: &TensorFile,
        (name, stride): (&str, usize),
    ) -> anyhow::Result<()> {
        let &[batch, count, width] = got.shape() else { bail!("{label}: tokens have three extents") };
        let values = floats(got).map_err(anyhow::Error::msg)?;
        let kept: Vec<f32> = values
            .chunks_exact(width)
            .enumerate()
            .filter(|(row, _)| (row % count).is_multiple_of(stride))
            .flat_map(|(_, token)| token.to_vec())
            .collect();
        let (shape, want) = (file.shape(name)?, [batch, count.div_ceil(stride), width]);
        if shape != want {
            report.verdict(label, Err(format!("has shape {want:?}, expected {shape:?}")));
            return Ok(());
        }
        report.close(label, &kept, &file.f64(name)?, self.tolerance);
        Ok(())
    }

    /// A clip of a model from values `[batch, 3, frames, height, width]`.
    fn clip(&self, model: &Model, values: &[f32], shape: [usize; 5]) -> anyhow::Result<Clip> {
        let [batch, channels, frames, height, width] = shape;
        let area = height * width;
        let mut last = Vec::with_capacity(values.len());
        for b in 0..batch {
            for t in 0..frames {
                for p in 0..area {
                    last.extend((0..channels).map(|c| values[((b * channels + c) * frames + t) * area + p]));
                }
            }
        }
        Ok(model.clip([batch, frames, height, width], &last)?)
    }

    /// A network whose weights are generated, below the names of a training checkpoint.
    fn model(
        &self,
        name: &str,
        parts: &[(&str, Vec<Parameter>)],
        options: &OpenOptions,
    ) -> anyhow::Result<Model> {
        let bytes = generator::weight_file(self.salt, parts)?;
        let source = Source::from_bytes(name, None, bytes, options.encoder)?;
        Ok(Model::load(name.to_owned(), source, &self.device, Precision::F32, options)?)
    }
}

/// Extents of the networks, from the `config` of a manifest entry.
struct Network<'a> {
    config: &'a Value,
}

impl Network<'_> {
    fn count(&self, name: &str) -> anyhow::Result<usize> {
        let count = self.config[name].as_u64().map(|n| n as usize);
        count.with_context(|| format!("`{name}` in the config of a file"))
    }

    fn trunk(&self) -> anyhow::Result<Trunk> {
        Ok(Trunk { width: self.count("D")?, depth: self.count("depth")?, heads: self.count("heads")? })
    }

    /// The extents of an encoder; those of a predictor are placeholders.
    fn encoder(&self) -> anyhow::Result<Extents> {
        let encoder = self.trunk()?;
        let ratio = self.config["mlp_ratio"].as_f64().unwrap_or(4.0);
        Ok(Extents { encoder, hidden: (encoder.width as f64 * ratio) as usize, ..Extents::LARGE })
    }

    /// Side of the frames of the training.
    fn crop(&self) -> usize {
        self.config["img"][0].as_u64().unwrap_or(64) as usize
    }

    fn options(&self) -> anyhow::Result<OpenOptions> {
        let heads = Some(self.count("heads")?);
        Ok(OpenOptions { heads, crop_size: Some(self.crop()), ..OpenOptions::default() })
    }
}

/// The tensors of an encoder of the form 2.0.
fn encoder_parts(extents: &Extents) -> Vec<(&'static str, Vec<Parameter>)> {
    vec![("encoder.", synthetic::encoder(extents, Version::V2_0))]
}

/// Lists of numbers, `[lists, numbers]`.
fn lists(file: &TensorFile, name: &str) -> anyhow::Result<Vec<Vec<u32>>> {
    let shape = file.shape(name)?;
    let numbers = file.i64(name)?.into_iter().map(u32::try_from).collect::<Result<Vec<_>, _>>()?;
    Ok(numbers.chunks_exact(shape[shape.len() - 1]).map(<[u32]>::to_vec).collect())
}

/// What the files of predictors store of a run of `depth` blocks: their name for it, and the network's own.
fn taps(depth: u64) -> [(&'static str, String); 5] {
    [
        ("embed", "predictor_embed".to_owned()),
        ("block0", "predictor_blocks.0".to_owned()),
        ("block_last", format!("predictor_blocks.{}", depth - 1)),
        ("norm", "predictor_norm".to_owned()),
        ("out", "out".to_owned()),
    ]
}
