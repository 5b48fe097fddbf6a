//! `steropes models list`.

use crate::Common;
use crate::model_store::cached;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use steropes_models::{KNOWN_MODELS, KnownModel};

/// List the known weights: what for, on which terms, how large, where from, and which are here
///
/// Names are for --model and for `steropes models fetch`. No publisher states checksums, so a checksum is listed only for the
/// built-in network; that of a fetched file is recorded beside it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes models list
  steropes models list --json")]
pub(crate) struct Args {}

pub(crate) fn run(_args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if common.json {
        let all = KNOWN_MODELS.iter().map(to_json).collect::<anyhow::Result<Vec<_>>>()?;
        writeln!(out, "{:#}", json!({ "models": all }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for known in KNOWN_MODELS {
        let here = match cached(known)? {
            _ if known.is_embedded() => "built in",
            Some(_) => "here",
            None => "-",
        };
        let size = if known.mebibytes > 0 { format!("{} MiB", known.mebibytes) } else { "-".to_owned() };
        writeln!(out, "{:20} {size:>9}  {here:8}  {} ({})", known.name, known.purpose, known.holds)?;
        writeln!(out, "{:20} {}", "", known.licence)?;
        if !known.is_embedded() {
            writeln!(out, "{:20} {}", "", known.address.unwrap_or(known.page))?;
        }
        if let Some(sha256) = known.sha256 {
            writeln!(out, "{:20} SHA-256 {sha256}", "")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn to_json(known: &KnownModel) -> anyhow::Result<Value> {
    Ok(json!({
        "name": known.name,
        "file": Some(known.file).filter(|file| !file.is_empty()),
        "holds": known.holds.to_string(),
        "purpose": known.purpose,
        "licence": known.licence.to_string(),
        "licence_address": known.licence.address(),
        "non_commercial": known.licence.is_non_commercial(),
        "mebibytes": Some(known.mebibytes).filter(|&size| size > 0),
        "sha256": known.sha256,
        "address": known.address,
        "page": Some(known.page).filter(|page| !page.is_empty()),
        "built_in": known.is_embedded(),
        "path": cached(known)?,
    }))
}
