//! Golden cases: stored inputs and outputs of the reference programs, described by `manifest.json` files.
//!
//! A manifest of the networks is an object keyed by case; a manifest of the geometry pipeline has a list
//! `files`. Everything comes from the manifest: files, parameters, tensor roles and tolerances.

mod alignment;
mod files;
mod report;

pub use files::TensorFile;
pub use report::{Outcome, Report};

use anyhow::{Context as _, bail};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs all cases below `folders` whose name contains `only` and prints one line per check to `out`.
///
/// Exit code 0 if nothing failed, 1 otherwise.
///
/// # Errors
/// A folder without a manifest, or one that cannot be read.
pub fn run(folders: &[PathBuf], only: &str, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let mut report = Report::new(only, out);
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
        _ => run_networks(folder, &manifest, report),
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
        let file = TensorFile::open(&folder.join(name), entry)?;
        // One arm per section of the pipeline specification.
        match entry["checks_spec"].as_str().unwrap_or_default() {
            section if alignment::covers(section) => alignment::run(&file, section, report),
            section => report.not_built(&format!("{}: section {section}", file.stem())),
        }
    }
    Ok(())
}

fn run_networks(_folder: &Path, _manifest: &Value, _report: &mut Report<'_>) -> anyhow::Result<()> {
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
