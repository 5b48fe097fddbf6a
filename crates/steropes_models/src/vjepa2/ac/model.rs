//! A loaded network: the encoder of frames and the predictor.

use super::{AcConfig, AcPredictor};
use crate::mast3r::Trunk;
use crate::vjepa2::{Model, OpenOptions, Source, Tokens};
use crate::{ModelError, Precision};
use std::path::Path;
use steropes_nn::Weights;
use steropes_tensor::Device;

/// Heads of the published predictor by its width.
const PUBLISHED_HEADS: [(usize, usize); 1] = [(1024, 16)];
/// What is added to the variance in the predictor's normalisations.
const NORM_EPS: f32 = 1e-6;

/// How a network is read.
#[derive(Clone, Debug, PartialEq)]
pub struct AcOptions {
    /// How its encoder is read; [`OpenOptions::crop_size`] is also the side of the predictor's frames in training.
    pub encoder: OpenOptions,
    /// Heads of the predictor, where its width does not say it.
    pub heads: Option<usize>,
    /// Whether the predictor has a token for the place of the camera: `use_extrinsics` of its training.
    pub has_extrinsics: bool,
}

impl Default for AcOptions {
    /// As the published network was trained: without the place of the camera.
    fn default() -> Self {
        let encoder = OpenOptions { with_predictor: false, ..OpenOptions::default() };
        Self { encoder, heads: None, has_extrinsics: false }
    }
}

/// V-JEPA 2-AC with its weights on a device.
#[derive(Debug)]
pub struct AcModel {
    encoder: Model,
    predictor: AcPredictor,
}

impl AcModel {
    /// The network in an official `.pt` file, or a `.safetensors` file with the same names: `encoder` and `predictor`. Nothing in a file
    /// is run, and every tensor of both parts must fit.
    ///
    /// # Errors
    /// [`ModelError::Load`], [`ModelError::Config`], [`ModelError::Precision`] or [`ModelError::OnlyCpu`], each one line that names the
    /// file and says what to do.
    pub fn open(
        path: &Path,
        device: &Device,
        precision: Precision,
        options: &AcOptions,
    ) -> Result<Self, ModelError> {
        let source = Source::open(path, options.encoder.encoder)?;
        Self::load(crate::mast3r::name_of(path), source, device, precision, options)
    }

    /// The network in an opened file; `name` is its name.
    ///
    /// # Errors
    /// As [`AcModel::open`].
    pub fn load(
        name: String,
        source: Source,
        device: &Device,
        precision: Precision,
        options: &AcOptions,
    ) -> Result<Self, ModelError> {
        // Before the encoder, which takes its time, is read.
        let root = root_of(&source)?;
        let encoder = OpenOptions { with_predictor: false, ..options.encoder.clone() };
        let encoder = Model::load(name, source, device, precision, &encoder)?;
        let checkpoint = encoder.source().checkpoint();
        let weights = Weights::new(checkpoint, device).in_precision(encoder.precision());
        let weights = if root.is_empty() { weights } else { weights.at(&root) };
        let config = config_of(&weights, &encoder, options)?;
        let predictor = AcPredictor::load(&weights, &config)?;
        let is_own = |name: &str| !root.is_empty() && name.starts_with(&format!("{root}."));
        checkpoint.check_leftovers(|name| !is_own(name) || name.ends_with("predictor_pos_embed"))?;
        Ok(Self { encoder, predictor })
    }

    /// The encoder, with the name, the file and the device of the network.
    pub fn encoder(&self) -> &Model {
        &self.encoder
    }

    /// The predictor.
    pub fn predictor(&self) -> &AcPredictor {
        &self.predictor
    }

    /// Whether encoder or predictor is as networks begin, so that nothing was learned: what it says means nothing.
    pub fn is_untrained(&self) -> bool {
        self.encoder.info().is_untrained || self.predictor.is_untrained()
    }

    /// The features of frames, each by itself and shown for the two frames of a clip; each token normalised.
    ///
    /// # Shapes
    /// - `values`: `[count, height, width, 3]` for the `shape` `[count, height, width]`, as [`super::ac_picture`] gives them
    /// - returns: `[count, rows * columns, features]`
    ///
    /// # Units
    /// As [`Model::clip`].
    ///
    /// # Errors
    /// As [`Model::clip`] and [`Model::features`].
    pub fn features(&self, shape: [usize; 3], values: &[f32]) -> Result<Tokens, ModelError> {
        let [count, height, width] = shape;
        let clip = self.encoder.clip([count, 1, height, width], values)?;
        self.encoder.features(&clip)?.normalized()
    }
}

/// The path of the predictor: that of its encoder of actions.
fn root_of(source: &Source) -> Result<String, ModelError> {
    const TENSOR: &str = "action_encoder.weight";
    let root = |name: &str| Some(name.strip_suffix(TENSOR)?.trim_end_matches('.').to_owned());
    source.checkpoint().names().find_map(root).ok_or_else(|| ModelError::Config {
        file: source.file(),
        problem: "holds no predictor of actions (`predictor.action_encoder`); give a V-JEPA 2-AC checkpoint"
            .to_owned(),
    })
}

fn config_of(weights: &Weights<'_>, encoder: &Model, options: &AcOptions) -> Result<AcConfig, ModelError> {
    let wrong = |problem| ModelError::Config { file: encoder.source().file(), problem };
    let [width, _] = weights.shape("action_encoder.weight")?;
    let blocks = weights.at("predictor_blocks");
    let depth = (0..).take_while(|&i| blocks.at(i).has("norm1.weight")).count().max(1);
    let [hidden, _] = blocks.at(0).shape("mlp.fc1.weight")?;
    let published = PUBLISHED_HEADS.into_iter().find_map(|(of, heads)| (of == width).then_some(heads));
    let Some(heads) = options.heads.or(published) else {
        return Err(wrong(format!(
            "its predictor of actions has width {width}, which no published network has; say how many heads it has"
        )));
    };
    if heads == 0 || !width.is_multiple_of(heads) || width / heads < 6 {
        return Err(wrong(format!(
            "its predictor of actions of width {width} cannot have {heads} heads; give a number that divides the width into heads of 6 values or more"
        )));
    }
    Ok(AcConfig {
        trunk: Trunk { width, depth, heads },
        hidden,
        features: encoder.config().encoder.width,
        side: encoder.config().crop_side(),
        norm_eps: NORM_EPS,
        has_extrinsics: options.has_extrinsics,
    })
}
