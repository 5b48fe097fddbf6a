//! `steropes infer`.

use crate::Common;
use crate::inputs::{NetworkArgs, read_pair};
use crate::output::write_file;
use anyhow::Context as _;
use safetensors::{Dtype, serialize_to_file, tensor::TensorView};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use steropes_models::{Model, ViewOutput};
use steropes_scene::reconstruct::network_image;
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
  steropes infer a.jpg b.jpg -o pair.safetensors --pictures --size 512")]
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
    network: NetworkArgs,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let model = args.network.load()?;
    let [a, b] = read_pair([&args.a, &args.b], &args.network.format()?)?;
    let encode = |photo| model.encode(&network_image(photo, &model)?);
    let (first, second) = (encode(&a)?, encode(&b)?);
    let (view1, view2) = model.decode(&first, &second)?;
    let views = [("view1", &view1), ("view2", &view2)];
    write_file(&args.output, args.force, |path| write_tensors(path, &views, &model))?;
    let mut pictures = Vec::new();
    if args.pictures {
        for (name, view) in views {
            pictures.extend(write_pictures(&args.output, args.force, name, view)?);
        }
    }
    if common.json {
        let shapes: HashMap<String, Vec<usize>> =
            tensors(&views).into_iter().map(|(name, t)| (name, t.shape().to_vec())).collect();
        let result = serde_json::json!({
            "file": args.output, "pictures": pictures, "tensors": shapes, "model": model.info().name,
        });
        writeln!(out, "{result:#}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The tensors of both views under the names that the golden files use.
fn tensors<'a>(views: &[(&str, &'a ViewOutput)]) -> Vec<(String, &'a Tensor)> {
    let mut named = Vec::new();
    for (view, output) in views {
        let all = [
            ("pts3d", Some(&output.points)),
            ("conf", Some(&output.confidence)),
            ("desc", output.descriptors.as_ref()),
            ("desc_conf", output.descriptor_confidence.as_ref()),
        ];
        named.extend(all.into_iter().filter_map(|(name, t)| Some((format!("{view}.{name}"), t?))));
    }
    named
}

fn write_tensors(path: &Path, views: &[(&str, &ViewOutput)], model: &Model) -> anyhow::Result<()> {
    let values: Vec<(String, Vec<usize>, Vec<u8>)> = tensors(views)
        .into_iter()
        .map(|(name, t)| {
            let bytes = t.read::<f32>()?.iter().flat_map(|v| v.to_le_bytes()).collect();
            Ok((name, t.shape().to_vec(), bytes))
        })
        .collect::<anyhow::Result<_>>()?;
    let views = values
        .iter()
        .map(|(name, shape, bytes)| Ok((name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let about = HashMap::from([("model".to_owned(), model.info().name.clone())]);
    serialize_to_file(views, Some(about), path).with_context(|| format!("writing `{}`", path.display()))
}

/// Depth and confidence of one view; returns the files.
fn write_pictures(output: &Path, force: bool, name: &str, view: &ViewOutput) -> anyhow::Result<Vec<PathBuf>> {
    let &[_, height, width] = view.confidence.shape() else {
        anyhow::bail!("a confidence map has three extents");
    };
    let depth: Vec<f32> = view.points.read::<f32>()?.chunks_exact(3).map(|p| p[2]).collect();
    let confidence: Vec<f32> = view.confidence.read::<f32>()?;
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
