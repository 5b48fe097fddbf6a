//! Photo sets with known cameras, reconstructed by the built program and scored.

mod plot;
mod score;
mod truth;

pub use score::{Estimate, Score, score};
pub use truth::Truth;

use anyhow::{Context as _, bail};
use nalgebra::Point3;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// Reconstruct every photo set below a folder and score it against its truth
#[derive(clap::Args)]
pub struct Args {
    /// Folder with the photo sets (each with images/ and truth.json)
    #[arg(long, default_value = "../shared/photos")]
    photos: PathBuf,
    /// Only sets whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Keep the scenes in this folder
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Write the scores as JSON to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw confidence against true error of every photo to this SVG file
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Options for `steropes reconstruct`, after `--`
    #[arg(last = true)]
    options: Vec<String>,
}

/// One scored set.
#[derive(serde::Serialize)]
struct Row {
    set: String,
    seconds: f64,
    peak_bytes: u64,
    #[serde(flatten)]
    score: Score,
    /// Per registered photo: name, what the program thinks of it, and its true errors.
    confidence: Vec<(String, f64, f64, f64)>,
}

/// Prints a table of all sets to `out`.
///
/// # Errors
/// No set is found, or the program fails on one.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe()?.with_file_name("steropes");
    if !program.exists() {
        bail!("`{}` is missing: build it with `cargo build --release`", program.display());
    }
    let sets = sets(&args.photos, &args.only)?;
    let scratch = tempfile::tempdir()?;
    let keep = args.keep.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(keep)?;
    writeln!(
        out,
        "| set | registered | rotation, median deg | 90 % | direction, median deg | RTA@5 | ate, % of extent | focal error, % | points to surface, median % of depth | 90 % | s |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|")?;
    let mut rows = Vec::new();
    for folder in sets {
        let row = reconstruct(&program, &folder, keep, &args.options)?;
        writeln!(out, "{}", line(&row))?;
        out.flush()?;
        rows.push(row);
    }
    if let Some(path) = &args.json {
        std::fs::write(path, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.plot {
        let dots: Vec<plot::Dot> = rows.iter().flat_map(dots).collect();
        plot::draw(path, &dots)?;
        let correlation = plot::rank_correlation(&dots);
        writeln!(
            out,
            "\nrank correlation of confidence and rotation error over {} photos: {correlation:.2}",
            dots.len()
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn dots(row: &Row) -> Vec<plot::Dot> {
    let exact = row.set.starts_with("synth");
    row.confidence
        .iter()
        .map(|&(_, confidence, rotation_deg, _)| plot::Dot { confidence, rotation_deg, exact })
        .collect()
}

fn line(row: &Row) -> String {
    let s = &row.score;
    let number = |v: f64, digits: usize| if v.is_nan() { "-".to_owned() } else { format!("{v:.digits$}") };
    format!(
        "| {} | {}/{} | {} | {} | {} | {} | {} | {} | {} | {} | {:.1} |",
        row.set,
        s.registered,
        s.photos,
        number(s.rotation_deg_median, 2),
        number(s.rotation_deg_90, 2),
        number(s.direction_deg_median, 2),
        number(s.rta_5, 2),
        number(100.0 * s.ate, 2),
        number(100.0 * s.focal_error, 1),
        number(100.0 * s.point_error_median, 2),
        number(100.0 * s.point_error_90, 2),
        row.seconds
    )
}

/// Folders below `photos` that hold a truth and photos, sorted.
fn sets(photos: &Path, only: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(photos).with_context(|| format!("reading `{}`", photos.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let wanted = path.file_name().is_some_and(|n| n.to_string_lossy().contains(only));
        if wanted && path.join("truth.json").exists() && path.join("images").is_dir() {
            found.push(path);
        }
    }
    if found.is_empty() {
        bail!("no photo set whose name contains `{only}` in `{}`", photos.display());
    }
    found.sort();
    Ok(found)
}

fn reconstruct(program: &Path, set: &Path, keep: &Path, options: &[String]) -> anyhow::Result<Row> {
    let name = set.file_name().context("a set has a name")?.to_string_lossy().into_owned();
    let scene = keep.join(&name);
    let start = Instant::now();
    let output = Command::new(program)
        .arg("reconstruct")
        .arg(set.join("images"))
        .arg("-o")
        .arg(&scene)
        .args(["--force", "--quiet"])
        .args(options)
        .output()
        .with_context(|| format!("running `{}`", program.display()))?;
    let seconds = start.elapsed().as_secs_f64();
    let truth = Truth::read(set)?;
    if !output.status.success() {
        log_failure(&name, &output.stderr);
        let score = score(&truth, &BTreeMap::new(), &[])?;
        return Ok(Row { set: name, seconds, peak_bytes: 0, score, confidence: Vec::new() });
    }
    let report: Value = serde_json::from_slice(&std::fs::read(scene.join("report.json"))?)?;
    let cameras = cameras(&scene)?;
    let points = points(&scene)?;
    let score = score(&truth, &cameras, &points)?;
    let confidence = confidences(&report, &score);
    let peak_bytes = report["stages"]
        .as_array()
        .map(|stages| stages.iter().filter_map(|s| s["peak_bytes"].as_u64()).max().unwrap_or(0))
        .unwrap_or(0);
    Ok(Row { set: name, seconds, peak_bytes, score, confidence })
}

#[expect(clippy::print_stderr, reason = "a failed set is said at once and the others still run")]
fn log_failure(set: &str, stderr: &[u8]) {
    eprintln!("{set}: {}", String::from_utf8_lossy(stderr).trim());
}

/// The cameras of the scene.
fn cameras(scene: &Path) -> anyhow::Result<BTreeMap<String, Estimate>> {
    let path = scene.join("cameras.json");
    let list: Value =
        serde_json::from_slice(&std::fs::read(&path)?).with_context(|| path.display().to_string())?;
    let entries =
        list["cameras"].as_array().or_else(|| list.as_array()).context("cameras.json holds a list")?;
    let mut cameras = BTreeMap::new();
    for entry in entries {
        let Ok(rows) = serde_json::from_value::<[[f64; 4]; 4]>(entry["world_from_camera"].clone()) else {
            continue;
        };
        let number = |key: &str| entry[key].as_f64().with_context(|| format!("`{key}` of a camera"));
        cameras.insert(
            entry["name"].as_str().context("a camera has a name")?.to_owned(),
            Estimate {
                world_from_camera: truth::pose(&rows),
                focal_px: 0.5 * (number("fx")? + number("fy")?),
                width: number("width")? as u32,
            },
        );
    }
    Ok(cameras)
}

/// The points of `scene.ply`: float x, y, z first in every vertex.
fn points(scene: &Path) -> anyhow::Result<Vec<Point3<f64>>> {
    let path = scene.join("scene.ply");
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    const END: &[u8] = b"end_header\n";
    let end = bytes.windows(END.len()).position(|w| w == END).context("a PLY header has an end")? + END.len();
    let header = std::str::from_utf8(&bytes[..end])?;
    let properties = header.lines().filter_map(|line| line.strip_prefix("property "));
    let stride: usize = properties.map(|p| if p.starts_with("float") { 4 } else { 1 }).sum();
    let number = |at: &[u8]| f64::from(f32::from_le_bytes(at.try_into().expect("four bytes")));
    let point = |v: &[u8]| Point3::new(number(&v[..4]), number(&v[4..8]), number(&v[8..12]));
    Ok(bytes[end..].chunks_exact(stride).map(point).collect())
}

fn confidences(report: &Value, score: &Score) -> Vec<(String, f64, f64, f64)> {
    let Some(images) = report["images"].as_array() else { return Vec::new() };
    images
        .iter()
        .filter_map(|image| {
            let name = image["name"].as_str()?;
            let &(rotation, centre) = score.per_photo.get(name)?;
            Some((name.to_owned(), image["confidence"].as_f64()?, rotation, centre))
        })
        .collect()
}
