//! The mask predictor: from features at some places to those at others.

use super::places::{Ids, rotary};
use super::tokens::{check_lists, indices};
use super::{Config, Observer, PredictorConfig, Tokens};
use crate::ModelError;
use steropes_nn::{BlockExtents, EncoderBlock, LayerNorm, Linear, LoadError, Weights};
use steropes_ops::elementwise::concat::concat;
use steropes_ops::matching::gather_rows::gather_rows;
use steropes_tensor::Tensor;

/// The mask predictor. What it says is to be compared with [normalised](Tokens::normalized) features of an encoder that saw the whole
/// clip, where the features that it is given are those of an encoder that saw no more than their places.
#[derive(Debug)]
pub struct Predictor {
    config: Config,
    own: PredictorConfig,
    embed: Linear,
    /// One row for each token, `[1, width]`.
    mask_tokens: Vec<Tensor>,
    blocks: Vec<EncoderBlock>,
    norm: LayerNorm,
    project: Linear,
}

impl Predictor {
    /// The mask token that published programs take where none is named.
    pub const MASK_INDEX: usize = 1;

    /// Reads the predictor below `weights`, in the official names: `predictor_embed`, `mask_tokens`, `predictor_blocks`,
    /// `predictor_norm` and `predictor_proj`. Mask tokens are one tensor each or a single one.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(weights: &Weights<'_>, config: &Config, own: &PredictorConfig) -> Result<Self, LoadError> {
        let (inputs, width) = (config.encoder.width, own.trunk.width);
        let extents = BlockExtents {
            width,
            heads: own.trunk.heads,
            hidden: own.hidden,
            norm_eps: config.norm_eps,
            has_layer_scale: false,
        };
        let blocks = weights.at("predictor_blocks");
        Ok(Self {
            embed: Linear::load(&weights.at("predictor_embed"), inputs, width)?,
            mask_tokens: mask_tokens(weights, own)?,
            blocks: blocks.each(own.trunk.depth, |i| EncoderBlock::load(&blocks.at(i), &extents))?,
            norm: LayerNorm::load(&weights.at("predictor_norm"), width, config.norm_eps)?,
            project: Linear::load(&weights.at("predictor_proj"), width, inputs)?,
            config: config.clone(),
            own: *own,
        })
    }

    /// What the encoder would say, normalised, at the places with the numbers `targets`, from the features `context` of others: a list
    /// for each batch element or one for all, all equally long. Numbers may lie behind the clip, in tubelets to come, and may be among
    /// those of the context. `mask_index` counts the mask tokens and begins anew behind the last.
    ///
    /// # Shapes
    /// - `context`: features of the encoder, `[batch, count, width]`
    /// - returns: `[batch, targets, width]`, in the order of `targets`
    ///
    /// # Errors
    /// [`ModelError::Input`] if an argument is not as above, [`ModelError::Device`] if the device has no memory for the tokens.
    pub fn predict(
        &self,
        context: &Tokens,
        targets: &[Vec<u32>],
        mask_index: usize,
    ) -> Result<Tokens, ModelError> {
        self.predict_observed(context, targets, mask_index, &mut |_, _| {})
    }

    /// [`Predictor::predict`] that shows its intermediate results to `observe`.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    pub fn predict_observed(
        &self,
        context: &Tokens,
        targets: &[Vec<u32>],
        mask_index: usize,
        observe: &mut Observer<'_>,
    ) -> Result<Tokens, ModelError> {
        let (batch, count) = (context.batch(), context.count());
        check_lists(targets, batch, None)?;
        let embedded = self.embed.forward(&context.values)?;
        observe("predictor_embed", &embedded);
        let order = Order::of(context, targets);
        let device = embedded.device();
        let width = self.own.trunk.width;
        let mask = &self.mask_tokens[mask_index % self.mask_tokens.len()];
        let mut x = {
            let all = concat(&flat(&embedded), &flat(mask))?;
            let all = all.reshape(&[batch * count + 1, width]).expect("a row per token");
            drop(embedded);
            gather_rows(&all, &indices(&device, order.sources(batch, count))?)?
        };
        let total = order.total();
        x = x.reshape(&[batch, total, width]).expect("a row per token");
        let head_dim = width / self.own.trunk.heads;
        let rotary = rotary(&device, &self.config, head_dim, context.grid, Some(&order.ids))?;
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, Some(&rotary))?;
            observe(&format!("predictor_blocks.{i}"), &x);
        }
        let x = self.norm.forward(&x)?;
        observe("predictor_norm", &x);
        let rows = x.reshape(&[batch * total, width]).expect("clips one after the other");
        let wanted = gather_rows(&rows, &indices(&device, order.targets(batch, count))?)?;
        let values = self.project.forward(&wanted)?;
        let each = targets[0].len();
        let values = values.reshape(&[batch, each, self.config.encoder.width]).expect("a row per target");
        Tokens::new(values, context.grid, Some(targets.to_vec()))
    }
}

/// All mask tokens, from a tensor each or from one with all.
fn mask_tokens(weights: &Weights<'_>, own: &PredictorConfig) -> Result<Vec<Tensor>, LoadError> {
    let (count, width) = (own.mask_tokens, own.trunk.width);
    let values = if weights.has("mask_tokens") {
        weights.values("mask_tokens", &[count, 1, 1, width])?
    } else {
        let tokens = weights.at("mask_tokens");
        let each = (0..count).map(|i| tokens.values(&i.to_string(), &[1, 1, width]));
        each.collect::<Result<Vec<_>, _>>()?.concat()
    };
    let token = |values: &[f32]| weights.upload_factor("mask_tokens", &[1, width], values.to_vec());
    values.chunks_exact(width).map(token).collect()
}

/// `x` as one row.
fn flat(x: &Tensor) -> Tensor {
    x.clone().reshape(&[x.len()]).expect("as many elements")
}

/// Context and targets of clips in the order of their numbers; of equal numbers the context comes first.
struct Order {
    /// The numbers in order.
    ids: Ids,
    /// For each of them, which of context and targets it is, counted one after the other.
    items: Vec<Vec<usize>>,
}

impl Order {
    fn of(context: &Tokens, targets: &[Vec<u32>]) -> Self {
        let all: Ids = vec![(0..context.count() as u32).collect()];
        let known = context.ids.as_ref().unwrap_or(&all);
        let list = |b: usize| {
            let joined = [known[b % known.len()].as_slice(), &targets[b % targets.len()]].concat();
            let mut items: Vec<usize> = (0..joined.len()).collect();
            items.sort_by_key(|&item| joined[item]);
            let ids = items.iter().map(|&item| joined[item]).collect();
            (ids, items)
        };
        // If neither has a list for each batch element, one does for all.
        let lists = known.len().max(targets.len());
        let (ids, items) = (0..lists).map(list).unzip();
        Self { ids, items }
    }

    /// Tokens of a clip.
    fn total(&self) -> usize {
        self.items[0].len()
    }

    /// The rows of the tokens in order, where the context of all clips is followed by one mask token.
    fn sources(&self, batch: usize, count: usize) -> Vec<u32> {
        let row = |b: usize, item: usize| if item < count { b * count + item } else { batch * count };
        let items = |b: usize| self.items[b % self.items.len()].iter().map(move |&item| row(b, item) as u32);
        (0..batch).flat_map(items).collect()
    }

    /// The rows of the targets among the tokens in order.
    fn targets(&self, batch: usize, count: usize) -> Vec<u32> {
        let total = self.total();
        let rows = |b: usize| {
            let mut rows = vec![0; total - count];
            for (place, &item) in self.items[b % self.items.len()].iter().enumerate() {
                if item >= count {
                    rows[item - count] = (b * total + place) as u32;
                }
            }
            rows
        };
        (0..batch).flat_map(rows).collect()
    }
}
