//! `steropes match`.

use crate::Common;
use crate::inputs::{NetworkArgs, read_pair};
use crate::output::write_file;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use steropes_models::BothOrders;
use steropes_scene::matching::{FinePixels, Matches};
use steropes_scene::photo::Photo;
use steropes_scene::reconstruct::{match_pair, network_image};
use steropes_scene::write::{MatchLine, match_picture, write_picture};

/// Draw what two photos have in common
///
/// The picture shows the photos side by side and lines between matching points, coloured by confidence. With --json the
/// list of matches goes to standard output: pixels of the original photos, confidence, and the 3D point of both in the
/// frame of the first camera.
#[derive(clap::Args)]
#[command(
    name = "match",
    after_help = "\
Examples:
  steropes match a.jpg b.jpg -o matches.png
  steropes match a.jpg b.jpg -o matches.png --json > matches.json"
)]
pub(crate) struct Args {
    /// First photo
    a: PathBuf,
    /// Second photo
    b: PathBuf,
    /// The picture to write (.png or .jpg)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace an existing picture
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    network: NetworkArgs,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let model = args.network.load()?;
    let [a, b] = read_pair([&args.a, &args.b], &args.network.format()?)?;
    let encode = |photo| model.encode(&network_image(photo, &model)?);
    let outputs = model.decode_both(&encode(&a)?, &encode(&b)?)?;
    let (matches, fine) = match_pair(&outputs)?;
    let lines: Vec<MatchLine> = (0..matches.len())
        .map(|m| MatchLine {
            point_a_px: resized(&a, fine[0][m]),
            point_b_px: resized(&b, fine[1][m]),
            confidence: matches.confidence[m],
        })
        .collect();
    let picture = match_picture(&a.resized_rgb, &b.resized_rgb, &lines);
    write_file(&args.output, args.force, |path| Ok(write_picture(path, &picture)?))?;
    if common.json {
        writeln!(out, "{:#}", listed(&a, &b, (&matches, &fine), &outputs)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A network pixel in the resized photo, whose corner is (0, 0).
fn resized(photo: &Photo, [x, y]: [f32; 2]) -> [f64; 2] {
    let [left, top] = photo.map.crop_origin.map(f64::from);
    [f64::from(x) + left + 0.5, f64::from(y) + top + 0.5]
}

fn listed(
    a: &Photo,
    b: &Photo,
    (matches, fine): (&Matches, &FinePixels),
    outputs: &BothOrders,
) -> anyhow::Result<Value> {
    let points_a = outputs.out11.points.read::<f32>()?;
    let points_b = outputs.out21.points.read::<f32>()?;
    let point = |points: &[f32], photo: &Photo, [x, y]: [u32; 2]| {
        let pixel = (y * photo.map.network_size[0] + x) as usize;
        [points[3 * pixel], points[3 * pixel + 1], points[3 * pixel + 2]]
    };
    let list: Vec<Value> = (0..matches.len())
        .map(|m| {
            let (xy1, xy2) = (matches.xy1[m], matches.xy2[m]);
            json!({
                "xy_a": a.map.upright_from_network(fine[0][m].map(f64::from)),
                "xy_b": b.map.upright_from_network(fine[1][m].map(f64::from)),
                "confidence": matches.confidence[m],
                "point_a": point(&points_a, a, xy1),
                "point_b": point(&points_b, b, xy2),
            })
        })
        .collect();
    Ok(json!({
        "a": { "name": a.name, "size": a.map.upright_size },
        "b": { "name": b.name, "size": b.map.upright_size },
        "pixels": "upright photo; the centre of the top left pixel is (0.5, 0.5)",
        "points": "frame of the first camera: x right, y down, z forward",
        "matches": list,
    }))
}
