//! The encoder: from clips to features.

use super::places::rotary;
use super::{Clip, Config, Observer, Tokens};
use crate::ModelError;
use std::collections::BTreeMap;
use std::sync::Mutex;
use steropes_nn::{BlockExtents, Conv2d, EncoderBlock, LayerNorm, LoadError, Rotary, Weights};
use steropes_ops::OpError;
use steropes_ops::elementwise::concat::concat;
use steropes_ops::vision::conv2d::ConvOptions;
use steropes_tensor::Tensor;

/// Grids of whole clips whose rotary tables are kept.
const KEPT_GRIDS: usize = 8;

/// The encoder. Its attention sees all tokens that it is given, so features of one token depend on the others.
#[derive(Debug)]
pub struct Encoder {
    config: Config,
    clips: Conv2d,
    images: Option<Conv2d>,
    blocks: Vec<EncoderBlock>,
    /// One, or those of the levels.
    norms: Vec<LayerNorm>,
    is_untrained: bool,
    kept: Mutex<BTreeMap<super::Grid, Rotary>>,
}

impl Encoder {
    /// Reads the encoder below `weights`, in the official names: `patch_embed`, `blocks`, `norm` or `norms_block`, and, as `config`
    /// says, `patch_embed_img`, `video_mod_embed` and `img_mod_embed`.
    ///
    /// # Errors
    /// [`LoadError`] if a tensor is missing or has another shape.
    pub fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, LoadError> {
        let (width, patch) = (config.encoder.width, config.patch_size);
        let modality =
            |name: &str| config.has_modality_embed.then(|| weights.values(name, &[1, 1, width])).transpose();
        let extents = BlockExtents {
            width,
            heads: config.encoder.heads,
            hidden: config.hidden,
            norm_eps: config.norm_eps,
            has_layer_scale: false,
        };
        // The largest layers first: what a layer is made from is in memory beside it for a while.
        let blocks = weights.at("blocks");
        let blocks = blocks.each(config.encoder.depth, |i| EncoderBlock::load(&blocks.at(i), &extents))?;
        let (video, image) = (modality("video_mod_embed")?, modality("img_mod_embed")?);
        let clips = weights.at("patch_embed.proj");
        let clips = Conv2d::load_tubelets(&clips, [3, config.tubelet], width, patch, video.as_deref())?;
        let images = config.has_image_embed.then(|| {
            let images = weights.at("patch_embed_img.proj");
            Conv2d::load_tubelets(&images, [3, 1], width, patch, image.as_deref())
        });
        let paths: Vec<Weights<'_>> = match config.levels.len() {
            0 => vec![weights.at("norm")],
            levels => (0..levels).map(|i| weights.at("norms_block").at(i)).collect(),
        };
        let last = paths.last().expect("at least one norm");
        let is_untrained = last.values("weight", &[width])?.iter().all(|&gamma| gamma == 1.0)
            && last.values("bias", &[width])?.iter().all(|&beta| beta == 0.0);
        let norms = paths.iter().map(|path| LayerNorm::load(path, width, config.norm_eps));
        Ok(Self {
            config: config.clone(),
            clips,
            images: images.transpose()?,
            blocks,
            norms: norms.collect::<Result<_, _>>()?,
            is_untrained,
            kept: Mutex::default(),
        })
    }

    /// Whether the last normalisation is as networks begin with it, factors of 1 and no shifts: then nothing was learned.
    pub fn is_untrained(&self) -> bool {
        self.is_untrained
    }

    /// Whether single frames are embedded as images, and not as clips.
    pub(super) fn embeds_images(&self) -> bool {
        self.images.is_some()
    }

    /// The tokens of clips before the first block. Each tubelet is embedded by itself: tokens of tubelets that are embedded one by one
    /// and [joined](Tokens::join_in_time) are those of the clip.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the clip is of a network with other patches or on another device.
    pub fn embed(&self, clip: &Clip) -> Result<Tokens, ModelError> {
        let layer = self.images.as_ref().filter(|_| clip.is_image).unwrap_or(&self.clips);
        let map = layer.forward(&clip.tubelets, ConvOptions::default())?;
        let width = self.config.encoder.width;
        let tokens = map.reshape(&[clip.batch, clip.grid.tokens(), width]);
        let Ok(values) = tokens else {
            return Err(OpError::value("embed", "clip", "a clip of this network", "one of another").into());
        };
        Tokens::new(values, clip.grid, None)
    }

    /// The features of embedded tokens, all of a clip or some: those after the last block, normalised.
    ///
    /// # Shapes
    /// - returns: as many tokens, in their order and at their places
    ///
    /// # Errors
    /// [`ModelError::Input`] if the tokens have another width, [`ModelError::Device`] if the device has no memory for them.
    pub fn encode(&self, tokens: Tokens) -> Result<Tokens, ModelError> {
        self.encode_observed(tokens, &mut |_, _| {})
    }

    /// [`Encoder::encode`] that shows its intermediate results to `observe`.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_observed(&self, tokens: Tokens, observe: &mut Observer<'_>) -> Result<Tokens, ModelError> {
        let last = self.blocks.len() - 1;
        let mut features = self.run(tokens, &[last], observe)?;
        let features = features.pop().expect("one layer was asked for");
        observe("norm", &features.values);
        Ok(features)
    }

    /// Features after each of the blocks `layers` (from 0, ascending), each through the normalisation of the last block; of a network
    /// with levels through that of its level.
    ///
    /// # Errors
    /// As [`Encoder::encode`], and [`ModelError::Input`] if there is no such block, they do not ascend, or a block is no level of a
    /// network with levels.
    pub fn encode_layers(&self, tokens: Tokens, layers: &[usize]) -> Result<Vec<Tokens>, ModelError> {
        self.run(tokens, layers, &mut |_, _| {})
    }

    /// The features of all levels side by side in each token; of a network without levels those of its last block.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_levels(&self, tokens: Tokens) -> Result<Tokens, ModelError> {
        if self.config.levels.is_empty() {
            return self.encode(tokens);
        }
        let levels = self.run(tokens, &self.config.levels, &mut |_, _| {})?;
        let mut levels = levels.into_iter();
        let mut all = levels.next().expect("at least one level");
        for level in levels {
            all.values = concat(&all.values, &level.values)?;
        }
        Ok(all)
    }

    fn run(
        &self,
        tokens: Tokens,
        layers: &[usize],
        observe: &mut Observer<'_>,
    ) -> Result<Vec<Tokens>, ModelError> {
        self.check_layers(layers)?;
        let Tokens { values, grid, ids } = tokens;
        let width = self.config.encoder.width;
        if !matches!(*values.shape(), [_, count, w] if w == width && count > 0) {
            return Err(OpError::shape(
                "encode",
                "tokens",
                format!("[batch, tokens, {width}]"),
                values.shape(),
            )
            .into());
        }
        let rotary = self.rotary(&values, grid, ids.as_ref())?;
        let mut x = values;
        let mut out = Vec::with_capacity(layers.len());
        let deepest = layers.last().map_or(0, |&last| last + 1);
        for (i, block) in self.blocks.iter().enumerate().take(deepest) {
            x = block.forward(x, Some(&rotary))?;
            observe(&format!("blocks.{i}"), &x);
            if layers.contains(&i) {
                let values = self.norm_of(i).forward(&x)?;
                out.push(Tokens { values, grid, ids: ids.clone() });
            }
        }
        Ok(out)
    }

    fn check_layers(&self, layers: &[usize]) -> Result<(), OpError> {
        let depth = self.blocks.len();
        let ascend = layers.windows(2).all(|pair| pair[0] < pair[1]);
        if !ascend || layers.last().is_none_or(|&last| last >= depth) {
            let expected = format!("ascending numbers of blocks below {depth}");
            return Err(OpError::value("encode", "layers", expected, format!("{layers:?}")));
        }
        let levels = &self.config.levels;
        if levels.is_empty() {
            return Ok(());
        }
        match layers.iter().find(|layer| !levels.contains(layer) && **layer != depth - 1) {
            None => Ok(()),
            Some(layer) => {
                Err(OpError::value("encode", "layers", format!("among the levels {levels:?}"), layer))
            }
        }
    }

    /// The normalisation of features after block `i`.
    fn norm_of(&self, i: usize) -> &LayerNorm {
        let level = self.config.levels.iter().position(|&level| level == i);
        &self.norms[level.unwrap_or(self.norms.len() - 1)]
    }

    fn rotary(
        &self,
        x: &Tensor,
        grid: super::Grid,
        ids: Option<&super::places::Ids>,
    ) -> Result<Rotary, ModelError> {
        let (device, head_dim) = (x.device(), self.config.encoder.width / self.config.encoder.heads);
        if ids.is_some() {
            return rotary(&device, &self.config, head_dim, grid, ids);
        }
        let mut kept = self.kept.lock().expect("no panic while the lock is held");
        if let Some(rotary) = kept.get(&grid) {
            return Ok(rotary.clone());
        }
        if kept.len() >= KEPT_GRIDS {
            kept.clear();
        }
        let rotary = rotary(&device, &self.config, head_dim, grid, None)?;
        kept.insert(grid, rotary.clone());
        Ok(rotary)
    }
}
