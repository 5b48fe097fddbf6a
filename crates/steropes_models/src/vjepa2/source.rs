//! Weight files of the family, whatever names they give their tensors.

use super::config::Positions;
use crate::settings::parse_json;
use crate::{KnownModel, ModelError};
use serde_json::{Map, Value};
use std::path::Path;
use steropes_nn::{Checkpoint, LoadError, WeightType, Weights};
use steropes_ops::position::rope3d::Rope3dRounding;
use steropes_tensor::Device;

/// Which of the encoders of a training checkpoint is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhichEncoder {
    /// The average over the training if there is one, else the only one.
    #[default]
    Auto,
    /// The average over the training, which published evaluations use: `target_encoder`, or `ema_encoder`.
    Target,
    /// The one that was trained, which conversions to Hugging Face's format hold: `encoder`.
    Online,
}

/// How a network is read.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenOptions {
    /// Which encoder of a training checkpoint.
    pub encoder: WhichEncoder,
    /// Whether the mask predictor is read if there is one.
    pub with_predictor: bool,
    /// Heads of the encoder, where neither its width nor a `config.json` says it.
    pub heads: Option<usize>,
    /// Heads of the predictor, the same.
    pub predictor_heads: Option<usize>,
    /// Side of the frames of the training in pixels, if the file does not say it: 256, or 384 for published files that say so in their name and
    /// for V-JEPA 2.1.
    pub crop_size: Option<usize>,
    /// Where the places of tokens come from: the clip, or as Hugging Face's library has it the size of the training.
    pub positions: Positions,
    /// How the tables of rotary angles are rounded: exactly, or as libraries do that hold them in the type of the weights.
    pub rope_rounding: Rope3dRounding,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            encoder: WhichEncoder::Auto,
            with_predictor: true,
            heads: None,
            predictor_heads: None,
            crop_size: None,
            positions: Positions::Clip,
            rope_rounding: Rope3dRounding::Exact,
        }
    }
}

/// Who named the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// The authors of the network.
    Official,
    /// Hugging Face's library.
    HuggingFace,
}

/// An opened weight file of a V-JEPA 2 network.
#[derive(Debug)]
pub struct Source {
    checkpoint: Checkpoint,
    layout: Layout,
    encoder: String,
    predictor: Option<String>,
    config: Option<Map<String, Value>>,
    published_crop: Option<usize>,
}

/// Where the parts of a file in Hugging Face's names are found in the official ones.
const ENCODER_ROOT: &str = "official encoder";
const PREDICTOR_ROOT: &str = "official predictor";

impl Source {
    /// Opens a `.pt` file, a `.safetensors` file or a folder, each with or without a `config.json` beside or in it. No tensor is read.
    ///
    /// # Errors
    /// [`ModelError::Load`] if it is no weight file, [`ModelError::Config`] if it holds no such encoder.
    pub fn open(path: &Path, which: WhichEncoder) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let config = config_in(folder)?;
        let known = path.file_name().and_then(|name| KnownModel::find(name.to_str()?));
        let published_crop = known.filter(|known| known.name.ends_with("-384")).map(|_| 384);
        Self::of(checkpoint, config, published_crop, which)
    }

    /// A file from its bytes and the text of its `config.json`, if it has one; `name` stands for both in messages.
    ///
    /// # Errors
    /// As [`Source::open`].
    pub fn from_bytes(
        name: &str,
        config: Option<&str>,
        weights: Vec<u8>,
        which: WhichEncoder,
    ) -> Result<Self, ModelError> {
        let config = config.map(|text| fields(name, text)).transpose()?.flatten();
        Self::of(Checkpoint::from_bytes(name, weights)?, config, None, which)
    }

    fn of(
        checkpoint: Checkpoint,
        config: Option<Map<String, Value>>,
        published_crop: Option<usize>,
        which: WhichEncoder,
    ) -> Result<Self, ModelError> {
        if let Some(prefix) = hugging_face_prefix(&checkpoint) {
            let below = format!("{prefix}predictor.");
            let has_predictor = checkpoint.names().any(|name| name.starts_with(&below));
            let checkpoint = checkpoint.with_ties(&hugging_face_ties(&prefix));
            let predictor = has_predictor.then(|| PREDICTOR_ROOT.to_owned());
            let (layout, encoder) = (Layout::HuggingFace, ENCODER_ROOT.to_owned());
            return Ok(Self { checkpoint, layout, encoder, predictor, config, published_crop });
        }
        let Some(encoder) = official_root(&checkpoint, which) else {
            return Err(no_encoder(&checkpoint, which));
        };
        let predictor = root_of(&checkpoint, "predictor_embed.weight", "predictor")
            .filter(|root| checkpoint.names().any(|name| name.starts_with(&below(root, "mask_tokens"))));
        Ok(Self { checkpoint, layout: Layout::Official, encoder, predictor, config, published_crop })
    }

    /// The file or folder as it is called in messages.
    pub fn file(&self) -> String {
        self.checkpoint.file().to_owned()
    }

    /// Who named the tensors.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The weight file itself, for parts that stand on the encoder.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The fields of the `config.json`, if there is one of this family.
    pub fn config(&self) -> Option<&Map<String, Value>> {
        self.config.as_ref()
    }

    /// The tensors of the encoder under their official names.
    pub fn encoder<'a>(&'a self, device: &'a Device, precision: WeightType) -> Weights<'a> {
        self.at(&self.encoder, device, precision)
    }

    /// The tensors of the mask predictor under their official names, if there is one.
    pub fn predictor<'a>(&'a self, device: &'a Device, precision: WeightType) -> Option<Weights<'a>> {
        self.predictor.as_ref().map(|root| self.at(root, device, precision))
    }

    /// Side of the frames of the training in pixels, if the name of the file says it.
    pub(super) fn published_crop(&self) -> Option<usize> {
        self.published_crop
    }

    /// Refuses tensors of the encoder, and of the predictor if it was read, that nobody read. Tables of positions that are added to
    /// tokens are tolerated: these networks turn queries and keys instead, and files hold them from an earlier one.
    ///
    /// # Errors
    /// [`LoadError::Unexpected`].
    pub(super) fn check_leftovers(&self, with_predictor: bool) -> Result<(), LoadError> {
        let mut roots = vec![self.stored_root(&self.encoder)];
        roots.extend(self.predictor.iter().filter(|_| with_predictor).map(|root| self.stored_root(root)));
        self.checkpoint.check_leftovers(|name| {
            let mut inside = roots.iter().filter_map(|root| name.strip_prefix(root.as_str()));
            inside.all(|name| name == "pos_embed" || name == "predictor_pos_embed")
        })
    }

    /// What the names of the tensors below a root begin with in the file.
    fn stored_root(&self, root: &str) -> String {
        match self.layout {
            Layout::Official => below(root, ""),
            Layout::HuggingFace => {
                let part = if root == ENCODER_ROOT { "encoder." } else { "predictor." };
                format!("{}{part}", hugging_face_prefix(&self.checkpoint).unwrap_or_default())
            }
        }
    }

    fn at<'a>(&'a self, root: &str, device: &'a Device, precision: WeightType) -> Weights<'a> {
        let weights = Weights::new(&self.checkpoint, device).in_precision(precision);
        if root.is_empty() { weights } else { weights.at(root) }
    }
}

/// `root.name`, or `name` at the top.
fn below(root: &str, name: &str) -> String {
    if root.is_empty() { name.to_owned() } else { format!("{root}.{name}") }
}

/// The path of the tensor that ends with `tensor` and begins with the component `first`, without these.
fn root_of(checkpoint: &Checkpoint, tensor: &str, first: &str) -> Option<String> {
    let root = |name: &str| Some(name.strip_suffix(tensor)?.trim_end_matches('.').to_owned());
    let is_below = |root: &String| root == first || root.starts_with(&format!("{first}."));
    checkpoint.names().filter_map(root).find(is_below)
}

/// The path of the encoder in a file with official names: below the entry of a training checkpoint, or at the top.
fn official_root(checkpoint: &Checkpoint, which: WhichEncoder) -> Option<String> {
    const TENSOR: &str = "patch_embed.proj.weight";
    let entries: &[&str] = match which {
        WhichEncoder::Auto => &["target_encoder", "ema_encoder", "encoder"],
        WhichEncoder::Target => &["target_encoder", "ema_encoder"],
        WhichEncoder::Online => &["encoder"],
    };
    let entry = entries.iter().find_map(|entry| root_of(checkpoint, TENSOR, entry));
    let at_top = || {
        let has = |root: &str| checkpoint.names().any(|name| name == below(root, TENSOR));
        ["", "backbone"].into_iter().find(|root| has(root)).map(str::to_owned)
    };
    entry.or_else(|| if which == WhichEncoder::Auto { at_top() } else { None })
}

fn no_encoder(checkpoint: &Checkpoint, which: WhichEncoder) -> ModelError {
    let file = checkpoint.file().to_owned();
    let problem = match which {
        WhichEncoder::Auto => {
            let family = checkpoint.summary().family;
            format!(
                "holds no V-JEPA 2 encoder (by its names: {family}); give a V-JEPA 2 checkpoint or folder"
            )
        }
        WhichEncoder::Target => {
            "holds no averaged encoder (`target_encoder`); take the one that it holds".to_owned()
        }
        WhichEncoder::Online => "holds no trained encoder (`encoder`); take the one that it holds".to_owned(),
    };
    ModelError::Config { file, problem }
}

/// What the names of Hugging Face's library begin with, if the file has them: networks with a classifier have one component more.
fn hugging_face_prefix(checkpoint: &Checkpoint) -> Option<String> {
    const TENSOR: &str = "encoder.embeddings.patch_embeddings.proj.weight";
    let has = |prefix: &str| checkpoint.names().any(|name| name == format!("{prefix}{TENSOR}"));
    ["", "vjepa2."].into_iter().find(|prefix| has(prefix)).map(str::to_owned)
}

/// Official paths below the two roots, and those of Hugging Face's library in their place.
fn hugging_face_ties(prefix: &str) -> Vec<(String, String)> {
    let mut ties = Vec::new();
    for (root, blocks, part) in
        [(ENCODER_ROOT, "blocks", "encoder"), (PREDICTOR_ROOT, "predictor_blocks", "predictor")]
    {
        // More layers than any network has cost nothing.
        ties.extend(
            (0..64).map(|i| {
                (format!("{root}.{blocks}.{i}.attn"), format!("{prefix}{part}.layer.{i}.attention"))
            }),
        );
        ties.push((format!("{root}.{blocks}"), format!("{prefix}{part}.layer")));
    }
    let others = [
        (ENCODER_ROOT, "patch_embed.proj", "encoder.embeddings.patch_embeddings.proj"),
        (ENCODER_ROOT, "norm", "encoder.layernorm"),
        (PREDICTOR_ROOT, "predictor_embed", "predictor.embeddings.predictor_embeddings"),
        (PREDICTOR_ROOT, "mask_tokens", "predictor.embeddings.mask_tokens"),
        (PREDICTOR_ROOT, "predictor_norm", "predictor.layernorm"),
        (PREDICTOR_ROOT, "predictor_proj", "predictor.proj"),
    ];
    ties.extend(others.map(|(root, from, to)| (format!("{root}.{from}"), format!("{prefix}{to}"))));
    ties
}

/// The `config.json` in a folder, if it is one of this family.
fn config_in(folder: &Path) -> Result<Option<Map<String, Value>>, ModelError> {
    let path = folder.join("config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let file = path.display().to_string();
    let text =
        std::fs::read_to_string(&path).map_err(|source| LoadError::Io { file: file.clone(), source })?;
    fields(&file, &text)
}

/// The fields of a `config.json`; `None` if it is of another family.
fn fields(file: &str, text: &str) -> Result<Option<Map<String, Value>>, ModelError> {
    let problem = match parse_json(text) {
        Ok(Value::Object(fields)) => {
            let is_ours = fields.get("model_type").and_then(Value::as_str) == Some("vjepa2");
            return Ok(is_ours.then_some(fields));
        }
        Ok(_) => "must be a JSON object".to_owned(),
        Err(problem) => problem,
    };
    Err(ModelError::Config { file: file.to_owned(), problem })
}
