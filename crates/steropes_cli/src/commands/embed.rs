//! `steropes embed`.

use crate::Common;
use crate::clips::{Clips, SeenClip};
use crate::feature_file::FeatureFile;
use crate::output::write_file;
use crate::profile::profiled;
use crate::progress::Progress;
use crate::video::{ClipArgs, Network, SourceArgs, check_outputs};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use steropes_scene::reconstruct::Monitor as _;
use steropes_testkit::floats;

/// Write the features of a video, clip by clip
///
/// The video is cut into clips that share no frame; what is left at the end is filled with its last frame. The file holds
/// `tokens` `[clips, tokens, width]` (with views `[clips, views, tokens, width]`) in the order time, row, column, or with --pool `pooled` `[clips, width]`;
/// `times` `[clips, frames]` in seconds, `frames` `[clips, frames]`, the numbers of the frames, and `taken` `[clips]`, how many are no repeats.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes embed walk.mp4 --model vjepa2-large -o walk.safetensors
  steropes embed walk.mp4 --model vjepa2-large --crop full --frame-step 4 -o walk.safetensors
  steropes embed frames/ --source-fps 10 --model vjepa2-large --pool mean -o frames.safetensors
  ffmpeg -i walk.mp4 -f yuv4mpegpipe - | steropes embed - --model vjepa2-large -o walk.safetensors")]
pub(crate) struct Args {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    clips: ClipArgs,
    /// The safetensors file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write the mean of a clip's tokens instead of all of them
    #[arg(long)]
    pool: Option<Pool>,
    /// Time every launch on the GPU: a table on standard error, and a trace for ui.perfetto.dev in this file (- for standard output)
    #[arg(long, value_name = "FILE|-")]
    profile: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

/// What becomes of the tokens of a clip.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Pool {
    /// Their mean, over views too.
    Mean,
}

/// What was written.
struct Written {
    clips: usize,
    shape: Vec<usize>,
    placement: Value,
    reading: Duration,
    preprocessing: Duration,
    encoding: Duration,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    check_outputs(common, args.profile.as_deref())?;
    let path = args.clips.weights("embed")?;
    let progress = Progress::new(!common.quiet);
    let mut summary = Value::Null;
    write_file(&args.output, args.force, |unfinished| {
        let opened = args.source.open()?;
        progress.begin("model", 1);
        let network = args.clips.load(path)?;
        progress.step();
        progress.end();
        progress.follow(network.model.device());
        let clips = args.clips.clips(opened, network.preprocess)?;
        let device = network.model.device().clone();
        let work = || embed(args, &network, clips, unfinished, &progress);
        let written = profiled(args.profile.as_deref(), args.force, &device, out, work)?;
        summary = summarise(args, &network, &written, &progress);
        Ok(())
    })?;
    say(common, args, &summary);
    if common.json {
        writeln!(out, "{summary:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads, encodes and writes all clips.
fn embed(
    args: &Args,
    network: &Network,
    mut clips: Clips,
    place: &Path,
    progress: &Progress,
) -> anyhow::Result<Written> {
    let mut file: Option<FeatureFile> = None;
    let mut encoding = Duration::ZERO;
    let mut count = 0;
    progress.begin("embed", clips.expected());
    while let Some(clip) = clips.next_clip()? {
        let start = Instant::now();
        let (extents, features) = features_of(network, &clip, args.pool)?;
        encoding += start.elapsed();
        let name = if args.pool.is_some() { "pooled" } else { "tokens" };
        if file.is_none() {
            file = Some(FeatureFile::create(place, name, &extents, clip.times.len())?);
        }
        let file = file.as_mut().expect("created with the first clip");
        file.add(&features, &clip.times, &clip.indices, clip.taken)?;
        count += 1;
        progress.step();
    }
    progress.end();
    let Some(file) = file else { bail!("`{}` has no frames", args.source.source) };
    let shape = file.shape();
    let placement = placement(&clips);
    file.finish(&metadata(args, network, &placement))?;
    let spent = clips.spent();
    let (reading, preprocessing) = (spent.reading, spent.preprocessing);
    Ok(Written { clips: count, shape, placement, reading, preprocessing, encoding })
}

/// Extents and values of what is kept of a clip.
fn features_of(
    network: &Network,
    clip: &SeenClip,
    pool: Option<Pool>,
) -> anyhow::Result<(Vec<usize>, Vec<f32>)> {
    let tokens = network.features(&clip.views, [clip.times.len(), clip.size[0], clip.size[1]])?;
    let values = floats(tokens.values()).map_err(anyhow::Error::msg).context("reading the features")?;
    if values.iter().any(|v| !v.is_finite()) {
        bail!("the features hold NaN or infinity: try --precision f32");
    }
    let (views, count, width) = (tokens.batch(), tokens.count(), tokens.width());
    match pool {
        Some(Pool::Mean) => Ok((vec![width], mean_of_rows(&values, width))),
        None if views == 1 => Ok((vec![count, width], values)),
        None => Ok((vec![views, count, width], values)),
    }
}

/// The mean of rows of `width` values, summed in f64.
fn mean_of_rows(values: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0f64; width];
    for row in values.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
    }
    let rows = (values.len() / width) as f64;
    sums.iter().map(|sum| (sum / rows) as f32).collect()
}

/// Where the network's pictures lie in the frames.
pub(crate) fn placement(clips: &Clips) -> Value {
    let Some(first) = clips.placements().first() else { return Value::Null };
    let flip = |[height, width]: [usize; 2]| [width, height];
    let origins: Vec<_> = clips.placements().iter().map(|p| flip(p.origin)).collect();
    json!({
        "frame_size": flip(first.frame), "resized": flip(first.resized), "network_size": flip(first.size),
        "origins": origins, "area_kept": first.area_kept(),
    })
}

/// What the file says about itself.
fn metadata(args: &Args, network: &Network, placement: &Value) -> Vec<(&'static str, String)> {
    let config = network.model.config();
    let model = network.describe();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    vec![
        ("program", format!("steropes {}", env!("CARGO_PKG_VERSION"))),
        ("source", args.source.source.clone()),
        ("model", text(&model["name"])),
        ("model_sha256", text(&model["sha256"])),
        ("random_weights", text(&model["random_weights"])),
        ("device", network.model.device().name().to_owned()),
        ("precision", network.model.precision().to_string()),
        ("clips", args.clips.describe(&network.preprocess).to_string()),
        ("placement", placement.to_string()),
        ("patch", config.patch_size.to_string()),
        ("tubelet", config.tubelet.to_string()),
    ]
}

fn summarise(args: &Args, network: &Network, written: &Written, progress: &Progress) -> Value {
    let stages = progress.records();
    json!({
        "file": args.output,
        "source": args.source.source,
        "model": network.describe(),
        "device": network.model.device().name(),
        "precision": network.model.precision().to_string(),
        "preprocess": args.clips.describe(&network.preprocess),
        "placement": written.placement,
        "clips": written.clips,
        "shape": written.shape,
        "seconds": {
            "reading": written.reading.as_secs_f64(), "preprocessing": written.preprocessing.as_secs_f64(),
            "network": written.encoding.as_secs_f64(),
        },
        "stages": stages,
    })
}

/// The outcome in a line on standard error.
#[expect(clippy::print_stderr, reason = "standard output is for data")]
fn say(common: &Common, args: &Args, summary: &Value) {
    if !common.quiet {
        let count = summary["clips"].as_u64().unwrap_or(0);
        let clips = if count == 1 { "1 clip".to_owned() } else { format!("{count} clips") };
        eprintln!("{clips}, features {}: `{}`", summary["shape"], args.output.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_over_rows() {
        assert_eq!(mean_of_rows(&[1.0, 10.0, 3.0, 30.0], 2), [2.0, 20.0]);
    }
}
