//! `steropes match`.

use crate::Common;
use crate::inputs::{EngineArgs, read_pair};
use crate::output::write_file;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use steropes_models::engine::Engine;
use steropes_scene::matching::FinePixels;
use steropes_scene::photo::Photo;
use steropes_scene::reconstruct::match_pair;
use steropes_scene::write::{MatchLine, match_picture, write_picture};
use steropes_tensor::Tensor;

/// Draw what two photos have in common
///
/// The picture shows the photos side by side and lines between matching points, coloured by confidence. With --json the
/// list of matches goes to standard output: pixels of the original photos, confidence, and the 3D point of both in the
/// frame of the first camera.
///
/// Without --config and --preset, matches are found as in a reconstruction: in both orders of the pair, every 8 pixels, with
/// positions between pixels. With one of them they are found as its section `matching` says, the most confident first.
#[derive(clap::Args)]
#[command(
    name = "match",
    after_help = "\
Examples:
  steropes match a.jpg b.jpg -o matches.png
  steropes match a.jpg b.jpg -o matches.png --json > matches.json
  steropes match a.jpg b.jpg -o matches.png --preset quick"
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
    engine: EngineArgs,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (engine, format) = args.engine.open(common)?;
    let [a, b] = engine.install(|| read_pair([&args.a, &args.b], &format))?;
    let found = if args.engine.has_settings() {
        Found::by_settings(&engine, &a, &b)?
    } else {
        Found::from_both_orders(&engine, &a, &b)?
    };
    let lines: Vec<MatchLine> = (0..found.confidence.len())
        .map(|m| MatchLine {
            point_a_px: resized(&a, found.pixels[0][m]),
            point_b_px: resized(&b, found.pixels[1][m]),
            confidence: found.confidence[m],
        })
        .collect();
    let picture = match_picture(&a.resized_rgb, &b.resized_rgb, &lines);
    write_file(&args.output, args.force, |path| Ok(write_picture(path, &picture)?))?;
    if common.json {
        writeln!(out, "{:#}", found.listed(&a, &b))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A network pixel in the resized photo, whose corner is (0, 0).
fn resized(photo: &Photo, [x, y]: [f32; 2]) -> [f64; 2] {
    let [left, top] = photo.map.crop_origin.map(f64::from);
    [f64::from(x) + left + 0.5, f64::from(y) + top + 0.5]
}

/// Matches of a pair.
struct Found {
    /// Network pixels of either photo.
    pixels: FinePixels,
    confidence: Vec<f32>,
    /// Points of either photo in the frame of the first camera.
    points: [Vec<[f32; 3]>; 2],
}

impl Found {
    /// As in a reconstruction: both orders of the pair together, and places between pixels.
    fn from_both_orders(engine: &Engine, a: &Photo, b: &Photo) -> anyhow::Result<Self> {
        let (first, second) = (engine.encode(&a.image())?, engine.encode(&b.image())?);
        let model = engine.model()?;
        engine.install(|| {
            let outputs = model.decode_both(first.encoded(), second.encoded())?;
            let (matches, pixels) = match_pair(&outputs)?;
            let points = |map: &Tensor, photo: &Photo, xy: &[[u32; 2]]| -> anyhow::Result<Vec<[f32; 3]>> {
                let (values, width) = (map.read::<f32>()?, photo.map.network_size[0]);
                let point = |[x, y]: &[u32; 2]| [0, 1, 2].map(|c| values[3 * (y * width + x) as usize + c]);
                Ok(xy.iter().map(point).collect())
            };
            let of_a = points(&outputs.out11.points, a, &matches.xy1)?;
            let of_b = points(&outputs.out21.points, b, &matches.xy2)?;
            Ok(Self { pixels, confidence: matches.confidence, points: [of_a, of_b] })
        })
    }

    /// As the settings say, from one order.
    fn by_settings(engine: &Engine, a: &Photo, b: &Photo) -> anyhow::Result<Self> {
        let (_, matches) = engine.infer_and_match(&a.image(), &b.image())?;
        let whole = |xy: &[[u32; 2]]| xy.iter().map(|p| p.map(|v| v as f32)).collect();
        Ok(Self {
            pixels: [whole(&matches.pixels_1), whole(&matches.pixels_2)],
            confidence: matches.confidence,
            points: [matches.points_1, matches.points_2],
        })
    }

    fn listed(&self, a: &Photo, b: &Photo) -> Value {
        let list: Vec<Value> = (0..self.confidence.len())
            .map(|m| {
                json!({
                    "xy_a": a.map.upright_from_network(self.pixels[0][m].map(f64::from)),
                    "xy_b": b.map.upright_from_network(self.pixels[1][m].map(f64::from)),
                    "confidence": self.confidence[m],
                    "point_a": self.points[0][m],
                    "point_b": self.points[1][m],
                })
            })
            .collect();
        json!({
            "a": { "name": a.name, "size": a.map.upright_size },
            "b": { "name": b.name, "size": b.map.upright_size },
            "pixels": "upright photo; the centre of the top left pixel is (0.5, 0.5)",
            "points": "frame of the first camera: x right, y down, z forward",
            "matches": list,
        })
    }
}
