//! `steropes models fetch`.

use super::contents::Contents;
use crate::Common;
use crate::download::{copy, discard, download, forget};
use crate::model_store::{Record, folder, sha256_of};
use crate::output::write_file;
use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use steropes_models::KnownModel;

/// Get known weights into the cache
///
/// Files go to the folder `models` below STEROPES_CACHE, or below the cache folder of the system; afterwards --model takes the
/// name. What was interrupted is continued by the same command. A file gets its name only when it is whole, has the
/// right checksum (if one is known or given) and holds what it should; its checksum, source and licence are recorded
/// beside it.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes models fetch mast3r --yes
  steropes models fetch dust3r-512-dpt --yes --from https://mirror.example/dust3r/ --from /media/usb/weights
  steropes models fetch mast3r --yes --offline --from /media/usb/weights")]
pub(crate) struct Args {
    /// A name that `steropes models list` shows
    name: String,
    /// Where to get it instead of the official address: the address of the file, or of its folder with a / at the end, or a
    /// folder or file of this machine; several are tried in turn
    #[arg(long, value_name = "URL|PATH")]
    from: Vec<String>,
    /// Accept the licence without being asked
    #[arg(long)]
    yes: bool,
    /// The SHA-256 that the file must have
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Option<String>,
    /// Use no network
    #[arg(long, env = "STEROPES_OFFLINE", value_parser = clap::builder::FalseyValueParser::new())]
    offline: bool,
    /// Get it again although it is here
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let Some(known) = KnownModel::find(&args.name) else {
        bail!("no model `{}` is known: `steropes models list` shows the names", args.name);
    };
    if known.is_embedded() {
        bail!("`{}` is part of the program: there is nothing to fetch", known.name);
    }
    let folder = folder()?;
    let place = folder.join(known.file);
    if !place.exists() || args.force {
        let sources = sources(args, known)?;
        accept(known, args.yes)?;
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create folder `{}`", folder.display()))?;
        let lock = folder.join(format!(".{}.lock", known.file));
        let held = File::create(&lock).with_context(|| format!("cannot write `{}`", lock.display()))?;
        if held.try_lock().is_err() {
            bail!("another process is fetching `{}`", known.name);
        }
        let fetched = fetch(args, common, known, &sources, &place);
        drop(held);
        std::fs::remove_file(&lock).with_context(|| format!("removing `{}`", lock.display()))?;
        fetched?;
    }
    let record = Record::beside(&place)?;
    if common.json {
        let result = serde_json::json!({ "name": known.name, "path": place, "record": record });
        writeln!(out, "{result:#}")?;
    } else {
        writeln!(out, "{}", place.display())?;
        writeln!(out, "licence: {}, {}", known.licence, known.licence.address())?;
        if let Some(record) = record {
            writeln!(out, "SHA-256: {}", record.sha256)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a file comes from.
enum Source {
    Url(String),
    Path(PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The sources in the order in which they are tried.
fn sources(args: &Args, known: &KnownModel) -> anyhow::Result<Vec<Source>> {
    let given: Vec<&str> = match (args.from.as_slice(), known.address) {
        ([], Some(address)) => vec![address],
        ([], None) => bail!(
            "no address of `{}` is known: look on {} for {} and give its address or folder with --from",
            known.name,
            known.page,
            known.file
        ),
        (from, _) => from.iter().map(String::as_str).collect(),
    };
    let source = |given: &str| match given.split_once("://") {
        Some(("http" | "https", _)) if args.offline => {
            bail!("the network may not be used for {given} (--offline): give a folder with --from")
        }
        Some(("http" | "https", _)) if given.ends_with('/') => {
            Ok(Source::Url(format!("{given}{}", known.file)))
        }
        Some(("http" | "https", _)) => Ok(Source::Url(given.to_owned())),
        Some((scheme, _)) => bail!("--from {given}: `{scheme}` is not read, give http, https or a path"),
        None => {
            let path = Path::new(given);
            Ok(Source::Path(if path.is_dir() { path.join(known.file) } else { path.to_owned() }))
        }
    };
    given.into_iter().map(source).collect()
}

/// Asks for consent to a licence that rules out commercial use.
fn accept(known: &KnownModel, is_accepted: bool) -> anyhow::Result<()> {
    if is_accepted || !known.licence.is_non_commercial() {
        return Ok(());
    }
    let terms = format!("`{}` is under {}, {}", known.name, known.licence, known.licence.address());
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        bail!("{terms}: accept it with --yes");
    }
    write!(std::io::stderr(), "{terms}\nDo you accept it? [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if !matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        bail!("the licence of `{}` was not accepted: nothing was fetched", known.name);
    }
    Ok(())
}

/// Brings the file to `place` from the first source that has it.
fn fetch(
    args: &Args,
    common: &Common,
    known: &KnownModel,
    sources: &[Source],
    place: &Path,
) -> anyhow::Result<()> {
    let expected = args.sha256.as_deref().or(known.sha256);
    let partial = place.with_file_name(format!(".{}.part", known.file));
    let mut problems = Vec::new();
    for source in sources {
        let bar = bar(known.name, !common.quiet && !common.json);
        let brought = match source {
            Source::Url(url) => download(url, &partial, expected.is_some(), &bar),
            Source::Path(path) => copy(path, &partial, &bar),
        };
        bar.finish_and_clear();
        let checked = brought.and_then(|()| {
            // What is whole and wrong is of no use to another attempt.
            check(known, expected, &partial).inspect_err(|_| discard(&partial))
        });
        match checked {
            Ok(sha256) => return finish(known, source, sha256, &partial, place),
            Err(error) => problems.push(format!("{source}: {error:#}")),
        }
    }
    bail!("cannot get `{}`: {}", known.name, problems.join("; "))
}

/// Checks a whole file; returns its SHA-256.
fn check(known: &KnownModel, expected: Option<&str>, partial: &Path) -> anyhow::Result<String> {
    let found = sha256_of(partial)?;
    if let Some(expected) = expected.filter(|expected| **expected != found) {
        bail!("its SHA-256 must be {expected}, got {found}");
    }
    let holds = Contents::open(partial)?.holds();
    if holds != known.holds {
        bail!("it holds {holds} instead of {}", known.holds);
    }
    Ok(found)
}

/// Records where the file came from and gives it its name.
fn finish(
    known: &KnownModel,
    source: &Source,
    sha256: String,
    partial: &Path,
    place: &Path,
) -> anyhow::Result<()> {
    let record = Record {
        model: known.name.to_owned(),
        source: source.to_string(),
        bytes: partial.metadata()?.len(),
        sha256,
        licence: known.licence.to_string(),
        licence_address: known.licence.address().to_owned(),
    };
    write_file(&Record::place(place), true, |path| {
        Ok(std::fs::write(path, format!("{:#}\n", serde_json::to_value(&record)?))?)
    })?;
    std::fs::rename(partial, place).with_context(|| format!("cannot create `{}`", place.display()))?;
    forget(partial);
    Ok(())
}

fn bar(name: &str, visible: bool) -> ProgressBar {
    let target = if visible { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes}  {binary_bytes_per_sec} (left: {eta})",
    );
    let style = style.expect("the template is valid");
    ProgressBar::with_draw_target(Some(0), target).with_style(style).with_message(name.to_owned())
}

/// 64 hexadecimal digits, in lower case.
fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_lowercase());
    }
    Err("must be 64 hexadecimal digits".to_owned())
}
