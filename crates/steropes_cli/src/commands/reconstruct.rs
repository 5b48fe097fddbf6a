//! `steropes reconstruct`.

use crate::Common;
use crate::inputs::{NetworkArgs, input_format, read_photos};
use crate::model_store::locate_retrieval;
use crate::output::OutputFolder;
use crate::profile;
use crate::progress::Progress;
use anyhow::{Context as _, bail};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use steropes_models::Model;
use steropes_models::retrieval::Retrieval;
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
  steropes reconstruct walk/ -o scene --graph swin-5-noncyclic --size 512 --json > report.json
  steropes reconstruct many/ -o scene --model mast3r --size 512 --graph retrieval-20-10 --retrieval mast3r-retrieval")]
pub(crate) struct Args {
    /// Photos, and folders of photos
    #[arg(required = true, value_name = "FILE|FOLDER")]
    photos: Vec<PathBuf>,
    /// The folder to write
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    network: NetworkArgs,
    /// Which pairs to compare: auto (all of few photos, the similar ones of many), complete, swin-W, logwin-W or oneref-R by their order
    /// (-noncyclic after a window if the last photo does not meet the first), or retrieval-NA-K by similarity: NA key photos with
    /// each other, every other with the nearest key, and each with the K most similar, itself among them
    #[arg(long, default_value = "auto")]
    graph: String,
    /// How similar photos are found for auto and retrieval-NA-K: a *_retrieval_trainingfree.pth made for the model, with its
    /// *_codebook.pkl beside it, or a name of `steropes models list`; without it, what is needed is learnt from the photos
    #[arg(long, value_name = "NAME|FILE")]
    retrieval: Option<String>,
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

    /// The retrieval file, if one is given.
    ///
    /// # Errors
    /// There is no such file, it cannot be used, or it was made for another network.
    fn retrieval(&self) -> anyhow::Result<Option<Retrieval>> {
        let Some(given) = &self.retrieval else { return Ok(None) };
        let path = locate_retrieval(given)?;
        let retrieval = Retrieval::open(&path)?;
        let width = self.network.settings().network()?.encoder.width();
        if retrieval.inputs() != width {
            bail!(
                "--retrieval: `{}` takes tokens of {} values, but the encoder of `{}` gives {width}: give the file that belongs to the model",
                path.display(),
                retrieval.inputs(),
                self.network.settings().model
            );
        }
        if let Some(size) = retrieval.file().and_then(|file| file.image_size)
            && size != self.network.settings().image_size as usize
        {
            log::warn!("`{}` was made for photos of {size} pixels: use --size {size}", path.display());
        }
        Ok(Some(retrieval))
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
    let retrieval = args.retrieval()?;
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
    let retrieval = retrieval.filter(|_| graph.needs_similarity(photos.len()));
    if args.retrieval.is_some() && retrieval.is_none() {
        log::warn!(
            "--retrieval is not used: `--graph {graph}` of {} photos does not depend on it",
            photos.len()
        );
    }
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
        retrieval: retrieval.map(Arc::new),
        shared_intrinsics: args.shared_intrinsics,
        refine: !args.no_refine,
        all_groups: args.all_groups,
        tsdf,
        seed: args.seed,
    };
    // The report names the weights by their hash, which is there by then.
    let work = || {
        std::thread::scope(|scope| {
            scope.spawn(|| model.sha256());
            reconstruct(&photos, &model, &options, &progress)
        })
    };
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
    let files: [&(dyn Fn() -> anyhow::Result<()> + Sync); 5] = [
        &|| Ok(write_ply(&folder.join("scene.ply"), &cloud)?),
        &|| Ok(write_glb(&folder.join("scene.glb"), &cloud, &placed)?),
        &|| Ok(write_colmap(&colmap, &placed, &scene.tracks)?),
        &|| Ok(write_cameras_json(&folder.join("cameras.json"), &placed)?),
        &|| Ok(write_picture(&folder.join("preview.png"), &preview(&cloud, &placed))?),
    ];
    // All at once; of several that fail, the first is told.
    let written: Vec<_> = files.par_iter().with_max_len(1).map(|write| write()).collect();
    written.into_iter().collect()
}

/// Work that has no kernel: it is small, or serial.
const ALWAYS_ON_CPU: [&str; 6] = [
    "reading and writing files",
    "whitening and scores of retrieval",
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
            "name": info.name, "licence": info.licence, "sha256": model.sha256(), "parameters": info.parameters,
        },
        "options": {
            "device": model.device().name(), "precision": model.precision().to_string(), "size": args.network.settings().image_size, "graph": args.graph,
            "retrieval": args.retrieval,
            "shared_intrinsics": args.shared_intrinsics, "refine": !args.no_refine, "all_groups": args.all_groups,
            "min_confidence": args.min_confidence, "tsdf_threshold": args.tsdf_threshold, "tsdf_samples": args.tsdf_samples,
            "seed": args.seed, "threads": rayon::current_num_threads(),
        },
        "images": result.photos,
        "pairs": result.pairs,
        "retrieval": result.retrieval,
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
