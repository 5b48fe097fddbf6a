//! `steropes models verify`.

use super::contents::{Contents, is_built, network_problem};
use crate::Common;
use crate::model_store::{Place, Record, cached, locate, sha256_of};
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use steropes_models::{Holds, KNOWN_MODELS, KnownModel, Model, Precision};
use steropes_tensor::Device;

/// Check weights: their checksum, and whether they make a network
///
/// The checksum is compared with the one that is known, or with the one that was recorded when the file was fetched. Then
/// the file is read, and networks for pairs of photos are built on the CPU. Without an argument everything in the cache is
/// checked. Exit code 1 if something is wrong.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes models verify
  steropes models verify mast3r
  steropes models verify weights.pth --json")]
pub(crate) struct Args {
    /// A known name, a file or a folder
    #[arg(value_name = "NAME|PATH")]
    model: Option<String>,
}

#[derive(Serialize)]
struct Verdict {
    model: String,
    /// `right`, `wrong`, or `unknown` if there is nothing to compare with.
    checksum: &'static str,
    sha256: Option<String>,
    /// What is wrong, if something is.
    problem: Option<String>,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let verdicts = match &args.model {
        Some(given) => vec![match locate(given)? {
            Place::Embedded => embedded()?,
            Place::Path(path, known) => examine(given, &path, known)?,
        }],
        None => {
            let mut verdicts = Vec::new();
            for known in KNOWN_MODELS {
                if let Some(path) = cached(known)? {
                    verdicts.push(examine(known.name, &path, Some(known))?);
                }
            }
            verdicts
        }
    };
    if common.json {
        writeln!(out, "{:#}", serde_json::json!({ "models": verdicts }))?;
    } else if verdicts.is_empty() {
        writeln!(out, "nothing was fetched")?;
    } else {
        for Verdict { model, checksum, problem, .. } in &verdicts {
            match problem {
                None => writeln!(out, "{model}: right (checksum {checksum})")?,
                Some(problem) => writeln!(out, "{model}: WRONG: {problem}")?,
            }
        }
    }
    let is_right = verdicts.iter().all(|verdict| verdict.problem.is_none());
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn embedded() -> anyhow::Result<Verdict> {
    let model = Model::embedded(&Device::cpu(), Precision::F32)?;
    let known = KnownModel::find(Model::EMBEDDED).and_then(|known| known.sha256);
    let sha256 = model.sha256().to_owned();
    Ok(compare(Model::EMBEDDED, sha256, known.map(str::to_owned)))
}

fn examine(name: &str, path: &Path, known: Option<&KnownModel>) -> anyhow::Result<Verdict> {
    let wrong = |problem: String, sha256| Verdict {
        model: name.to_owned(),
        checksum: "unknown",
        sha256,
        problem: Some(problem),
    };
    let expected = match known.and_then(|known| known.sha256) {
        Some(sha256) => Some(sha256.to_owned()),
        None => Record::beside(path)?.map(|record| record.sha256),
    };
    // A checksum that is known decides, also about a file that cannot be read.
    if path.is_file()
        && let Some(expected) = &expected
    {
        let found = sha256_of(path)?;
        if found != *expected {
            return Ok(compare(name, found, Some(expected.clone())));
        }
    }
    let contents = match Contents::open(path) {
        Ok(contents) => contents,
        Err(error) => return Ok(wrong(format!("{error:#}"), None)),
    };
    let sha256 = contents.sha256(path)?;
    let holds = contents.holds();
    if let Some(known) = known.filter(|known| known.holds != holds) {
        return Ok(wrong(format!("it holds {holds} instead of {}", known.holds), Some(sha256)));
    }
    drop(contents);
    if let Holds::Weights(family) = holds
        && is_built(family)
        && let Some(problem) = network_problem(path, family)
    {
        return Ok(wrong(problem, Some(sha256)));
    }
    Ok(compare(name, sha256, expected))
}

fn compare(name: &str, sha256: String, expected: Option<String>) -> Verdict {
    let (checksum, problem) = match expected {
        None => ("unknown", None),
        Some(expected) if expected == sha256 => ("right", None),
        Some(expected) => {
            let problem =
                format!("its SHA-256 must be {expected}, got {sha256}; fetch it again with --force");
            ("wrong", Some(problem))
        }
    };
    Verdict { model: name.to_owned(), checksum, sha256: Some(sha256), problem }
}
