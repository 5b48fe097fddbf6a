//! What all commands that run the network take: a model, a device, photos at a size.

use crate::device::DeviceArgs;
use crate::model_store::{Place, locate};
use crate::progress::Progress;
use anyhow::{Context as _, bail};
use std::path::PathBuf;
use steropes_models::{Config, Model, Precision};
use steropes_scene::photo::{InputFormat, LeftOutReason, Photo, collect_photos, load_photos};
use steropes_scene::reconstruct::Monitor as _;

/// The network and how it sees the photos.
#[derive(clap::Args)]
pub(crate) struct NetworkArgs {
    /// `steropes-tiny` (built in), another name of `steropes models list`, a .pth or .safetensors file, or a folder with
    /// config.json and model.safetensors
    #[arg(long, value_name = "NAME|PATH", default_value = "steropes-tiny")]
    pub(crate) model: String,
    /// Long side of the photos for the network, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = DEFAULT_SIZE)]
    pub(crate) size: u32,
    #[command(flatten)]
    pub(crate) place: DeviceArgs,
    /// Numbers that the network computes with: f32, f16 (GPU), bf16, q8, q4 (CPU), or auto (f16 for large networks on a GPU that has it)
    #[arg(long, default_value = "auto")]
    pub(crate) precision: Precision,
}

/// Large enough for the detail that matching needs, small enough for a laptop.
const DEFAULT_SIZE: u32 = 384;
/// Beyond this the network's attention needs more memory than a computer has.
const LARGEST_SIZE: u32 = 4096;

impl NetworkArgs {
    /// The model on its device.
    ///
    /// # Errors
    /// No such device or model, or the model's files are damaged.
    pub(crate) fn load(&self) -> anyhow::Result<Model> {
        let path = self.path()?;
        let device = self.place.open()?;
        Ok(match path {
            None => Model::embedded(&device, self.precision)?,
            Some(path) => Model::open(&path, &device, self.precision)?,
        })
    }

    /// Where the model lies; `None` for the embedded one.
    fn path(&self) -> anyhow::Result<Option<PathBuf>> {
        Ok(match locate(&self.model)? {
            Place::Embedded => None,
            Place::Path(path, _) => Some(path),
        })
    }

    /// The hyper-parameters of the model, without its weights.
    ///
    /// # Errors
    /// No such model, or its files do not say.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        Ok(match self.path()? {
            None => Config::embedded(),
            Some(path) => Config::open(&path)?,
        })
    }

    /// How photos are brought to the network; known before its weights are loaded.
    ///
    /// # Errors
    /// No such model, or the size is out of range.
    pub(crate) fn format(&self) -> anyhow::Result<InputFormat> {
        let config = self.config()?;
        let patch = u32::try_from(config.patch_size).context("the patch size is a small number")?;
        let smallest = 4 * patch;
        if !(smallest..=LARGEST_SIZE).contains(&self.size) {
            bail!("--size must be between {smallest} and {LARGEST_SIZE} pixels, got {}", self.size);
        }
        Ok(InputFormat { preset: self.size, patch, square_ok: config.square_ok })
    }
}

/// Reads the photos that the arguments name; says which were left out.
///
/// # Errors
/// There are none, or one cannot be used.
pub(crate) fn read_photos(
    paths: &[PathBuf],
    format: &InputFormat,
    progress: &Progress,
) -> anyhow::Result<Vec<Photo>> {
    let files = collect_photos(paths)?;
    for left_out in &files.left_out {
        // Whatever lies beside the photos in a folder is no news.
        let level =
            if left_out.why == LeftOutReason::NotAPhoto { log::Level::Info } else { log::Level::Warn };
        log::log!(level, "{left_out}");
    }
    progress.begin("read", files.paths.len());
    let photos = load_photos(&files.paths, format, &|| progress.step());
    progress.end();
    Ok(photos?)
}

/// Reads exactly two photos, in the order given; they may be the same.
///
/// # Errors
/// One cannot be used.
pub(crate) fn read_pair(paths: [&PathBuf; 2], format: &InputFormat) -> anyhow::Result<[Photo; 2]> {
    let photos = load_photos(&paths.map(Clone::clone), format, &|| {})?;
    Ok(<[Photo; 2]>::try_from(photos).expect("two paths give two photos"))
}
