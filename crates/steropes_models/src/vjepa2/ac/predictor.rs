//! The predictor: from features and an action to the features of the next time step.

use crate::ModelError;
use crate::mast3r::Trunk;
use crate::precision::upload;
use crate::vjepa2::pooler::numbers;
use crate::vjepa2::{Grid, Observer};
use std::collections::BTreeMap;
use std::sync::Mutex;
use steropes_nn::{BlockExtents, EncoderBlock, KeyValues, LayerNorm, Linear, LoadError, Rotary, Weights};
use steropes_ops::OpError;
use steropes_ops::elementwise::concat::concat;
use steropes_ops::indexing::index_select::index_select;
use steropes_ops::position::rope3d::{Rope3dAngles, Rope3dRounding, rope3d_tables};
use steropes_tensor::{DType, Device, Tensor, TensorError};

/// Base of the rotary frequencies.
const ROPE_BASE: f64 = 10_000.0;
/// Values of an action and of a state.
const POSE: usize = 7;
/// Values of the camera's place.
const EXTRINSICS: usize = 6;
/// Rotary tables that are kept.
const KEPT_TABLES: usize = 16;

/// The extents of a predictor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AcConfig {
    /// Width, number of blocks and heads.
    pub trunk: Trunk,
    /// Width of a perceptron's hidden layer.
    pub hidden: usize,
    /// Values of a feature, which the encoder decides.
    pub features: usize,
    /// Rows of patches in the frames of the training. Rows and columns of others are brought to this scale.
    pub side: usize,
    /// What is added to the variance in the normalisations.
    pub norm_eps: f32,
    /// Whether there is a token for the place of the camera; the published network has weights for it and was trained without.
    pub has_extrinsics: bool,
}

/// What goes with the features of one time step: rows for each batch element.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// Actions that begin at this time: x, y, z, three angles and the gripper, as [`crate::planner::Action::to_array`] gives them.
    pub actions: &'a [[f32; POSE]],
    /// Where the gripper is at this time, as [`crate::planner::Pose::to_array`] gives it.
    pub states: &'a [[f32; POSE]],
    /// Where the camera is, for a predictor with such tokens; else empty.
    pub extrinsics: &'a [[f32; EXTRINSICS]],
}

/// Keys and values of past time steps. Cloning shares the memory.
#[derive(Clone, Debug, Default)]
pub struct AcCache {
    blocks: Vec<KeyValues>,
    steps: usize,
}

impl AcCache {
    /// Time steps that are kept.
    pub fn steps(&self) -> usize {
        self.steps
    }
}

/// The predictor of V-JEPA 2-AC. Tokens of a time step see those of their own step and of earlier ones, so it goes step by step
/// and keeps what came before: nothing that was computed changes when a step is added.
#[derive(Debug)]
pub struct AcPredictor {
    config: AcConfig,
    embed: Linear,
    action: Linear,
    state: Linear,
    extrinsics: Option<Linear>,
    blocks: Vec<EncoderBlock>,
    norm: LayerNorm,
    project: Linear,
    values: DType,
    is_untrained: bool,
    kept: Mutex<BTreeMap<(usize, Grid), Rotary>>,
}

impl AcPredictor {
    /// Reads the predictor below `weights`, in the official names: `predictor_embed`, `action_encoder`, `state_encoder`,
    /// `extrinsics_encoder` if it is there, `predictor_blocks`, `predictor_norm` and `predictor_proj`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(weights: &Weights<'_>, config: &AcConfig) -> Result<Self, LoadError> {
        let width = config.trunk.width;
        let extents = BlockExtents {
            width,
            heads: config.trunk.heads,
            hidden: config.hidden,
            norm_eps: config.norm_eps,
            has_layer_scale: false,
        };
        let blocks = weights.at("predictor_blocks");
        // Seven inputs are no whole block, and a place in metres should not be rounded.
        let exact = weights.in_value_type();
        let condition = |name: &str, inputs| Linear::load(&exact.at(name), inputs, width);
        let is_there = config.has_extrinsics || weights.has("extrinsics_encoder.weight");
        let norm = weights.at("predictor_norm");
        let is_untrained = norm.values("weight", &[width])?.iter().all(|&gamma| gamma == 1.0)
            && norm.values("bias", &[width])?.iter().all(|&beta| beta == 0.0);
        Ok(Self {
            blocks: blocks.each(config.trunk.depth, |i| EncoderBlock::load(&blocks.at(i), &extents))?,
            embed: Linear::load(&weights.at("predictor_embed"), config.features, width)?,
            action: condition("action_encoder", POSE)?,
            state: condition("state_encoder", POSE)?,
            extrinsics: is_there.then(|| condition("extrinsics_encoder", EXTRINSICS)).transpose()?,
            norm: LayerNorm::load(&norm, width, config.norm_eps)?,
            project: Linear::load(&weights.at("predictor_proj"), width, config.features)?,
            values: weights.precision().values(),
            is_untrained,
            config: *config,
            kept: Mutex::default(),
        })
    }

    /// The extents.
    pub fn config(&self) -> &AcConfig {
        &self.config
    }

    /// Whether the last normalisation is as networks begin with it, factors of 1 and no shifts: then nothing was learned.
    pub fn is_untrained(&self) -> bool {
        self.is_untrained
    }

    /// What the features will be one time step later; `past` has the steps before and then this one too.
    ///
    /// # Shapes
    /// - `features`: `[batch, rows * columns, features]`, each normalised, in the type of the network's values
    /// - `conditions`: one row for each batch element
    /// - `past`: of as many batch elements, or of one that stands for all, and of the same grid
    /// - returns: the shape of `features`; not normalised
    ///
    /// # Errors
    /// [`ModelError::Input`] if an argument is not as above, [`ModelError::Device`] if the device has no memory for it. Then `past` is
    /// empty.
    pub fn step(
        &self,
        past: &mut AcCache,
        features: &Tensor,
        grid: [usize; 2],
        conditions: &Conditions<'_>,
    ) -> Result<Tensor, ModelError> {
        self.step_observed(past, features, grid, conditions, &mut |_, _| {})
    }

    /// [`AcPredictor::step`] that shows its intermediate results to `observe`: `predictor_embed`, `predictor_blocks.{i}` with the tokens
    /// of the conditions first, and `predictor_norm` without them.
    ///
    /// # Errors
    /// As [`AcPredictor::step`].
    pub fn step_observed(
        &self,
        past: &mut AcCache,
        features: &Tensor,
        grid: [usize; 2],
        conditions: &Conditions<'_>,
        observe: &mut Observer<'_>,
    ) -> Result<Tensor, ModelError> {
        let AcCache { mut blocks, steps } = std::mem::take(past);
        let batch = self.check(features, grid, conditions)?;
        let (width, patches) = (self.config.trunk.width, grid[0] * grid[1]);
        let embedded = self.embed.forward(features)?;
        observe("predictor_embed", &embedded);
        let device = embedded.device();
        let patch_rows = embedded.reshape(&[batch, patches * width]).expect("tokens side by side");
        let leading = self.condition_tokens(&device, conditions)?;
        let own = leading.shape()[1] / width;
        let x = concat(&leading, &patch_rows)?;
        let mut x = x.reshape(&[batch, own + patches, width]).expect("a row per token");
        let place = Grid { tubelets: steps, rows: grid[0], columns: grid[1] };
        let rotary = self.rotary(&device, own, place)?;
        blocks.resize(self.blocks.len(), KeyValues::default());
        for (i, (block, before)) in self.blocks.iter().zip(&mut blocks).enumerate() {
            if before.tokens() != steps * (own + patches) {
                let expected = format!("{steps} time steps of {} tokens", own + patches);
                return Err(OpError::value("step", "past", expected, before.tokens()).into());
            }
            x = block.forward_after(before, x, Some(&rotary))?;
            observe(&format!("predictor_blocks.{i}"), &x);
        }
        let wanted = numbers(&device, (own as u32..(own + patches) as u32).collect())?;
        let x = self.norm.forward(&index_select(&x, 1, &wanted)?)?;
        observe("predictor_norm", &x);
        let predicted = self.project.forward(&x)?;
        *past = AcCache { blocks, steps: steps + 1 };
        Ok(predicted)
    }

    /// The number of batch elements, if everything fits.
    fn check(
        &self,
        features: &Tensor,
        [rows, columns]: [usize; 2],
        conditions: &Conditions<'_>,
    ) -> Result<usize, OpError> {
        let (patches, width) = (rows * columns, self.config.features);
        let batch = match *features.shape() {
            [batch, count, w] if batch > 0 && count == patches && count > 0 && w == width => batch,
            _ => {
                let expected = format!("[batch, {patches}, {width}]");
                return Err(OpError::shape("step", "features", expected, features.shape()));
            }
        };
        let cameras = if self.config.has_extrinsics { batch } else { 0 };
        for (name, expected, found) in [
            ("actions", batch, conditions.actions.len()),
            ("states", batch, conditions.states.len()),
            ("extrinsics", cameras, conditions.extrinsics.len()),
        ] {
            if found != expected {
                return Err(OpError::value("step", name, format!("{expected} rows"), found));
            }
        }
        let mut numbers = conditions.actions.iter().chain(conditions.states).flatten();
        let cameras = conditions.extrinsics.iter().flatten();
        match numbers.by_ref().chain(cameras).find(|number| !number.is_finite()) {
            Some(number) => Err(OpError::value("step", "conditions", "finite numbers", number)),
            None => Ok(batch),
        }
    }

    /// The tokens of action, state and camera side by side, `[batch, tokens * width]`.
    fn condition_tokens(&self, device: &Device, conditions: &Conditions<'_>) -> Result<Tensor, ModelError> {
        let action = self.condition(device, &self.action, conditions.actions)?;
        let state = self.condition(device, &self.state, conditions.states)?;
        let both = concat(&action, &state)?;
        match self.extrinsics.as_ref().filter(|_| self.config.has_extrinsics) {
            None => Ok(both),
            Some(layer) => Ok(concat(&both, &self.condition(device, layer, conditions.extrinsics)?)?),
        }
    }

    fn condition<const N: usize>(
        &self,
        device: &Device,
        layer: &Linear,
        rows: &[[f32; N]],
    ) -> Result<Tensor, ModelError> {
        let values = upload(device, self.values, &[rows.len(), N], rows.concat());
        let values = values.map_err(|error| match error {
            TensorError::Device(error) => ModelError::from(error),
            error => unreachable!("{error}"),
        })?;
        Ok(layer.forward(&values)?)
    }

    /// How far queries and keys turn at time `place.tubelets`: `own` tokens of the conditions in time only, patches in all.
    fn rotary(&self, device: &Device, own: usize, place: Grid) -> Result<Rotary, ModelError> {
        let mut kept = self.kept.lock().expect("no panic while the lock is held");
        if let Some(rotary) = kept.get(&(own, place)) {
            return Ok(rotary.clone());
        }
        if kept.len() >= KEPT_TABLES {
            kept.clear();
        }
        let places = places(self.config.side, own, place);
        let head_dim = self.config.trunk.width / self.config.trunk.heads;
        let (angles, rounding) = (Rope3dAngles::Tiled, Rope3dRounding::Exact);
        let tables = rope3d_tables(device, &places, 1, head_dim, ROPE_BASE, angles, rounding)?;
        let rotary = Rotary::Space(tables);
        kept.insert((own, place), rotary.clone());
        Ok(rotary)
    }
}

/// Time, height and width of the tokens of time `place.tubelets`.
pub(super) fn places(side: usize, own: usize, place: Grid) -> Vec<[f64; 3]> {
    let time = place.tubelets as f64;
    let scaled = |at: usize, extent: usize| at as f64 * side as f64 / extent as f64;
    let patch = |row| {
        (0..place.columns).map(move |column| [time, scaled(row, place.rows), scaled(column, place.columns)])
    };
    let conditions = std::iter::repeat_n([time, 0.0, 0.0], own);
    conditions.chain((0..place.rows).flat_map(patch)).collect()
}
