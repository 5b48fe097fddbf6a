//! A loaded network.

use super::clip::interleave;
use super::{Clip, Config, Encoder, Grid, OpenOptions, Predictor, Source, Tokens};
use crate::memory::give_back_freed_memory;
use crate::precision::upload;
use crate::{ModelError, Precision};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use std::sync::OnceLock;
use steropes_nn::WeightType;
use steropes_ops::OpError;
use steropes_tensor::{Device, TensorError};

/// What is known about a loaded network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// Name of the model: that of its folder or file.
    pub name: String,
    /// Number of weights that are used.
    pub parameters: u64,
    /// Whether the encoder's last normalisation is as networks begin with it, so that nothing was learned: such features mean nothing.
    pub is_untrained: bool,
}

/// A V-JEPA 2 network with its weights on a device.
#[derive(Debug)]
pub struct Model {
    config: Config,
    info: ModelInfo,
    source: Source,
    sha256: OnceLock<String>,
    device: Device,
    precision: WeightType,
    encoder: Encoder,
    predictor: Option<Predictor>,
}

impl Model {
    /// The model in an official `.pt` file, in a folder of Hugging Face's library, or in a `.safetensors` file with the names of either.
    /// Nothing in a file is run, and every tensor of what is read must fit.
    ///
    /// # Errors
    /// [`ModelError::Load`], [`ModelError::Config`], [`ModelError::Precision`] or [`ModelError::OnlyCpu`], each one line that names the
    /// file and says what to do.
    pub fn open(
        path: &Path,
        device: &Device,
        precision: Precision,
        options: &OpenOptions,
    ) -> Result<Self, ModelError> {
        let source = Source::open(path, options.encoder)?;
        Self::load(crate::mast3r::name_of(path), source, device, precision, options)
    }

    /// The model in an opened file; `name` is its name.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn load(
        name: String,
        source: Source,
        device: &Device,
        precision: Precision,
        options: &OpenOptions,
    ) -> Result<Self, ModelError> {
        let config = Config::of(&source, options)?;
        let precision = precision.of_stored(device, source.checkpoint().block_format());
        let precision = precision.on(device, source.checkpoint().summary().bytes)?;
        let encoder = Encoder::load(&source.encoder(device, precision), &config)?;
        let predictor = match (&config.predictor, source.predictor(device, precision)) {
            (Some(own), Some(weights)) => Some(Predictor::load(&weights, &config, own)?),
            _ => None,
        };
        give_back_freed_memory();
        source.check_leftovers(predictor.is_some())?;
        let (parameters, is_untrained) = (source.checkpoint().values_read(), encoder.is_untrained());
        let info = ModelInfo { name, parameters, is_untrained };
        let (device, sha256) = (device.clone(), OnceLock::new());
        Ok(Self { config, info, source, sha256, device, precision, encoder, predictor })
    }

    /// Name, number of weights, and whether they were trained.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The opened weight file, for parts that stand on the encoder.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// SHA-256 of the weight file, or of its files one after the other, as 64 hexadecimal digits. The first call reads them.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| {
            let mut hash = Sha256::new();
            self.source.checkpoint().for_each_piece(|bytes| hash.update(bytes));
            format!("{:x}", hash.finalize())
        })
    }

    /// The device that holds the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How the weights of linear layers are held.
    pub fn precision(&self) -> WeightType {
        self.precision
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The mask predictor, if it was read.
    pub fn predictor(&self) -> Option<&Predictor> {
        self.predictor.as_ref()
    }

    /// Clips on the device of the model, as [`Model::embed`] takes them.
    ///
    /// A frame behind the last whole tubelet is left out, and so are rows and columns behind the last whole patch. A single frame is
    /// shown as often as a tubelet has frames, or embedded as an image if the network has weights for that.
    ///
    /// # Shapes
    /// - `values`: `[batch, frames, height, width, 3]` for the `shape` `[batch, frames, height, width]`
    ///
    /// # Units
    /// RGB in [0, 1] less the mean of ImageNet, (0.485, 0.456, 0.406), over its standard deviation, (0.229, 0.224, 0.225).
    ///
    /// # Errors
    /// [`ModelError::Input`] if there are not as many values as the shape has, no frame, or no whole patch; [`ModelError::Device`] if the
    /// device has no memory for them.
    pub fn clip(&self, shape: [usize; 4], values: &[f32]) -> Result<Clip, ModelError> {
        let [batch, frames, height, width] = shape;
        let patch = self.config.patch_size;
        if batch == 0 || frames == 0 || height < patch || width < patch {
            let expected =
                format!("[batch, frames, height, width] with a frame of {patch} x {patch} pixels or more");
            return Err(OpError::shape("clip", "frames", expected, &shape).into());
        }
        let count =
            [batch, frames, height, width, 3].iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
        if count != Some(values.len()) {
            let expected = format!("[batch, frames, height, width, 3] values for {shape:?}");
            return Err(OpError::value("clip", "values", expected, values.len()).into());
        }
        let is_image = frames == 1 && self.encoder.embeds_images();
        let depth = if is_image { 1 } else { self.config.tubelet };
        let pairs = interleave(values, [batch, frames, height * width], depth);
        let grid = Grid { tubelets: (frames / depth).max(1), rows: height / patch, columns: width / patch };
        let extents = [batch * grid.tubelets, height, width, depth * 3];
        let tubelets = upload(&self.device, self.precision.values(), &extents, pairs);
        match tubelets {
            Ok(tubelets) => Ok(Clip { tubelets, batch, grid, is_image }),
            Err(TensorError::Device(error)) => Err(error.into()),
            Err(error) => unreachable!("{error}"),
        }
    }

    /// [`Encoder::embed`].
    ///
    /// # Errors
    /// As [`Encoder::embed`].
    pub fn embed(&self, clip: &Clip) -> Result<Tokens, ModelError> {
        self.encoder.embed(clip)
    }

    /// [`Encoder::encode`].
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode(&self, tokens: Tokens) -> Result<Tokens, ModelError> {
        self.encoder.encode(tokens)
    }

    /// The features of all tokens of clips.
    ///
    /// # Errors
    /// As [`Encoder::embed`] and [`Encoder::encode`].
    pub fn features(&self, clip: &Clip) -> Result<Tokens, ModelError> {
        self.encode(self.embed(clip)?)
    }

    /// [`Predictor::predict`].
    ///
    /// # Errors
    /// As [`Predictor::predict`], and [`ModelError::NoPredictor`] if none was read.
    pub fn predict(
        &self,
        context: &Tokens,
        targets: &[Vec<u32>],
        mask_index: usize,
    ) -> Result<Tokens, ModelError> {
        let Some(predictor) = &self.predictor else {
            return Err(ModelError::NoPredictor { model: self.info.name.clone() });
        };
        predictor.predict(context, targets, mask_index)
    }
}
