//! What all commands that run the network take: a model, a device, photos at a size.

use crate::Common;
use crate::device::DeviceArgs;
use crate::progress::Progress;
use anyhow::{Context as _, bail};
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;
use steropes_models::engine::{Engine, EngineConfig, PRESETS, Preset};
use steropes_models::{Model, Precision};
use steropes_scene::photo::{InputFormat, LeftOutReason, Photo, collect_photos, load_photos};
use steropes_scene::reconstruct::Monitor as _;

/// The network and how it sees the photos.
#[derive(clap::Args)]
pub(crate) struct NetworkArgs {
    /// `steropes-tiny` (built in, the default), another name of `steropes models list`, a .pth or .safetensors file, or a folder with
    /// config.json and model.safetensors
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Long side of the photos for the network, in pixels; 384 if not given
    #[arg(long, value_name = "PIXELS")]
    size: Option<u32>,
    #[command(flatten)]
    place: DeviceArgs,
    /// Numbers that the network computes with: f32, f16 (GPU), bf16, int8, q8, q4 (CPU), or auto (f16 for large networks on a GPU that has it; the default)
    #[arg(long)]
    precision: Option<Precision>,
}

impl NetworkArgs {
    /// The settings that the arguments stand for.
    pub(crate) fn settings(&self) -> EngineConfig {
        self.over(EngineConfig::default())
    }

    /// What is given, and the rest from `base`.
    fn over(&self, base: EngineConfig) -> EngineConfig {
        EngineConfig {
            model: self.model.clone().unwrap_or(base.model),
            device: self.place.device.clone().or(base.device),
            precision: self.precision.unwrap_or(base.precision),
            image_size: self.size.unwrap_or(base.image_size),
            memory: self.place.memory.or(base.memory),
            ..base
        }
    }

    /// The model on its device.
    ///
    /// # Errors
    /// No such device or model, or the model's files are damaged.
    pub(crate) fn load(&self) -> anyhow::Result<Model> {
        let settings = self.settings();
        let place = settings.place()?;
        Ok(place.open(&self.place.open()?, settings.precision)?)
    }
}

/// The settings of an engine: a file or a preset, and arguments that go before it.
#[derive(clap::Args)]
pub(crate) struct EngineArgs {
    /// Settings in a YAML or TOML file; other options and STEROPES_DEVICE go before it
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    /// Settings for a common use; `steropes presets` lists them
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(PRESETS.iter().map(|preset| preset.name)))]
    preset: Option<String>,
    #[command(flatten)]
    network: NetworkArgs,
}

impl EngineArgs {
    /// Whether a file or a preset is given.
    pub(crate) fn has_settings(&self) -> bool {
        self.config.is_some() || self.preset.is_some()
    }

    /// The settings, `base` where neither a file nor a preset is given.
    ///
    /// # Errors
    /// The file cannot be read or its settings are not sound.
    pub(crate) fn settings(&self, common: &Common, base: EngineConfig) -> anyhow::Result<EngineConfig> {
        let base = match (&self.config, self.preset.as_deref().and_then(Preset::find)) {
            (Some(file), _) => EngineConfig::read(file)?,
            (None, Some(preset)) => preset.config(),
            (None, None) => base,
        };
        let mut settings = self.network.over(base);
        if common.threads.is_some() {
            settings.threads = None; // the whole program has as many as it was told
        }
        Ok(settings)
    }

    /// The engine with its network, and how photos are brought to it.
    ///
    /// # Errors
    /// The settings are not sound, there is no such device or model, or the model's files are damaged.
    pub(crate) fn open(&self, common: &Common) -> anyhow::Result<(Engine, InputFormat)> {
        let settings = self.settings(common, EngineConfig::default())?;
        let format = input_format(&settings)?;
        Ok((Engine::open(settings)?, format))
    }
}

/// How photos are brought to the network; known before its weights are loaded.
///
/// # Errors
/// No such model, or the size is out of range.
pub(crate) fn input_format(settings: &EngineConfig) -> anyhow::Result<InputFormat> {
    let config = settings.network()?;
    let patch = u32::try_from(config.patch_size).context("the patch size is a small number")?;
    let (smallest, largest, size) = (4 * patch, *EngineConfig::IMAGE_SIZES.end(), settings.image_size);
    if !(smallest..=largest).contains(&size) {
        bail!("--size must be between {smallest} and {largest} pixels, got {size}");
    }
    Ok(InputFormat { preset: size, patch, square_ok: config.square_ok })
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
