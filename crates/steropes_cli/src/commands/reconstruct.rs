//! `steropes reconstruct`.

use crate::Common;
use crate::inputs::{NetworkArgs, input_format, read_photos};
use crate::output::OutputFolder;
use crate::profile;
use crate::progress::Progress;
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use steropes_models::Model;
use steropes_scene::alignment::TsdfOptions;
use steropes_scene::pair_graph::PairGraph;
use steropes_scene::photo::Photo;
use steropes_scene::reconstruct::{Monitor as _, Options, Reconstruction, Scene, reconstruct};
use steropes_scene::write::{preview, write_cameras_json, write_colmap, write_glb, write_picture, write_ply};

/// Reconstruct cameras and a dense point cloud from photos
///
/// Writes a folder with scene.glb and scene.ply (points and cameras), colmap/ (cameras, images and points as COLMAP
/// reads them, in pixels of the original photos), cameras.json, preview.png and report.json (what happened to every photo
/// and pair, with times and memory).
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes reconstruct photos/ -o scene
  steropes reconstruct a.jpg b.jpg c.jpg -o scene --graph complete --shared-intrinsics
  steropes reconstruct walk/ -o scene --graph swin-5-noncyclic --size 512 --json > report.json")]
pub(crate) struct Args {
    /// Photos, and folders of photos
    #[arg(required = true, value_name = "FILE|FOLDER")]
    photos: Vec<PathBuf>,
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
    /// Which pairs to compare: auto, complete, swin-W, logwin-W or oneref-R; -noncyclic after a window if the last photo
    /// does not meet the first
    #[arg(long, default_value = "auto")]
    graph: String,
    /// One focal length for all photos of one size
    #[arg(long)]
    shared_intrinsics: bool,
    /// Leave out bundle adjustment
    #[arg(long)]
    no_refine: bool,
    /// Keep every group of photos that belong together as a scene of its own, not only the largest
    #[arg(long)]
    all_groups: bool,
    /// Least confidence of a point in the cloud
    #[arg(long, value_name = "C", default_value_t = 1.0)]
    min_confidence: f32,
    /// Let the photos' depths agree before points are cleaned (TSDF): how far behind a surface a point may lie and still count as seen, in units
    /// of the scene (with the built-in network scenes are about 1 away: try 0.02); 0 for no such step
    #[arg(long, value_name = "DISTANCE", default_value_t = 0.0, allow_negative_numbers = true)]
    tsdf_threshold: f64,
    /// Candidate depths per pixel of that step; its time grows with this number and with the square of the number of photos
    #[arg(long, value_name = "N", default_value_t = 1000, allow_negative_numbers = true)]
    tsdf_samples: u32,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Time every launch on the GPU: a table on standard error, and a trace for ui.perfetto.dev in this file (- for
    /// standard output)
    #[arg(long, value_name = "FILE|-")]
    profile: Option<PathBuf>,
    /// Replace the folder if it exists
    #[arg(long)]
    force: bool,
}

impl Args {
    /// How depths are made to agree, if they are.
    ///
    /// # Errors
    /// A number is out of its range.
    fn tsdf(&self) -> anyhow::Result<Option<TsdfOptions>> {
        let threshold = self.tsdf_threshold as f32;
        if !(threshold.is_finite() && threshold >= 0.0) {
            bail!(
                "--tsdf-threshold must be a distance in units of the scene, or 0 for no such step, got {}",
                self.tsdf_threshold
            );
        }
        if self.tsdf_samples == 0 {
            bail!("--tsdf-samples must be at least 1, got 0");
        }
        // All bits of the seed count.
        let seed = (self.seed ^ (self.seed >> 32)) as u32;
        let samples = self.tsdf_samples as usize;
        Ok((self.tsdf_threshold > 0.0).then_some(TsdfOptions { threshold, samples, seed }))
    }
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let graph: PairGraph = args.graph.parse()?;
    let tsdf = args.tsdf()?;
    let progress = Progress::new(!common.quiet);
    if let Some(profile) = &args.profile
        && common.json
        && profile == Path::new("-")
    {
        bail!("--json and --profile - both write to standard output: give the trace a file");
    }
    let format = input_format(&args.network.settings())?;
    let output = OutputFolder::create(&args.output, args.force)?;
    // Drivers take their time to open a device; the photos can be read meanwhile.
    let (model, photos) = std::thread::scope(|scope| {
        let model = scope.spawn(|| args.network.load());
        let photos = read_photos(&args.photos, &format, &progress);
        progress.begin("model", 1);
        let model = model.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        progress.step();
        progress.end();
        (model, photos)
    });
    let (model, photos) = (model?, photos?);
    progress.follow(model.device());
    if photos.len() == 1 {
        log::warn!(
            "one photo: the result is the depth that the network sees in it, no second view confirms it"
        );
    }
    if photos.len() == 1 && tsdf.is_some() {
        log::warn!("one photo: --tsdf-threshold has nothing to compare its depth with");
    }
    let options = Options {
        graph,
        shared_intrinsics: args.shared_intrinsics,
        refine: !args.no_refine,
        all_groups: args.all_groups,
        tsdf,
        seed: args.seed,
    };
    let work = || reconstruct(&photos, &model, &options, &progress);
    let result = match &args.profile {
        None => work()?,
        Some(place) => {
            let Some(gpu) = model.device().gpu() else {
                bail!("--profile reads the clock of a GPU: choose one with --device");
            };
            let (result, spans) = gpu.profile(work)?;
            profile::write_table(&mut std::io::stderr(), &spans)?;
            profile::write_trace(place, args.force, model.device().name(), &spans, out)?;
            result?
        }
    };
    progress.begin("write", result.scenes.len());
    for (i, scene) in result.scenes.iter().enumerate() {
        // The largest group is the scene; the others get folders below.
        let folder =
            if i == 0 { output.path().to_owned() } else { output.path().join(format!("group_{}", i + 1)) };
        write_scene(&folder, scene, &photos, args.min_confidence)?;
        progress.step();
    }
    progress.end();
    let report = report(args, &model, &result, &progress);
    let text = format!("{report:#}\n");
    std::fs::write(output.path().join("report.json"), &text).context("writing report.json")?;
    output.finish()?;
    say(common, args, &result);
    if common.json {
        out.write_all(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write_scene(folder: &Path, scene: &Scene, photos: &[Photo], min_confidence: f32) -> anyhow::Result<()> {
    let colmap = folder.join("colmap");
    std::fs::create_dir_all(&colmap).with_context(|| format!("creating `{}`", colmap.display()))?;
    let cloud = scene.cloud(min_confidence);
    if cloud.points.is_empty() {
        bail!("no point has a confidence above {min_confidence}: lower --min-confidence");
    }
    let placed = scene.scene_photos(photos);
    write_ply(&folder.join("scene.ply"), &cloud)?;
    write_glb(&folder.join("scene.glb"), &cloud, &placed)?;
    write_colmap(&colmap, &placed, &scene.tracks)?;
    write_cameras_json(&folder.join("cameras.json"), &placed)?;
    write_picture(&folder.join("preview.png"), &preview(&cloud, &placed))?;
    Ok(())
}

/// Work that has no kernel: it is small, or serial.
const ALWAYS_ON_CPU: [&str; 5] = [
    "reading and writing files",
    "focal lengths",
    "two-view tests",
    "rotation averaging and spanning trees",
    "bundle adjustment",
];

/// Everything that led to the scene and what came of it.
fn report(args: &Args, model: &Model, result: &Reconstruction, progress: &Progress) -> Value {
    let info = model.info();
    let stages = progress.records();
    let slowest = stages.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds)).map(|s| s.stage.clone());
    json!({
        "program": { "name": "steropes", "version": env!("CARGO_PKG_VERSION") },
        "model": {
            "name": info.name, "licence": info.licence, "sha256": info.sha256, "parameters": info.parameters,
        },
        "options": {
            "device": model.device().name(), "precision": model.precision().to_string(), "size": args.network.settings().image_size, "graph": args.graph,
            "shared_intrinsics": args.shared_intrinsics, "refine": !args.no_refine, "all_groups": args.all_groups,
            "min_confidence": args.min_confidence, "tsdf_threshold": args.tsdf_threshold, "tsdf_samples": args.tsdf_samples,
            "seed": args.seed, "threads": rayon::current_num_threads(),
        },
        "images": result.photos,
        "pairs": result.pairs,
        "groups": result.scenes.iter().map(|s| s.photos.len()).collect::<Vec<_>>(),
        "points": result.scenes.first().map_or(0, |s| s.tracks.len()),
        "stages": stages,
        "slowest_stage": slowest,
        "seconds": progress.records().iter().map(|s| s.seconds).sum::<f64>(),
        "peak_bytes": progress.records().iter().map(|s| s.peak_bytes).max(),
        "gpu_peak_bytes": model.device().gpu().map(steropes_tensor::Gpu::peak_memory),
        "always_on_cpu": ALWAYS_ON_CPU,
    })
}

/// The outcome in a few lines on standard error.
#[expect(clippy::print_stderr, reason = "standard output is for data")]
fn say(common: &Common, args: &Args, result: &Reconstruction) {
    if common.quiet {
        return;
    }
    let registered = result.photos.iter().filter(|p| p.registered).count();
    eprintln!(
        "{registered} of {} photos placed, {} of {} pairs used: `{}`",
        result.photos.len(),
        result.pairs.iter().filter(|p| p.kept).count(),
        result.pairs.len(),
        args.output.display()
    );
    for photo in result.photos.iter().filter(|p| !p.registered) {
        eprintln!("not placed: `{}`: {}", photo.name, photo.why.as_deref().unwrap_or("no reason known"));
    }
}
