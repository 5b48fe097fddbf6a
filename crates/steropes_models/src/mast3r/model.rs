//! A loaded network.

use super::croco::CrocoEncoder;
use super::decoder::Decoder;
use super::encoder::{Encoded, Encoder};
use super::head::{Head, ViewOutput};
use super::{Config, ConfigSource, EncoderKind, HeadKind, Observer};
use crate::dune::{self, DuneEncoder};
use crate::memory::give_back_freed_memory;
use crate::precision::upload;
use crate::{ModelError, Precision};
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::path::Path;
use std::sync::OnceLock;
use steropes_nn::{Checkpoint, LoadError, WeightType, Weights};
use steropes_ops::OpError;
use steropes_tensor::{Device, Tensor, TensorError};

const EMBEDDED_CONFIG: &str = include_str!("../../../../models/steropes-tiny/config.json");
static EMBEDDED_WEIGHTS: &[u8] = include_bytes!("../../../../models/steropes-tiny/model.safetensors");

/// What is known about a loaded network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// Name of the model: the embedded one's, or that of its folder or file.
    pub name: String,
    /// Licence of the weights, if the configuration states it.
    pub licence: Option<String>,
    /// Number of weights that inference uses; weights used in two places count once.
    pub parameters: u64,
    /// Side of a patch in pixels; the sides of images must be multiples of it.
    pub patch_size: usize,
    /// Whether square images may be used as they are.
    pub square_ok: bool,
    /// Whether the outputs have descriptors.
    pub has_descriptors: bool,
    /// Long sides in pixels that the network was trained with, ascending; empty if unknown.
    pub training_sizes: Vec<usize>,
}

/// The outputs of both orders of a pair: the first digit is the image, the second the image whose camera is the
/// frame of the points.
#[derive(Clone, Debug)]
pub struct BothOrders {
    /// The first image as reference.
    pub out11: ViewOutput,
    /// The second image in the frame of the first.
    pub out21: ViewOutput,
    /// The second image as reference.
    pub out22: ViewOutput,
    /// The first image in the frame of the second.
    pub out12: ViewOutput,
}

/// A network of the MASt3R and DUSt3R family with its weights on a device.
#[derive(Debug)]
pub struct Model {
    config: Config,
    info: ModelInfo,
    /// What the network was read from.
    files: Vec<Checkpoint>,
    sha256: OnceLock<String>,
    device: Device,
    precision: WeightType,
    encoder: Encoder,
    decoder: Decoder,
    heads: [Head; 2],
}

impl Model {
    /// The name of the model that is built into the program.
    pub const EMBEDDED: &'static str = "steropes-tiny";

    /// The model that is built into the program.
    ///
    /// # Errors
    /// [`ModelError::Precision`], or [`ModelError::Load`] if the device has no memory for it.
    pub fn embedded(device: &Device, precision: Precision) -> Result<Self, ModelError> {
        Self::from_bytes(Self::EMBEDDED, EMBEDDED_CONFIG, EMBEDDED_WEIGHTS, device, precision)
    }

    /// The text of the built-in model's `config.json`, and the bytes of its weight file.
    pub fn embedded_files() -> (&'static str, &'static [u8]) {
        (EMBEDDED_CONFIG, EMBEDDED_WEIGHTS)
    }

    /// The model in a folder with `config.json` and safetensors files, in a `.safetensors` file with a `config.json`
    /// beside it, or in a `.pth` file of `torch.save` that says in `args.model` how the network is built. The weights
    /// are mapped, and everything is checked before this returns.
    ///
    /// A DUNE encoder may be in the file (below `dune_backbone` or `encoder`) or beside it: in `encoder.safetensors`,
    /// `encoder.pth`, or the `.pth` file that `dune_backbone_name` in the weight file means.
    ///
    /// # Errors
    /// [`ModelError::Load`], [`ModelError::Config`] or [`ModelError::Precision`], each one line that names the file and says
    /// what to do.
    pub fn open(path: &Path, device: &Device, precision: Precision) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::open(path)?;
        let config = Config::of(&checkpoint, path)?;
        let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
        let is_apart = is_dune(&config) && dune::root_of(&checkpoint).is_none();
        let encoder = is_apart.then(|| dune::encoder_beside(folder, &checkpoint)).flatten();
        let encoder = encoder.map(|encoder| Checkpoint::open(&encoder)).transpose()?;
        Self::load(name_of(path), config, checkpoint, encoder, device, precision)
    }

    /// A model from the text of its `config.json` and the bytes of its weight file; `name` stands for both in
    /// messages. The bytes are kept for [`Model::sha256`].
    ///
    /// # Errors
    /// [`ModelError::Load`], [`ModelError::Config`] or [`ModelError::Precision`].
    pub fn from_bytes(
        name: &str,
        config: &str,
        weights: impl Into<Cow<'static, [u8]>>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let config = Config::from_json(name, config)?;
        Self::load(name.to_owned(), config, Checkpoint::from_bytes(name, weights)?, None, device, precision)
    }

    /// Reads a model from its file and, where the encoder has one of its own, the second.
    fn load(
        name: String,
        config: Config,
        checkpoint: Checkpoint,
        encoder: Option<Checkpoint>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let files: Vec<_> = std::iter::once(with_all_ties(checkpoint, &config)).chain(encoder).collect();
        let stored = files.iter().find_map(Checkpoint::block_format);
        let precision = precision.of_stored(device, stored);
        let precision = precision.on(device, files.iter().map(|file| file.summary().bytes).sum())?;
        let (encoder, decoder, heads) = load_parts(&files, &config, device, precision)?;
        give_back_freed_memory();
        for file in &files {
            let (pair, root) = (pair_path(&config), dune::root_of(file));
            file.check_leftovers(|name| {
                is_known_unused(name.strip_prefix(pair).unwrap_or(name))
                    || is_dune(&config) && dune::is_known_unused(name, root.as_deref())
            })?;
        }
        let info = ModelInfo {
            name,
            licence: config.licence.clone(),
            parameters: files.iter().map(Checkpoint::values_read).sum(),
            patch_size: config.patch_size,
            square_ok: config.square_ok,
            has_descriptors: matches!(config.head, HeadKind::DptWithFeatures { .. }),
            training_sizes: config.training_sizes.clone(),
        };
        let device = device.clone();
        Ok(Self { config, info, files, sha256: OnceLock::new(), device, precision, encoder, decoder, heads })
    }

    /// Name, licence and extents.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// SHA-256 of the weight file, or of its files one after the other, as 64 hexadecimal digits; an encoder in a file of its own
    /// comes last. The first call reads them, which takes as long as loading the network.
    pub fn sha256(&self) -> &str {
        self.sha256.get_or_init(|| {
            let mut hash = Sha256::new();
            self.files.iter().for_each(|file| file.for_each_piece(|bytes| hash.update(bytes)));
            format!("{:x}", hash.finalize())
        })
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device that holds the weights; images must be there.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How the weights of linear layers are held; images are in its [`WeightType::values`].
    pub fn precision(&self) -> WeightType {
        self.precision
    }

    /// Values on the device of the model and in its precision, as [`Model::encode`] takes them.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there are not as many values as the shape has, [`ModelError::Device`] if the device has no
    /// memory for them.
    pub fn image(&self, shape: [usize; 4], values: Vec<f32>) -> Result<Tensor, ModelError> {
        upload(&self.device, self.precision.values(), &shape, values).map_err(|error| match error {
            TensorError::Device(error) => error.into(),
            error => OpError::value("image", "values", "as many as the shape has", error).into(),
        })
    }

    /// Encodes images of one size by themselves.
    ///
    /// # Shapes
    /// - `image`: `[batch, height, width, 3]`, in the precision of the model on its device, RGB in [-1, 1]:
    ///   `(u8 / 255 - 0.5) / 0.5`; sides are multiples of the patch size, in the image's own orientation
    ///
    /// # Errors
    /// [`ModelError::Input`] if `image` is not as above.
    pub fn encode(&self, image: &Tensor) -> Result<Encoded, ModelError> {
        self.encode_observed(image, &mut |_, _| {})
    }

    /// [`Model::encode`] that shows its intermediate results to `observe`.
    ///
    /// # Errors
    /// As [`Model::encode`].
    pub fn encode_observed(&self, image: &Tensor, observe: &mut Observer<'_>) -> Result<Encoded, ModelError> {
        self.encoder.forward(image, &self.config, observe)
    }

    /// The outputs of a pair, both in the frame of the first camera. The views may differ in size.
    ///
    /// # Errors
    /// [`ModelError::Input`] if the views do not hold the same number of images, or come from another model.
    pub fn decode(&self, view1: &Encoded, view2: &Encoded) -> Result<(ViewOutput, ViewOutput), ModelError> {
        check_pair(view1, view2)?;
        let (stages1, stages2) = self.decoder.forward(view1, view2, &mut |_, _| {})?;
        let [head1, head2] = &self.heads;
        Ok((head1.forward(&stages1, None)?, head2.forward(&stages2, None)?))
    }

    /// [`Model::decode`] that shows its intermediate results to `observe`.
    ///
    /// # Errors
    /// As [`Model::decode`].
    pub fn decode_observed(
        &self,
        view1: &Encoded,
        view2: &Encoded,
        observe: &mut Observer<'_>,
    ) -> Result<(ViewOutput, ViewOutput), ModelError> {
        check_pair(view1, view2)?;
        let (stages1, stages2) = self.decoder.forward(view1, view2, observe)?;
        let [head1, head2] = &self.heads;
        let first = head1.forward(&stages1, Some(&mut |name, t| observe(&format!("head1.{name}"), t)))?;
        let second = head2.forward(&stages2, Some(&mut |name, t| observe(&format!("head2.{name}"), t)))?;
        Ok((first, second))
    }

    /// The outputs of a pair in both orders.
    ///
    /// Where both streams of the decoder have the same weights, exchanging the views exchanges the streams and
    /// changes nothing else, so the pair is decoded once and only the heads run for both orders.
    ///
    /// # Errors
    /// As [`Model::decode`].
    pub fn decode_both(&self, view1: &Encoded, view2: &Encoded) -> Result<BothOrders, ModelError> {
        check_pair(view1, view2)?;
        if self.decoder.is_symmetric() {
            let (stages1, stages2) = self.decoder.forward(view1, view2, &mut |_, _| {})?;
            let [out11, out12] = Head::forward_both(&self.heads, &stages1)?;
            let [out22, out21] = Head::forward_both(&self.heads, &stages2)?;
            return Ok(BothOrders { out11, out21, out22, out12 });
        }
        let (out11, out21) = self.decode(view1, view2)?;
        let (out22, out12) = self.decode(view2, view1)?;
        Ok(BothOrders { out11, out21, out22, out12 })
    }
}

impl Config {
    /// The configuration of the embedded model.
    ///
    /// # Panics
    /// Never: it is part of the program.
    pub fn embedded() -> Self {
        Self::from_json(Model::EMBEDDED, EMBEDDED_CONFIG)
            .expect("the model of the program has a sound configuration")
    }

    /// The configuration of the model that [`Model::open`] reads at `path`.
    ///
    /// # Errors
    /// [`ModelError::Load`] or [`ModelError::Config`].
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::of(&Checkpoint::open(path)?, path)
    }

    /// The configuration that the weights at `path` state themselves, else that in the `config.json` with them.
    ///
    /// # Errors
    /// [`ModelError::Load`] or [`ModelError::Config`].
    pub fn of(checkpoint: &Checkpoint, path: &Path) -> Result<Self, ModelError> {
        let config = match ConfigSource::of(checkpoint, path) {
            ConfigSource::Args(args) => return Self::from_args(checkpoint.file(), &args),
            ConfigSource::DuneArgs(args) => return Self::from_dune_args(checkpoint.file(), &args),
            ConfigSource::File(config) => config,
            ConfigSource::None => {
                let problem = format!(
                    "neither the file nor a config.json beside it says how its network is built (by its names: {}); give a MASt3R \
                     or DUSt3R file, or put its config.json there",
                    checkpoint.summary().family
                );
                return Err(ModelError::Config { file: checkpoint.file().to_owned(), problem });
            }
        };
        let file = config.display().to_string();
        let text = std::fs::read_to_string(&config)
            .map_err(|source| LoadError::Io { file: file.clone(), source })?;
        Self::from_json(&file, &text)
    }
}

fn check_pair(view1: &Encoded, view2: &Encoded) -> Result<(), OpError> {
    if view1.batch() == view2.batch() {
        return Ok(());
    }
    Err(OpError::value("decode", "view2", format!("{} images as view1", view1.batch()), view2.batch()))
}

/// Reads all parts: the pair network from the first of the files, a DUNE encoder from the first that holds one.
fn load_parts(
    files: &[Checkpoint],
    config: &Config,
    device: &Device,
    precision: WeightType,
) -> Result<(Encoder, Decoder, [Head; 2]), ModelError> {
    let root = |file| Weights::new(file, device).in_precision(precision);
    let first = root(&files[0]);
    let pair = first.at(pair_path(config).trim_end_matches('.'));
    // The largest layers first: what a layer is made from is in memory beside it for a while. Of a file that does not fit, the
    // first problem in the order of the network is told.
    let heads = Head::load_pair(&pair, config);
    let encoder = match config.encoder {
        EncoderKind::Croco(trunk) => Encoder::Croco(Box::new(CrocoEncoder::load(&first, config, trunk)?)),
        EncoderKind::Dune { heads, .. } => {
            let found = files.iter().find_map(|file| Some(root(file).at(dune::root_of(file)?)));
            let encoder = found.ok_or_else(|| ModelError::Config {
                file: files[0].file().to_owned(),
                problem: NO_ENCODER.to_owned(),
            })?;
            Encoder::Dune(Box::new(DuneEncoder::load(&encoder, &first.at("norm"), config, heads)?))
        }
    };
    Ok((encoder, Decoder::load(&pair, config)?, heads?))
}

const NO_ENCODER: &str = "has no DUNE encoder (`dune_backbone.cls_token`); put the encoder's file beside it, as encoder.safetensors";

/// What the names of the decoder's and the heads' tensors begin with.
fn pair_path(config: &Config) -> &'static str {
    if is_dune(config) { "mast3r." } else { "" }
}

fn is_dune(config: &Config) -> bool {
    matches!(config.encoder, EncoderKind::Dune { .. })
}

/// The ties of the configuration, and the one of pre-training checkpoints: with a single stack of decoder blocks
/// both streams use it.
fn with_all_ties(checkpoint: Checkpoint, config: &Config) -> Checkpoint {
    let [first, second] = ["dec_blocks", "dec_blocks2"].map(|stack| format!("{}{stack}", pair_path(config)));
    let has_second = checkpoint.names().any(|name| name.starts_with(&second));
    let is_tied = config.tied.iter().any(|(from, _)| from.starts_with(&second));
    let checkpoint = checkpoint.with_ties(&config.tied);
    if has_second || is_tied {
        return checkpoint;
    }
    log::info!("{}: one stack of decoder blocks, used for both views", checkpoint.file());
    checkpoint.with_ties(&[(second, first)])
}

/// Tensors that files of this family hold although inference never uses them.
fn is_known_unused(name: &str) -> bool {
    name == "mask_token"
        || name.starts_with("prediction_head.")
        || name.contains(".scratch.refinenet4.resConfUnit1.")
}

/// The name of the model at `path`: that of its folder, or of its file if that says more.
pub(crate) fn name_of(path: &Path) -> String {
    let stem = path.file_stem().filter(|stem| !path.is_dir() && *stem != "model");
    if let Some(stem) = stem {
        return stem.to_string_lossy().into_owned();
    }
    // A path such as `.` has no name of its own.
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let folder = if whole.is_dir() { Some(whole.as_path()) } else { whole.parent() };
    let name = folder.and_then(Path::file_name);
    name.map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}
