//! `steropes infer`.

use crate::Common;
use crate::inputs::{EngineArgs, read_pair};
use crate::output::write_file;
use anyhow::Context as _;
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use steropes_models::engine::{PairResult, Timings};
use steropes_scene::write::{confidence_picture, depth_picture, write_picture};
use steropes_tensor::Tensor;

/// Write the network's raw outputs for two photos
///
/// The file holds view1 and view2, each with pts3d (both in the frame of the first photo's camera), conf, and, if the
/// model has them, desc and desc_conf. Pixels are those of the network's image.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes infer a.jpg b.jpg -o pair.safetensors
  steropes infer a.jpg b.jpg -o pair.safetensors --pictures --size 512
  steropes infer a.jpg b.jpg -o pair.safetensors --config engine.yaml")]
pub(crate) struct Args {
    /// First photo: its camera is the frame of all points
    a: PathBuf,
    /// Second photo
    b: PathBuf,
    /// The safetensors file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Also write depth and confidence of both views as pictures beside the file
    #[arg(long)]
    pictures: bool,
    /// Replace existing files
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    engine: EngineArgs,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (engine, format) = args.engine.open(common)?;
    let [a, b] = engine.install(|| read_pair([&args.a, &args.b], &format))?;
    let result = engine.infer(&a.image(), &b.image())?;
    let model = &engine.model()?.info().name;
    let tensors = tensors(&result);
    write_file(&args.output, args.force, |path| write_tensors(path, &tensors, model))?;
    let mut pictures = Vec::new();
    if args.pictures {
        let views = [("view1", &result.pts3d_1, &result.conf_1), ("view2", &result.pts3d_2, &result.conf_2)];
        for (name, points, confidence) in views {
            pictures.extend(write_pictures(&args.output, args.force, name, [points, confidence])?);
        }
    }
    if common.json {
        let shapes: HashMap<&str, Vec<usize>> =
            tensors.iter().map(|(name, t)| (*name, stored_shape(t))).collect();
        let Timings { preprocess, encode, decode } = result.timings;
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        let result = serde_json::json!({
            "file": args.output, "pictures": pictures, "tensors": shapes, "model": model,
            "milliseconds": { "preprocess": ms(preprocess), "encode": ms(encode), "decode": ms(decode) },
        });
        writeln!(out, "{result:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The tensors of both views under the names that the golden files use.
fn tensors(result: &PairResult) -> Vec<(&'static str, &Tensor)> {
    let all = [
        ("view1.pts3d", Some(&result.pts3d_1)),
        ("view1.conf", Some(&result.conf_1)),
        ("view1.desc", result.desc_1.as_ref()),
        ("view1.desc_conf", result.desc_conf_1.as_ref()),
        ("view2.pts3d", Some(&result.pts3d_2)),
        ("view2.conf", Some(&result.conf_2)),
        ("view2.desc", result.desc_2.as_ref()),
        ("view2.desc_conf", result.desc_conf_2.as_ref()),
    ];
    all.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))).collect()
}

/// As in the golden files, with an axis for the batch.
fn stored_shape(tensor: &Tensor) -> Vec<usize> {
    [&[1], tensor.shape()].concat()
}

fn write_tensors(path: &Path, tensors: &[(&str, &Tensor)], model: &str) -> anyhow::Result<()> {
    let values: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, t)| {
            let bytes = t.read::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect();
            Ok((*name, stored_shape(t), bytes))
        })
        .collect::<anyhow::Result<_>>()?;
    let views = values
        .iter()
        .map(|(name, shape, bytes)| Ok((*name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let about = HashMap::from([("model".to_owned(), model.to_owned())]);
    serialize_to_file(views, Some(about), path).with_context(|| format!("writing `{}`", path.display()))
}

/// Depth and confidence of one view; returns the files.
fn write_pictures(
    output: &Path,
    force: bool,
    name: &str,
    [points, confidence]: [&Tensor; 2],
) -> anyhow::Result<Vec<PathBuf>> {
    let &[height, width] = confidence.shape() else {
        anyhow::bail!("a confidence map has two extents");
    };
    let depth: Vec<f32> = points.read::<f32>()?.chunks_exact(3).map(|p| p[2]).collect();
    let confidence: Vec<f32> = confidence.read::<f32>()?;
    let stem = output.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let (w, h) = (u32::try_from(width)?, u32::try_from(height)?);
    let mut files = Vec::new();
    for (what, picture) in
        [("depth", depth_picture(&depth, w, h)), ("confidence", confidence_picture(&confidence, w, h))]
    {
        let place = output.with_file_name(format!("{stem}_{name}_{what}.png"));
        write_file(&place, force, |path| Ok(write_picture(path, &picture)?))?;
        files.push(place);
    }
    Ok(files)
}
