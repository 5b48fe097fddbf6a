//! What the commands on video take: a source of frames, a network, and how frames become its clips.

use crate::Common;
use crate::clips::{ClipPlan, Clips, Spacing};
use crate::device::DeviceArgs;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use steropes_models::vjepa2::preprocess::{Crop, Preprocess, Resampling};
use steropes_models::vjepa2::{Layout, Model, OpenOptions, WhichEncoder};
use steropes_models::{ModelError, Place, Precision, locate};
use steropes_scene::photo::read_upright;
use steropes_video::{Ffmpeg, Opened, PictureTimes, SourceOptions};

/// Where frames come from.
#[derive(clap::Args)]
pub(crate) struct SourceArgs {
    /// A video file, a folder of pictures, camera:0 or /dev/video0, or - for frames on standard input (YUV4MPEG2, or raw rgb24)
    #[arg(value_name = "VIDEO|FOLDER|camera:N|-")]
    pub(crate) source: String,
    #[command(flatten)]
    frames: FrameArgs,
}

impl SourceArgs {
    /// The opened source.
    ///
    /// # Errors
    /// There is no such source, it cannot be read, or it needs something that is not given.
    pub(crate) fn open(&self) -> anyhow::Result<Opened> {
        self.frames.open(&self.source)
    }
}

/// How the frames of a source are read.
#[derive(clap::Args)]
pub(crate) struct FrameArgs {
    /// Frames a second of a folder or of raw frames; of a camera, what it is asked for
    #[arg(long, value_name = "RATE")]
    source_fps: Option<f64>,
    /// Size of raw rgb24 frames; of a camera, what it is asked for
    #[arg(long, value_name = "WxH", value_parser = parse_size)]
    frame_size: Option<[u32; 2]>,
    /// Take the times of a folder's pictures from their names or from EXIF, instead of a rate
    #[arg(long, value_name = "names|exif", value_parser = parse_times, conflicts_with = "source_fps")]
    times: Option<PictureTimes>,
    /// Folder of ffmpeg and ffprobe, through which video files and cameras are read; looked for as other programs are if not given
    #[arg(long, value_name = "FOLDER")]
    pub(crate) ffmpeg: Option<PathBuf>,
}

impl FrameArgs {
    /// The opened source.
    ///
    /// # Errors
    /// There is no such source, it cannot be read, or it needs something that is not given.
    pub(crate) fn open(&self, source: &str) -> anyhow::Result<Opened> {
        let options = SourceOptions {
            rate: self.source_fps,
            frame_size: self.frame_size,
            times: self.times,
            ..source_options(self.ffmpeg.clone())
        };
        Ok(steropes_video::open(source, &options)?)
    }
}

/// Pictures read as photos are, and ffmpeg from a folder if one is given.
pub(crate) fn source_options(ffmpeg: Option<PathBuf>) -> SourceOptions {
    SourceOptions {
        ffmpeg: Ffmpeg::new(ffmpeg),
        rate: None,
        frame_size: None,
        times: None,
        read_picture: |path| read_upright(path).map(|photo| photo.rgb).map_err(|error| error.to_string()),
    }
}

/// `640x480` as width and height.
pub(crate) fn parse_size(text: &str) -> Result<[u32; 2], String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some([w.parse().ok()?, h.parse().ok()?]));
    parsed.ok_or_else(|| "expected WIDTHxHEIGHT, as 640x480".to_owned())
}

fn parse_times(text: &str) -> Result<PictureTimes, String> {
    match text {
        "names" => Ok(PictureTimes::Names),
        "exif" => Ok(PictureTimes::Exif),
        _ => Err("expected names or exif".to_owned()),
    }
}

/// The network, and which clips it sees.
#[derive(clap::Args)]
pub(crate) struct ClipArgs {
    /// Weights of a V-JEPA 2 network: a name of `steropes models list`, a .pt or .safetensors file, or a folder with config.json and model.safetensors
    #[arg(long, value_name = "NAME|PATH")]
    model: Option<String>,
    /// Which encoder of a training checkpoint: auto (the average over the training if there is one), target or online
    #[arg(long, default_value = "auto", value_parser = parse_encoder)]
    encoder: WhichEncoder,
    /// Heads of the encoder, where neither its width nor a config.json beside it says how many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    heads: Option<u16>,
    #[command(flatten)]
    place: DeviceArgs,
    /// Numbers that the network computes with: f32, f16 (GPU), bf16, int8, q8, q4 (CPU), or auto
    #[arg(long)]
    precision: Option<Precision>,
    /// Run a network whose weights nobody has trained, for tests of speed; what it says means nothing, and the result says so
    #[arg(long)]
    random_weights: bool,
    /// Frames of a clip
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    frames: u32,
    /// Frames a second that the network sees, taken by their time stamps; 4, as in its training, if nothing else is given
    #[arg(long, value_name = "RATE", conflicts_with_all = ["frame_step", "duration"])]
    fps: Option<f64>,
    /// Frames of the video for each that the network sees, counted as the published evaluations do
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    frame_step: Option<u32>,
    /// Seconds that a clip spans, counted as the published evaluations do from the video's average rate
    #[arg(long, value_name = "SECONDS")]
    duration: Option<f64>,
    /// Stop after so many seconds of the video
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// Short side of the network's pictures; that of its training if not given
    #[arg(long, value_name = "PIXELS")]
    size: Option<usize>,
    /// What of a frame is seen: centre (a square), full (the whole width) or views-N (N squares side by side)
    #[arg(long, default_value_t = Crop::Centre)]
    crop: Crop,
    /// Which program's resizing: hf, meta-eval or meta-tensor; hf for Hugging Face folders and meta-eval for official files if not given
    #[arg(long)]
    mode: Option<Resampling>,
}

fn parse_encoder(text: &str) -> Result<WhichEncoder, String> {
    match text {
        "auto" => Ok(WhichEncoder::Auto),
        "target" => Ok(WhichEncoder::Target),
        "online" => Ok(WhichEncoder::Online),
        _ => Err("expected auto, target or online".to_owned()),
    }
}

/// A loaded network and how frames become its clips.
pub(crate) struct Network {
    pub(crate) model: Model,
    pub(crate) preprocess: Preprocess,
    /// Where its weights lie.
    pub(crate) path: PathBuf,
}

impl ClipArgs {
    /// Checks what can be checked before anything is opened; `command` is for the message.
    ///
    /// # Errors
    /// There is no such model, or a number makes no sense.
    pub(crate) fn weights(&self, command: &str) -> anyhow::Result<PathBuf> {
        for (name, value) in [("--duration", self.duration), ("--seconds", self.seconds)] {
            if let Some(value) = value
                && !(value.is_finite() && value > 0.0)
            {
                bail!("{name} must be a positive number of seconds, got {value}");
            }
        }
        let Some(given) = &self.model else {
            bail!(
                "`{command}` needs the weights of a V-JEPA 2 network: get them with `steropes models fetch vjepa2-large` and give --model vjepa2-large (`steropes models list` shows all), or give a file or folder with --model"
            );
        };
        match locate(given)? {
            Place::Path(path, _) => Ok(path),
            Place::Embedded => {
                bail!(
                    "`{given}` is a network for pairs of photos; `{command}` needs one for video, as vjepa2-large"
                )
            }
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        self.precision.unwrap_or_default()
    }

    /// Reads the network at `path`.
    ///
    /// # Errors
    /// No such device, the files are damaged or hold another network, or nobody has trained it and that was not asked for.
    pub(crate) fn load(&self, path: PathBuf) -> anyhow::Result<Network> {
        let device = self.place.open()?;
        let options = OpenOptions {
            encoder: self.encoder,
            with_predictor: false,
            heads: self.heads.map(usize::from),
            ..OpenOptions::default()
        };
        let model = Model::open(&path, &device, self.precision(), &options)?;
        if model.info().is_untrained {
            if !self.random_weights {
                bail!(
                    "`{}` was not trained (its last normalisation is as networks begin): give trained weights (`steropes models list`), or --random-weights for tests of speed",
                    path.display()
                );
            }
            log::warn!("`{}` was not trained: what it says means nothing", path.display());
        }
        let resampling = self.mode.unwrap_or(match model.source().layout() {
            Layout::HuggingFace => Resampling::Hf,
            Layout::Official => Resampling::MetaEval,
        });
        let size = self.size.unwrap_or(model.config().crop_size);
        Ok(Network { preprocess: Preprocess { resampling, size, crop: self.crop }, model, path })
    }

    /// The clips of an opened source.
    ///
    /// # Errors
    /// The rate makes no sense, or the video does not say what is needed to count.
    pub(crate) fn clips(&self, opened: Opened, preprocess: Preprocess) -> anyhow::Result<Clips> {
        let frames = u64::from(self.frames);
        let spacing = match (self.fps, self.frame_step, self.duration) {
            (_, Some(step), _) => Spacing::Counted(steropes_video::ClipSampling::FrameStep(step.into())),
            (_, _, Some(seconds)) => Spacing::Counted(steropes_video::ClipSampling::Duration(seconds)),
            (fps, None, None) => Spacing::Timed(fps.unwrap_or(TRAINED_FPS)),
        };
        let until = self.seconds.map(Duration::try_from_secs_f64).transpose().context("--seconds")?;
        Clips::new(opened, ClipPlan { frames, spacing, until, preprocess })
    }

    /// What the result says about the clips.
    pub(crate) fn describe(&self, preprocess: &Preprocess) -> Value {
        let sampling = match (self.frame_step, self.duration) {
            (Some(step), _) => json!({ "frame_step": step }),
            (_, Some(seconds)) => json!({ "duration": seconds }),
            _ => json!({ "fps": self.fps.unwrap_or(TRAINED_FPS) }),
        };
        json!({
            "frames": self.frames, "sampling": sampling,
            "mode": preprocess.resampling.to_string(), "crop": preprocess.crop.to_string(), "size": preprocess.size,
        })
    }
}

/// Frames a second of the training.
const TRAINED_FPS: f64 = 4.0;

impl Network {
    /// What the result says about the network.
    pub(crate) fn describe(&self) -> Value {
        let info = self.model.info();
        json!({
            "name": info.name, "sha256": self.model.sha256(), "parameters": info.parameters,
            "random_weights": info.is_untrained,
        })
    }

    /// The features `[batch, tokens, width]` of the views of a clip, each `[frames, height, width, 3]` bytes.
    ///
    /// # Errors
    /// The device has no memory for them.
    pub(crate) fn features(
        &self,
        views: &[Vec<u8>],
        [frames, height, width]: [usize; 3],
    ) -> Result<steropes_models::vjepa2::Tokens, ModelError> {
        let values: Vec<f32> = views.iter().flat_map(|view| self.preprocess.values(view)).collect();
        let clip = self.model.clip([views.len(), frames, height, width], &values)?;
        self.model.features(&clip)
    }
}

/// Refuses what would write two things to standard output.
pub(crate) fn check_outputs(common: &Common, profile: Option<&Path>) -> anyhow::Result<()> {
    if common.json && profile == Some(Path::new("-")) {
        bail!("--json and --profile - both write to standard output: give the trace a file");
    }
    Ok(())
}
