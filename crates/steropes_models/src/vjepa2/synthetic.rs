//! The tensors of V-JEPA 2 networks by name and shape, for weights that are generated: for benches and tests of sizes whose published
//! weights are not at hand.

use crate::mast3r::Trunk;
use crate::mast3r::synthetic::{Parameter, layer, mlp, norms};

/// The extents of a network, as far as they decide the shapes of its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// The encoder.
    pub encoder: Trunk,
    /// Width of the hidden layer of a perceptron in the encoder.
    pub hidden: usize,
    /// The mask predictor, whose perceptrons are 4 times as wide.
    pub predictor: Trunk,
    /// Mask tokens of the predictor.
    pub mask_tokens: usize,
    /// Frames of a tubelet.
    pub tubelet: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
}

impl Extents {
    /// Those of the published ViT-L (arXiv:2506.09985): 304 million weights, and 22 million of its mask predictor.
    pub const LARGE: Self = Self {
        encoder: Trunk { width: 1024, depth: 24, heads: 16 },
        hidden: 4096,
        predictor: Trunk { width: 384, depth: 12, heads: 12 },
        mask_tokens: 10,
        tubelet: 2,
        patch: 16,
    };

    /// A network of some ten thousand weights, for tests.
    pub const TINY: Self = Self {
        encoder: Trunk { width: 32, depth: 2, heads: 2 },
        hidden: 64,
        predictor: Trunk { width: 24, depth: 2, heads: 2 },
        mask_tokens: 3,
        tubelet: 2,
        patch: 16,
    };
}

/// What V-JEPA 2.1 has in the place of one normalisation: those of four levels, vectors of the modality, and an embedding of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 2.0.
    V2_0,
    /// 2.1.
    V2_1,
}

/// The tensors of an encoder under their official names.
pub fn encoder(e: &Extents, version: Version) -> Vec<Parameter> {
    let width = e.encoder.width;
    let mut out = Vec::new();
    layer(&mut out, "patch_embed.proj", &[width, 3, e.tubelet, e.patch, e.patch]);
    blocks(&mut out, "blocks", e.encoder, e.hidden);
    match version {
        Version::V2_0 => norms(&mut out, "", &["norm"], width),
        Version::V2_1 => {
            norms(&mut out, "norms_block", &["0", "1", "2", "3"], width);
            layer(&mut out, "patch_embed_img.proj", &[width, 3, 1, e.patch, e.patch]);
            out.extend(["video_mod_embed", "img_mod_embed"].map(|name| (name.to_owned(), vec![1, 1, width])));
        }
    }
    out
}

/// The tensors of a mask predictor under their official names.
pub fn predictor(e: &Extents) -> Vec<Parameter> {
    let (inputs, width) = (e.encoder.width, e.predictor.width);
    let mut out = Vec::new();
    layer(&mut out, "predictor_embed", &[width, inputs]);
    out.extend((0..e.mask_tokens).map(|i| (format!("mask_tokens.{i}"), vec![1, 1, width])));
    blocks(&mut out, "predictor_blocks", e.predictor, 4 * width);
    norms(&mut out, "", &["predictor_norm"], width);
    layer(&mut out, "predictor_proj", &[inputs, width]);
    out
}

/// All tensors of a training checkpoint with one encoder and the mask predictor, as a file holds them.
pub fn checkpoint(e: &Extents, version: Version) -> Vec<Parameter> {
    let named =
        |path: &'static str| move |(name, shape): Parameter| (format!("{path}.backbone.{name}"), shape);
    let encoder = encoder(e, version).into_iter().map(named("encoder"));
    encoder.chain(predictor(e).into_iter().map(named("predictor"))).collect()
}

/// The tensors of a predictor of actions (V-JEPA 2-AC) under their official names, for features of `features` values; its perceptrons
/// are 4 times as wide.
pub fn action_predictor(features: usize, trunk: Trunk) -> Vec<Parameter> {
    let width = trunk.width;
    let mut out = Vec::new();
    layer(&mut out, "predictor_embed", &[width, features]);
    layer(&mut out, "action_encoder", &[width, 7]);
    layer(&mut out, "state_encoder", &[width, 7]);
    layer(&mut out, "extrinsics_encoder", &[width, 6]);
    blocks(&mut out, "predictor_blocks", trunk, 4 * width);
    norms(&mut out, "", &["predictor_norm"], width);
    layer(&mut out, "predictor_proj", &[features, width]);
    out
}

/// The tensors of a classifier under their official names: `depth` blocks and a cross-attention of tokens of `width` values, whose
/// perceptrons are 4 times as wide, with one learned token for each of the linear layers, which have a name and a number of classes.
pub fn probe(width: usize, depth: usize, layers: &[(&str, usize)]) -> Vec<Parameter> {
    let mut out = vec![("pooler.query_tokens".to_owned(), vec![1, layers.len(), width])];
    blocks(&mut out, "pooler.blocks", Trunk { width, depth, heads: 1 }, 4 * width);
    let cross = "pooler.cross_attention_block";
    norms(&mut out, cross, &["norm1", "norm2"], width);
    layer(&mut out, &format!("{cross}.xattn.q"), &[width, width]);
    layer(&mut out, &format!("{cross}.xattn.kv"), &[2 * width, width]);
    mlp(&mut out, &format!("{cross}.mlp"), [width, 4 * width, width]);
    for (name, classes) in layers {
        layer(&mut out, name, &[*classes, width]);
    }
    out
}

fn blocks(out: &mut Vec<Parameter>, path: &str, trunk: Trunk, hidden: usize) {
    let width = trunk.width;
    for i in 0..trunk.depth {
        let block = format!("{path}.{i}");
        norms(out, &block, &["norm1", "norm2"], width);
        layer(out, &format!("{block}.attn.qkv"), &[3 * width, width]);
        layer(out, &format!("{block}.attn.proj"), &[width, width]);
        mlp(out, &format!("{block}.mlp"), [width, hidden, width]);
    }
}
