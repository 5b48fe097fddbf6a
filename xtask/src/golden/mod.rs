//! Golden cases: stored inputs and outputs of the reference programs, described by `manifest.json` files.
//!
//! A manifest of the networks is an object keyed by case; a manifest of the geometry pipeline has a list `files`, one of V-JEPA 2 an
//! object `files`. Everything comes from the manifest: files, parameters, tensor roles and tolerances.

mod alignment;
mod dense_alignment;
mod files;
mod geometry;
mod losses;
mod matching;
mod networks;
mod pairs;
mod photos;
mod registration;
mod report;
mod retrieval;
mod spectral;
mod triangulation;
mod tsdf;
mod vjepa2;

pub use files::TensorFile;
pub use report::{Outcome, Report};

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use steropes_tensor::Device;

/// Runs all cases below `folders` whose name contains `only` on `device` and prints one line per check to `out`. On a GPU, checks of what runs
/// on the CPU only are listed and left out.
///
/// Exit code 0 if nothing failed, 1 otherwise.
///
/// # Errors
/// A folder without a manifest, or one that cannot be read.
pub fn run(
    folders: &[PathBuf],
    only: &str,
    device: &Device,
    out: &mut dyn Write,
) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(only, device, out);
    for folder in folders {
        let manifests = manifests_below(folder)?;
        if manifests.is_empty() {
            bail!("no manifest.json below `{}`", folder.display());
        }
        for path in manifests {
            run_manifest(&path, &mut report).with_context(|| path.display().to_string())?;
        }
    }
    Ok(if report.finish()? { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Runs the cases of one manifest.
fn run_manifest(path: &Path, report: &mut Report<'_>) -> anyhow::Result<()> {
    let manifest: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let folder = path.parent().context("a manifest lies in a folder")?;
    match manifest.get("files") {
        Some(Value::Array(files)) => run_pipeline(folder, &manifest, files, report),
        Some(Value::Object(files)) => vjepa2::run(folder, &manifest, files, report),
        _ => {
            if report.is_on_cpu("preprocessing") {
                run_preprocessing(folder, &manifest, report)?;
            }
            networks::run(folder, &manifest, report)
        }
    }
}

fn run_pipeline(
    folder: &Path,
    _manifest: &Value,
    files: &[Value],
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    for entry in files {
        let name = entry["file"].as_str().context("an entry of `files` has a file name")?;
        let section = entry["checks_spec"].as_str().unwrap_or_default();
        if CPU_ONLY.contains(&section) && !report.is_on_cpu(name) {
            continue;
        }
        if section == "1" {
            pairs::run(&folder.join(name), report)?;
            continue;
        }
        if !name.ends_with(".safetensors") {
            report.not_built(name);
            continue;
        }
        let file = TensorFile::open(&folder.join(name), entry)?;
        // One arm per section of the pipeline specification.
        match section {
            "3.1" => matching::nearest(&file, report)?,
            "3.2" => matching::fast(&file, report)?,
            "3.3, 3.4" => matching::correspondences(&file, report)?,
            "4.4" => spectral::run(&file, report)?,
            "5.2, 5.3, 5.4" => dense_alignment::run(&file, report)?,
            "5.4" => registration::poses(&file, report)?,
            "5.5 (and 5.4 for the 4x4 form)" => registration::point_sets(&file, report)?,
            "6" => tsdf::run(&file, report)?,
            "7" => triangulation::run(&file, report)?,
            "8.1" => retrieval::graph(&file, report)?,
            section if section.starts_with("training losses") => losses::run(&file, report)?,
            "5.5" if file.has("xy_grid") => geometry::run(&file, report)?,
            section if alignment::covers(section) => alignment::run(&file, section, report),
            section => report.not_built(&format!("{}: section {section}", file.stem())),
        }
    }
    Ok(())
}

/// Sections of the pipeline specification whose code runs on the CPU wherever tensors are, or, of the alignment (4.2-4.8), in f64.
const CPU_ONLY: [&str; 10] = [
    "1",
    "4.1, 5.4",
    "4.2-4.8",
    "4.3",
    "4.4",
    "5.2, 5.3, 5.4",
    "5.4",
    "5.5",
    "5.5 (and 5.4 for the 4x4 form)",
    "8.1",
];

/// The list `preprocess`, and every entry, also below `additions`, that describes a folder of pictures; the tensors
/// of `NAME/` lie in `NAME.safetensors`.
fn run_preprocessing(folder: &Path, manifest: &Value, report: &mut Report<'_>) -> anyhow::Result<()> {
    let salt = manifest["salt"].as_str().unwrap_or_default();
    if let Some(cases) = manifest["preprocess"].as_array() {
        photos::run_preprocess(salt, cases, report)?;
    }
    let entries = [manifest, &manifest["additions"]].into_iter().filter_map(Value::as_object).flatten();
    for (name, entry) in entries {
        if entry.get("runs").is_some() && entry.get("decode").is_some() {
            let pictures = name.trim_end_matches('/');
            let tensors = folder.join(format!("{pictures}.safetensors"));
            let tensors = if tensors.exists() { Some(TensorFile::open(&tensors, entry)?) } else { None };
            photos::run_photos(&folder.join(pictures), entry, tensors.as_ref(), report)?;
        }
    }
    Ok(())
}

/// All `manifest.json` files in `folder` and below, sorted.
fn manifests_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading `{}`", folder.display()))?;
    let mut paths = entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            found.extend(manifests_below(&path)?);
        } else if path.file_name().is_some_and(|n| n == "manifest.json") {
            found.push(path);
        }
    }
    Ok(found)
}
