//! The hyper-parameters of a network of the family.

use crate::ModelError;
use crate::settings::{Call, Literal, literal_from_json, parse_call, parse_json};
use serde_json::Value;
use std::collections::BTreeMap;
use steropes_ops::vision::pointmap::{ConfidenceMode, DepthMode};

/// The keyword arguments that a constructor call may have.
///
/// `freeze`, `mask_ratio`, `landscape_only` and `patch_embed_cls` have no effect on inference: every image is
/// processed in its own orientation, which gives the same numbers as turning it to landscape and back.
const ARGUMENTS: [&str; 22] = [
    "output_mode",
    "head_type",
    "depth_mode",
    "conf_mode",
    "freeze",
    "landscape_only",
    "patch_embed_cls",
    "desc_mode",
    "two_confs",
    "desc_conf_mode",
    "img_size",
    "patch_size",
    "mask_ratio",
    "enc_embed_dim",
    "enc_depth",
    "enc_num_heads",
    "dec_embed_dim",
    "dec_depth",
    "dec_num_heads",
    "mlp_ratio",
    "norm_im2_in_dec",
    "pos_embed",
];

/// The extents of a stack of transformer blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// Width of a token.
    pub width: usize,
    /// Number of blocks (per stream in the decoder).
    pub depth: usize,
    /// Number of attention heads.
    pub heads: usize,
}

/// What turns an image into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncoderKind {
    /// CroCo's vision transformer with rotary positions, a part of the pair network.
    Croco(Trunk),
    /// A DUNE encoder; its depth, its registers and the grid of its positions are those of its tensors.
    Dune {
        /// Width of a token.
        width: usize,
        /// Number of attention heads.
        heads: usize,
    },
}

impl EncoderKind {
    /// Width of a token.
    pub fn width(&self) -> usize {
        match *self {
            Self::Croco(Trunk { width, .. }) | Self::Dune { width, .. } => width,
        }
    }
}

/// What stands on top of the decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadKind {
    /// One linear layer to the pixels of each patch.
    Linear,
    /// DPT.
    Dpt,
    /// DPT for the points and a perceptron for the descriptors.
    DptWithFeatures {
        /// Channels of a descriptor.
        descriptor_dim: usize,
        /// How the descriptors' own confidence channel is read; `None` if they share that of the points.
        confidence: Option<ConfidenceMode>,
    },
}

/// The hyper-parameters of a network, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Side of a patch in pixels; the sides of images must be multiples of it.
    pub patch_size: usize,
    /// The encoder.
    pub encoder: EncoderKind,
    /// The decoder's extents.
    pub decoder: Trunk,
    /// Width of a perceptron's hidden layer relative to its tokens.
    pub mlp_ratio: f64,
    /// Base of the rotary frequencies.
    pub rope_base: f32,
    /// What is added to the variance in all normalisations, but for the last one of a DUNE encoder, which has its own.
    pub norm_eps: f32,
    /// Whether the other view's tokens are normalised before they are attended to.
    pub norm_memory: bool,
    /// The heads.
    pub head: HeadKind,
    /// How raw vectors become points.
    pub depth_mode: DepthMode,
    /// How raw numbers become confidences.
    pub confidence_mode: ConfidenceMode,
    /// Subtrees of the weights that are stored once: everything below the first path is that below the second.
    pub tied: Vec<(String, String)>,
    /// Whether square images may be used as they are.
    pub square_ok: bool,
    /// Long sides in pixels that the network was trained with, ascending; empty if unknown.
    pub training_sizes: Vec<usize>,
    /// Licence of the weights, if stated.
    pub licence: Option<String>,
}

impl Config {
    /// The configuration in the text of a `config.json`; `file` stands for it in messages.
    ///
    /// A field `args` with a constructor call says more than the fields beside it, as in the training checkpoints; a field
    /// `mast3r_model_str` is such a call for a network whose encoder is DUNE.
    ///
    /// # Errors
    /// [`ModelError::Config`].
    pub fn from_json(file: &str, text: &str) -> Result<Self, ModelError> {
        Self::read_json(text).map_err(|problem| ModelError::Config { file: file.to_owned(), problem })
    }

    /// The configuration in a constructor call such as `AsymmetricMASt3R(enc_depth=24, ..)`.
    ///
    /// # Errors
    /// [`ModelError::Config`], where `file` stands for the place that the call comes from.
    pub fn from_args(file: &str, args: &str) -> Result<Self, ModelError> {
        Self::build_call("args", args, Self::build)
            .map_err(|problem| ModelError::Config { file: file.to_owned(), problem })
    }

    /// The configuration of a DUNE encoder with the decoder and heads of the constructor call `mast3r_model_str`.
    ///
    /// Patches are 14 pixels wide and squares are used as they are. Encoders of width 384 and 768 (ViT-S and ViT-B) have 6 and 12
    /// heads, others as many as the call says; other arguments of the call for the encoder are those of one that is not used.
    ///
    /// # Errors
    /// [`ModelError::Config`], where `file` stands for the place that the call comes from.
    pub fn from_dune_args(file: &str, mast3r_model_str: &str) -> Result<Self, ModelError> {
        Self::build_call("mast3r_model_str", mast3r_model_str, Self::build_dune)
            .map_err(|problem| ModelError::Config { file: file.to_owned(), problem })
    }

    /// Builds the configuration from the text of a constructor call that is called `field` in messages.
    fn build_call(
        field: &str,
        text: &str,
        build: fn(&BTreeMap<String, Literal>) -> Result<Self, String>,
    ) -> Result<Self, String> {
        let call = parse_call(text).and_then(checked_call).and_then(|call| build(&call.arguments));
        call.map_err(|problem| format!("`{field}`: {problem}"))
    }

    /// Width of a perceptron's hidden layer for tokens of `width`.
    pub(super) fn hidden(&self, width: usize) -> usize {
        (width as f64 * self.mlp_ratio) as usize
    }

    /// How many decoder blocks the tokens have passed that the head reads; 0 stands for the encoder's tokens.
    pub(super) fn hooks(&self) -> [usize; 4] {
        let depth = self.decoder.depth;
        match self.head {
            HeadKind::Linear => [0, 0, 0, depth],
            HeadKind::Dpt | HeadKind::DptWithFeatures { .. } => [0, 2 * depth / 4, 3 * depth / 4, depth],
        }
    }

    fn read_json(text: &str) -> Result<Self, String> {
        let Value::Object(fields) = parse_json(text)? else {
            return Err("must be a JSON object".to_owned());
        };
        let mut config = match (fields.get("args"), fields.get("mast3r_model_str")) {
            (Some(_), Some(_)) => return Err("there must be one of `args` and `mast3r_model_str`".to_owned()),
            (Some(Value::String(args)), None) => Self::build_call("args", args, Self::build)?,
            (None, Some(Value::String(args))) => {
                Self::build_call("mast3r_model_str", args, Self::build_dune)?
            }
            (Some(_), None) => return Err("`args` must be a text".to_owned()),
            (None, Some(_)) => return Err("`mast3r_model_str` must be a text".to_owned()),
            (None, None) => {
                let known = |(name, value): (&String, &Value)| {
                    let known = ARGUMENTS.contains(&name.as_str());
                    known.then(|| literal_from_json(value).map(|v| (name.clone(), v))).flatten()
                };
                Self::build(&fields.iter().filter_map(known).collect())?
            }
        };
        config.read_extras(&fields)?;
        Ok(config)
    }

    /// The fields that no constructor call has.
    fn read_extras(&mut self, fields: &serde_json::Map<String, Value>) -> Result<(), String> {
        for (name, value) in fields {
            match name.as_str() {
                "tied" => self.tied = pairs_of_paths(value)?,
                "square_ok" => self.square_ok = value.as_bool().ok_or("`square_ok` must be true or false")?,
                "license" | "licence" => self.licence = value.as_str().map(str::to_owned),
                "train_long_side" => self.training_sizes = ascending_sides(value)?,
                "norm_eps" => {
                    let eps = value.as_f64().filter(|&eps| eps > 0.0 && eps < 1.0);
                    self.norm_eps = eps.ok_or("`norm_eps` must be a number between 0 and 1")? as f32;
                }
                "dpt_hooks" => {
                    let hooks: Option<Vec<usize>> = value
                        .as_array()
                        .and_then(|items| items.iter().map(|h| h.as_u64().map(|h| h as usize)).collect());
                    if self.head != HeadKind::Linear && hooks.as_deref() != Some(&self.hooks()) {
                        return Err(format!("`dpt_hooks` must be {:?}, got {value}", self.hooks()));
                    }
                }
                "args" | "mast3r_model_str" => {}
                name if ARGUMENTS.contains(&name) => {}
                name => log::debug!("config.json: `{name}` has no effect on inference"),
            }
        }
        Ok(())
    }

    /// Builds the configuration from constructor arguments and the defaults of the published models.
    fn build(given: &BTreeMap<String, Literal>) -> Result<Self, String> {
        Self::build_with(given, EncoderKind::Croco(trunk(given, "enc", [768, 12, 12])?), 16)
    }

    /// [`Config::build`] for a network whose encoder is DUNE.
    fn build_dune(given: &BTreeMap<String, Literal>) -> Result<Self, String> {
        let width = positive(given, "enc_embed_dim", 768)?;
        let heads = match width {
            384 => 6,
            768 => 12,
            _ => positive(given, "enc_num_heads", 12)?,
        };
        if !width.is_multiple_of(heads) {
            return Err(format!("`enc_num_heads` must divide the width {width}, got {heads}"));
        }
        let config = Self::build_with(given, EncoderKind::Dune { width, heads }, 14)?;
        Ok(Self { square_ok: true, ..config })
    }

    fn build_with(
        given: &BTreeMap<String, Literal>,
        encoder: EncoderKind,
        patch_size: usize,
    ) -> Result<Self, String> {
        let decoder = trunk(given, "dec", [512, 8, 16])?;
        let confidence_mode = confidence_mode(given, "conf_mode")?.unwrap_or(DEFAULT_CONFIDENCE);
        let head = head_kind(given, confidence_mode)?;
        if head != HeadKind::Linear && decoder.depth < 2 {
            return Err(format!("`dec_depth` must be at least 2 for a DPT head, got {}", decoder.depth));
        }
        Ok(Self {
            patch_size: positive(given, "patch_size", patch_size)?,
            encoder,
            decoder,
            mlp_ratio: mlp_ratio(given)?,
            rope_base: rope_base(given)?,
            norm_eps: 1e-6,
            norm_memory: flag(given, "norm_im2_in_dec", true)?,
            head,
            depth_mode: depth_mode(given)?,
            confidence_mode,
            tied: Vec::new(),
            square_ok: false,
            training_sizes: image_size(given)?,
            licence: None,
        })
    }
}

const DEFAULT_CONFIDENCE: ConfidenceMode = ConfidenceMode::Exp { min: 1.0, max: f32::INFINITY };

/// The call, if its class and all its arguments are known: an unknown argument could change the result.
fn checked_call(call: Call) -> Result<Call, String> {
    if !matches!(call.class.as_str(), "AsymmetricMASt3R" | "AsymmetricCroCo3DStereo") {
        return Err(format!(
            "the class must be AsymmetricMASt3R or AsymmetricCroCo3DStereo, got `{}`",
            call.class
        ));
    }
    match call.arguments.keys().find(|name| !ARGUMENTS.contains(&name.as_str())) {
        Some(name) => Err(format!("`{name}` is not known; this network cannot be built")),
        None => Ok(call),
    }
}

/// The extents of one side, `enc` or `dec`, of which `defaults` are width, depth and heads.
fn trunk(
    given: &BTreeMap<String, Literal>,
    side: &str,
    [width, depth, heads]: [usize; 3],
) -> Result<Trunk, String> {
    let width = positive(given, &format!("{side}_embed_dim"), width)?;
    let depth = positive(given, &format!("{side}_depth"), depth)?;
    let heads = positive(given, &format!("{side}_num_heads"), heads)?;
    if width.is_multiple_of(heads) && (width / heads).is_multiple_of(4) {
        return Ok(Trunk { width, depth, heads });
    }
    Err(format!("`{side}_num_heads` must split the width {width} into multiples of 4, got {heads}"))
}

fn head_kind(given: &BTreeMap<String, Literal>, points: ConfidenceMode) -> Result<HeadKind, String> {
    let head = text(given, "head_type", "linear")?;
    let output = text(given, "output_mode", "pts3d")?;
    match (head, output) {
        ("linear", "pts3d") => Ok(HeadKind::Linear),
        ("dpt", "pts3d") => Ok(HeadKind::Dpt),
        ("catmlp+dpt", output) => {
            let dim =
                output.strip_prefix("pts3d+desc").and_then(|dim| dim.parse().ok()).filter(|&dim| dim > 0);
            let descriptor_dim: usize = dim.ok_or_else(|| {
                format!("`output_mode` must be pts3d+desc and a number for this head, got `{output}`")
            })?;
            match text(given, "desc_mode", "norm")? {
                "norm" => {}
                other => return Err(format!("`desc_mode` must be norm, got `{other}`")),
            }
            let own = flag(given, "two_confs", false)?;
            let mode = confidence_mode(given, "desc_conf_mode")?.unwrap_or(points);
            Ok(HeadKind::DptWithFeatures { descriptor_dim, confidence: own.then_some(mode) })
        }
        ("linear" | "dpt", output) => {
            Err(format!("`output_mode` must be pts3d for this head, got `{output}`"))
        }
        (head, _) => Err(format!("`head_type` must be linear, dpt or catmlp+dpt, got `{head}`")),
    }
}

fn mlp_ratio(given: &BTreeMap<String, Literal>) -> Result<f64, String> {
    let Some(value) = given.get("mlp_ratio") else {
        return Ok(4.0);
    };
    bound(value)
        .filter(|&ratio| ratio > 0.0 && ratio <= 64.0)
        .ok_or_else(|| format!("`mlp_ratio` must be above 0 and at most 64, got {value}"))
}

fn rope_base(given: &BTreeMap<String, Literal>) -> Result<f32, String> {
    let name = text(given, "pos_embed", "cosine")?;
    let base = name.strip_prefix("RoPE").and_then(|base| base.parse::<f32>().ok());
    base.filter(|base| base.is_finite() && *base > 0.0)
        .ok_or_else(|| format!("`pos_embed` must be RoPE and a base such as RoPE100, got `{name}`"))
}

fn depth_mode(given: &BTreeMap<String, Literal>) -> Result<DepthMode, String> {
    let Some((name, min, max)) = mode(given, "depth_mode")? else {
        return Ok(DepthMode::Exp);
    };
    if (min, max) != (f64::NEG_INFINITY, f64::INFINITY) {
        return Err(format!("the bounds of `depth_mode` must be -inf and inf, got {min} and {max}"));
    }
    match name {
        "linear" => Ok(DepthMode::Linear),
        "square" => Ok(DepthMode::Square),
        "exp" => Ok(DepthMode::Exp),
        other => Err(format!("`depth_mode` must be linear, square or exp, got `{other}`")),
    }
}

fn confidence_mode(given: &BTreeMap<String, Literal>, key: &str) -> Result<Option<ConfidenceMode>, String> {
    if key == "conf_mode" && given.get(key) == Some(&Literal::None) {
        return Err("`conf_mode` must not be None: networks without confidences are not read".to_owned());
    }
    let Some((name, min, max)) = mode(given, key)? else {
        return Ok(None);
    };
    let ordered = min.is_finite() && max > min;
    let (low, high) = (min as f32, max as f32);
    match name {
        "exp" if ordered => Ok(Some(ConfidenceMode::Exp { min: low, max: high })),
        "sigmoid" if ordered && max.is_finite() => Ok(Some(ConfidenceMode::Sigmoid { min: low, max: high })),
        "exp" | "sigmoid" => {
            Err(format!("the bounds of `{key}` must be finite and rise, got {min} and {max}"))
        }
        other => Err(format!("`{key}` must be exp or sigmoid, got `{other}`")),
    }
}

/// A mode such as `('exp', -inf, inf)`; `None` if it is absent or None.
fn mode<'a>(given: &'a BTreeMap<String, Literal>, key: &str) -> Result<Option<(&'a str, f64, f64)>, String> {
    let wrong = |value: &Literal| format!("`{key}` must be a name and two bounds, got {value}");
    match given.get(key) {
        None | Some(Literal::None) => Ok(None),
        Some(value @ Literal::Tuple(items)) => match items.as_slice() {
            [Literal::Text(name), low, high] => match (bound(low), bound(high)) {
                (Some(low), Some(high)) => Ok(Some((name, low, high))),
                _ => Err(wrong(value)),
            },
            _ => Err(wrong(value)),
        },
        Some(value) => Err(wrong(value)),
    }
}

/// A number, or the words that stand for the infinities in JSON.
fn bound(value: &Literal) -> Option<f64> {
    match value {
        Literal::Int(int) => Some(*int as f64),
        Literal::Float(float) if !float.is_nan() => Some(*float),
        Literal::Text(text) => match text.as_str() {
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
}

fn image_size(given: &BTreeMap<String, Literal>) -> Result<Vec<usize>, String> {
    let side = |value: &Literal| match value {
        Literal::Int(side) => usize::try_from(*side).ok().filter(|&side| side > 0),
        _ => None,
    };
    let longest = match given.get("img_size") {
        None => return Ok(Vec::new()),
        Some(Literal::Tuple(sides)) => sides.iter().map(side).max().flatten(),
        Some(value) => side(value),
    };
    longest.map(|side| vec![side]).ok_or_else(|| "`img_size` must be one or two lengths in pixels".to_owned())
}

fn positive(given: &BTreeMap<String, Literal>, key: &str, default: usize) -> Result<usize, String> {
    match given.get(key) {
        None => Ok(default),
        Some(Literal::Int(int)) if (1..=1 << 20).contains(int) => Ok(*int as usize),
        Some(value) => Err(format!("`{key}` must be a whole number from 1 to {}, got {value:?}", 1 << 20)),
    }
}

fn flag(given: &BTreeMap<String, Literal>, key: &str, default: bool) -> Result<bool, String> {
    match given.get(key) {
        None => Ok(default),
        Some(Literal::Bool(flag)) => Ok(*flag),
        Some(value) => Err(format!("`{key}` must be true or false, got {value}")),
    }
}

fn text<'a>(given: &'a BTreeMap<String, Literal>, key: &str, default: &'a str) -> Result<&'a str, String> {
    match given.get(key) {
        None => Ok(default),
        Some(Literal::Text(text)) => Ok(text),
        Some(value) => Err(format!("`{key}` must be a text, got {value}")),
    }
}

fn pairs_of_paths(value: &Value) -> Result<Vec<(String, String)>, String> {
    let wrong = || format!("`tied` must map paths to the paths that hold their weights, got {value}");
    let pairs = value.as_object().ok_or_else(wrong)?;
    let pair = |(from, to): (&String, &Value)| Some((from.clone(), to.as_str()?.to_owned()));
    let pairs: Vec<_> = pairs.iter().map(pair).collect::<Option<_>>().ok_or_else(wrong)?;
    match pairs.iter().find(|(_, to)| pairs.iter().any(|(from, _)| from == to)) {
        Some((_, to)) => Err(format!("`tied` must name paths that are stored, but `{to}` is tied itself")),
        None => Ok(pairs),
    }
}

fn ascending_sides(value: &Value) -> Result<Vec<usize>, String> {
    let sides = value.as_array().and_then(|items| {
        items
            .iter()
            .map(|side| side.as_u64().filter(|&s| s > 0).map(|s| s as usize))
            .collect::<Option<Vec<_>>>()
    });
    let mut sides =
        sides.ok_or_else(|| format!("`train_long_side` must be a list of lengths, got {value}"))?;
    sides.sort_unstable();
    sides.dedup();
    Ok(sides)
}
