//! The hyper-parameters of a V-JEPA 2 network.

use super::source::{OpenOptions, Source};
use crate::ModelError;
use crate::mast3r::Trunk;
use serde_json::{Map, Value};
use steropes_nn::{LoadError, WeightType, Weights};
use steropes_ops::position::rope3d::{Rope3dAngles, Rope3dRounding};
use steropes_tensor::Device;

/// What is added to the variance in all normalisations of a block.
const NORM_EPS: f32 = 1e-6;
/// Patches along a side of the pictures that V-JEPA 2.1 takes positions of all others for.
const ROPE_CELLS: usize = 16;
/// Numbers of heads of the published encoders by their width, the usual one first: 1408 has 22, or 16 in a variant that was not released.
/// The number shows in no shape, and a wrong one gives wrong features without any error.
const ENCODER_HEADS: [(usize, &[usize]); 7] =
    [(192, &[3]), (384, &[6]), (768, &[12]), (1024, &[16]), (1280, &[16]), (1408, &[22, 16]), (1664, &[26])];
/// The same of the published mask predictors.
const PREDICTOR_HEADS: [(usize, &[usize]); 1] = [(384, &[12])];
/// Blocks whose features V-JEPA 2.1 was trained on, by depth.
const LEVELS: [[usize; 4]; 4] = [[2, 5, 8, 11], [5, 11, 17, 23], [9, 19, 29, 39], [11, 23, 37, 47]];

/// Where the places of tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// From the grid of the clip: the published networks as they were trained and evaluated.
    #[default]
    Clip,
    /// From a square grid of the size of the training, whatever the clip: the ports in Hugging Face's library. The same for clips of that
    /// size; for others tokens are not where their pictures are, and features differ by a few percent.
    CropSize,
}

/// The extents of a mask predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictorConfig {
    /// Width, number of blocks and heads.
    pub trunk: Trunk,
    /// Width of a perceptron's hidden layer.
    pub hidden: usize,
    /// Number of mask tokens.
    pub mask_tokens: usize,
}

/// The hyper-parameters of a network, checked against its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The encoder's extents.
    pub encoder: Trunk,
    /// Width of a perceptron's hidden layer in the encoder.
    pub hidden: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Frames of a tubelet.
    pub tubelet: usize,
    /// What is added to the variance in the normalisations of encoder and predictor.
    pub norm_eps: f32,
    /// Side of the frames of the training in pixels.
    pub crop_size: usize,
    /// Frames of a clip in training; features of clips of any length can be had.
    pub frames_per_clip: usize,
    /// Which angles turn queries and keys: tiled in V-JEPA 2.0, those of pairs in 2.1.
    pub rope_angles: Rope3dAngles,
    /// If given, rows and columns are brought to positions from 0 to one less than this, as in 2.1; else they are counted.
    pub rope_cells: Option<usize>,
    /// How the tables of the angles are rounded; exact unless asked for otherwise.
    pub rope_rounding: Rope3dRounding,
    /// Where the places of tokens come from.
    pub positions: Positions,
    /// The blocks with a normalisation of their own, as in 2.1, the last block among them; empty with a single one.
    pub levels: Vec<usize>,
    /// Whether a vector for clips or images is added to embedded tokens, as in 2.1.
    pub has_modality_embed: bool,
    /// Whether single frames are embedded by themselves, as in 2.1; else they are shown twice.
    pub has_image_embed: bool,
    /// The mask predictor, if the file holds one that is read: that of 2.0.
    pub predictor: Option<PredictorConfig>,
}

impl Config {
    /// Whether it is a network of the kind V-JEPA 2.1.
    pub fn is_2_1(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Patches along a side of the frames of the training.
    pub fn crop_side(&self) -> usize {
        self.crop_size / self.patch_size
    }

    /// The hyper-parameters of the network in `source`: extents from the shapes of its tensors, the rest from `options`, else from its
    /// `config.json`, else as the published networks have them.
    ///
    /// # Errors
    /// [`ModelError::Load`] or [`ModelError::Config`] with what does not fit.
    pub fn of(source: &Source, options: &OpenOptions) -> Result<Self, ModelError> {
        let wrong = |problem: String| ModelError::Config { file: source.file(), problem };
        let device = Device::cpu();
        let weights = source.encoder(&device, WeightType::F32);
        let [width, channels, tubelet, patch_size, columns] = weights.shape("patch_embed.proj.weight")?;
        if channels != 3 || patch_size != columns || patch_size == 0 || tubelet == 0 {
            let found = [width, channels, tubelet, patch_size, columns];
            let expected = "[width, 3, tubelet, patch, patch]".to_owned();
            return Err(weights.wrong_shape("patch_embed.proj.weight", expected, &found).into());
        }
        let (depth, hidden) = blocks_below(&weights.at("blocks"))?;
        let stated = Stated { fields: source.config() };
        let heads = options.heads.or(stated.count("num_attention_heads", 16).map_err(&wrong)?);
        let encoder =
            Trunk { width, depth, heads: heads_of("encoder", &ENCODER_HEADS, width, heads).map_err(&wrong)? };
        let levels = levels_of(&weights, depth).map_err(&wrong)?;
        let is_2_1 = !levels.is_empty();
        let usual_crop = source.published_crop().unwrap_or(if is_2_1 { 384 } else { 256 });
        let crop_size =
            options.crop_size.or(stated.count("crop_size", 256).map_err(&wrong)?).unwrap_or(usual_crop);
        if crop_size < patch_size {
            return Err(wrong(format!(
                "frames of {crop_size} pixels hold no patch of {patch_size}; give a larger crop size"
            )));
        }
        let config = Self {
            encoder,
            hidden,
            patch_size,
            tubelet,
            norm_eps: stated.number("layer_norm_eps").map_err(&wrong)?.unwrap_or(NORM_EPS),
            crop_size,
            frames_per_clip: stated.count("frames_per_clip", 64).map_err(&wrong)?.unwrap_or(64),
            rope_angles: if is_2_1 { Rope3dAngles::Pairs } else { Rope3dAngles::Tiled },
            rope_cells: is_2_1.then_some(ROPE_CELLS),
            rope_rounding: options.rope_rounding,
            positions: options.positions,
            has_modality_embed: weights.has("video_mod_embed"),
            has_image_embed: weights.has("patch_embed_img.proj.weight"),
            predictor: predictor_of(source, options, &stated, is_2_1)?,
            levels,
        };
        stated.check(&config).map_err(&wrong)?;
        Ok(config)
    }
}

/// The number of blocks below a path, and the width of the first one's hidden layer.
fn blocks_below(blocks: &Weights<'_>) -> Result<(usize, usize), LoadError> {
    let depth = (0..).take_while(|&i| blocks.at(i).has("norm1.weight")).count();
    let [hidden, _] = blocks.at(0).shape("mlp.fc1.weight")?;
    Ok((depth.max(1), hidden))
}

fn levels_of(weights: &Weights<'_>, depth: usize) -> Result<Vec<usize>, String> {
    let norms = weights.at("norms_block");
    let count = (0..).take_while(|&i| norms.at(i).has("weight")).count();
    if count == 0 {
        return Ok(Vec::new());
    }
    match LEVELS.iter().find(|levels| levels[3] + 1 == depth && count == levels.len()) {
        Some(levels) => Ok(levels.to_vec()),
        None => Err(format!(
            "has {depth} blocks and {count} normalisations of levels; those of V-JEPA 2.1 that are known have 12, 24, 40 or 48 and 4"
        )),
    }
}

fn predictor_of(
    source: &Source,
    options: &OpenOptions,
    stated: &Stated<'_>,
    is_2_1: bool,
) -> Result<Option<PredictorConfig>, ModelError> {
    let device = Device::cpu();
    let Some(weights) =
        source.predictor(&device, WeightType::F32).filter(|_| options.with_predictor && !is_2_1)
    else {
        return Ok(None);
    };
    let wrong = |problem: String| ModelError::Config { file: source.file(), problem };
    let [width, _] = weights.shape("predictor_embed.weight")?;
    let (depth, hidden) = blocks_below(&weights.at("predictor_blocks"))?;
    let heads = options.predictor_heads.or(stated.count("pred_num_attention_heads", 12).map_err(wrong)?);
    let heads = heads_of("predictor", &PREDICTOR_HEADS, width, heads).map_err(wrong)?;
    let mask_tokens = if weights.has("mask_tokens") {
        weights.shape::<4>("mask_tokens")?[0]
    } else {
        (0..).take_while(|i| weights.at("mask_tokens").has(&i.to_string())).count()
    };
    if mask_tokens == 0 {
        return Err(wrong("its predictor has no mask tokens; get the file again".to_owned()));
    }
    Ok(Some(PredictorConfig { trunk: Trunk { width, depth, heads }, hidden, mask_tokens }))
}

/// The number of heads of a part of `width`: as given if that can be, else that of the published networks.
fn heads_of(
    part: &str,
    published: &[(usize, &[usize])],
    width: usize,
    given: Option<usize>,
) -> Result<usize, String> {
    let known = published.iter().find(|(of, _)| *of == width).map(|(_, heads)| *heads);
    match (given, known) {
        (Some(heads), Some(known)) if !known.contains(&heads) => Err(format!(
            "its {part} of width {width} has {} heads in every published network, not {heads}; give the right number, or none",
            known.iter().map(usize::to_string).collect::<Vec<_>>().join(" or ")
        )),
        (Some(heads), _) if heads == 0 || !width.is_multiple_of(heads) || width / heads < 6 => Err(format!(
            "its {part} of width {width} cannot have {heads} heads; give a number that divides the width into heads of 6 values or more"
        )),
        (Some(heads), _) => Ok(heads),
        (None, Some(known)) => Ok(known[0]),
        (None, None) => Err(format!(
            "its {part} has width {width}, which no published network has; say how many heads it has, or put its config.json beside it"
        )),
    }
}

/// What a `config.json` states. Fields that it leaves out have the values that the library which writes it gives them.
struct Stated<'a> {
    fields: Option<&'a Map<String, Value>>,
}

impl Stated<'_> {
    /// A whole number above 0; `None` without a `config.json`.
    fn count(&self, name: &str, otherwise: usize) -> Result<Option<usize>, String> {
        let Some(fields) = self.fields else { return Ok(None) };
        match fields.get(name) {
            None | Some(Value::Null) => Ok(Some(otherwise)),
            Some(value) => match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
                // Larger numbers mean nothing, and their products overflow.
                Some(n) if (1..=1 << 24).contains(&n) => Ok(Some(n)),
                _ => Err(format!("`{name}` in its config.json must be a whole number above 0, got {value}")),
            },
        }
    }

    /// A positive number, if it is stated.
    fn number(&self, name: &str) -> Result<Option<f32>, String> {
        match self.fields.and_then(|fields| fields.get(name)) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64() {
                Some(n) if n > 0.0 && n < 1e6 => Ok(Some(n as f32)),
                _ => Err(format!("`{name}` in its config.json must be a number above 0, got {value}")),
            },
        }
    }

    /// Refuses what contradicts the tensors, and networks that differ in what no shape shows.
    fn check(&self, config: &Config) -> Result<(), String> {
        let Some(fields) = self.fields else { return Ok(()) };
        let mut extents = vec![
            ("hidden_size", 1024, config.encoder.width),
            ("num_hidden_layers", 24, config.encoder.depth),
            ("patch_size", 16, config.patch_size),
            ("tubelet_size", 2, config.tubelet),
            ("in_chans", 3, 3),
        ];
        if let Some(predictor) = &config.predictor {
            extents.push(("pred_hidden_size", 384, predictor.trunk.width));
            extents.push(("pred_num_hidden_layers", 12, predictor.trunk.depth));
            extents.push(("pred_num_mask_tokens", 10, predictor.mask_tokens));
        }
        for (name, otherwise, found) in extents {
            let said = self.count(name, otherwise)?.unwrap_or(found);
            if said != found {
                return Err(format!("`{name}` in its config.json is {said}, but its weights have {found}"));
            }
        }
        let mut ratios = vec![("mlp_ratio", config.encoder.width, config.hidden)];
        ratios.extend(config.predictor.map(|p| ("pred_mlp_ratio", p.trunk.width, p.hidden)));
        for (name, width, hidden) in ratios {
            let ratio = fields.get(name).and_then(Value::as_f64).unwrap_or(4.0);
            if (width as f64 * ratio - hidden as f64).abs() >= 1.0 {
                return Err(format!(
                    "`{name}` in its config.json is {ratio}, but its weights have {hidden} of {width}"
                ));
            }
        }
        for (name, only) in [("hidden_act", Value::from("gelu")), ("qkv_bias", Value::from(true))] {
            if let Some(said) = fields.get(name).filter(|said| **said != only) {
                return Err(format!("`{name}` in its config.json is {said}; only {only} is known"));
            }
        }
        Ok(())
    }
}
