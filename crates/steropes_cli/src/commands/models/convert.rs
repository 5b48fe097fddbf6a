//! `steropes models convert`.

use super::contents::Contents;
use crate::Common;
use crate::model_store::{Place, Record, locate};
use crate::output::write_file;
use anyhow::{Context as _, bail};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use steropes_models::{ConfigSource, KnownModel};
use steropes_nn::{Checkpoint, Family, WeightType};

/// Rewrite weights as a safetensors file with its config.json
///
/// Every tensor is stored once, under the first of its names; the config.json beside the file says which others stand for
/// it and how the network is built, so that --model takes the file, or its folder if the file is called
/// model.safetensors. The result holds numbers and names only: no Python objects.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes models convert mast3r -o mast3r/model.safetensors --to f16
  steropes models convert weights.pth -o weights/model.safetensors
  steropes models convert mast3r -o small/model.safetensors --precision q4
  steropes models convert folder/ -o whole/model.safetensors --to bf16")]
pub(crate) struct Args {
    /// A known name, a file or a folder
    #[arg(value_name = "NAME|PATH")]
    input: String,
    /// The .safetensors file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Element type of floats; as they are stored if not given. q8 and q4 are blocks of integers (GGML's q8_0 and q4_0) for the weights of
    /// linear layers, the other tensors stay as they are
    #[arg(long, visible_alias = "precision", value_name = "TYPE")]
    to: Option<To>,
    /// Replace existing files
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum To {
    F32,
    F16,
    Bf16,
    /// Known, to say what is written instead.
    #[value(hide = true)]
    Int8,
    Q8,
    Q4,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (path, known) = match locate(&args.input)? {
        Place::Embedded => bail!("`{}` is part of the program: give a file or a folder", args.input),
        Place::Path(path, known) => (path, known),
    };
    if args.output.extension().is_none_or(|end| end != "safetensors") {
        bail!("`{}` must end in .safetensors", args.output.display());
    }
    let Contents::Weights(checkpoint) = Contents::open(&path)? else {
        bail!("`{}` is a codebook, which is read as it is: only weights are converted", path.display());
    };
    if args.to.is_some() && checkpoint.summary().family == Family::Retrieval {
        bail!(
            "`{}` holds the whitening of retrieval, which is computed in f64: leave out --to",
            path.display()
        );
    }
    let to = args.to.map(|to| match to {
        To::F32 => WeightType::F32,
        To::F16 => WeightType::F16,
        To::Bf16 => WeightType::Bf16,
        To::Int8 => WeightType::Int8,
        To::Q8 => WeightType::Q8,
        To::Q4 => WeightType::Q4,
    });
    let config = config(&checkpoint, &path, known)?;
    let config_place = args.output.with_file_name("config.json");
    if is_input(&args.output, &path) {
        bail!("`{}` is the input: choose another name", args.output.display());
    }
    if args.output.exists() && !args.force {
        bail!("`{}` exists: choose another name or allow replacing it with --force", args.output.display());
    }
    let converted = checkpoint.converted(to)?;
    let mut is_config_written = false;
    write_file(&args.output, args.force, |unfinished| {
        converted.write(unfinished).with_context(|| format!("writing `{}`", args.output.display()))?;
        // Before the weights have their name: they are never there without it.
        if let Some(config) = config.as_ref().filter(|config| !says(&config_place, config)) {
            write_file(&config_place, args.force, |path| Ok(std::fs::write(path, config)?))?;
            is_config_written = true;
        }
        Ok(())
    })?;
    let bytes = args.output.metadata()?.len();
    if common.json {
        let result = serde_json::json!({
            "file": args.output, "config": config.map(|_| config_place), "bytes": bytes,
        });
        writeln!(out, "{result:#}")?;
    } else {
        writeln!(out, "{} ({} MiB)", args.output.display(), bytes >> 20)?;
        if is_config_written {
            writeln!(out, "{}", config_place.display())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The text of the config.json for the converted file.
fn config(
    checkpoint: &Checkpoint,
    path: &Path,
    known: Option<&KnownModel>,
) -> anyhow::Result<Option<String>> {
    let by_file = || KnownModel::find(path.file_name()?.to_str()?);
    let recorded = Record::beside(path)?.map(|record| record.licence);
    let licence = recorded.or_else(|| known.or_else(by_file).map(|known| known.licence.to_string()));
    Ok(ConfigSource::of(checkpoint, path).config_json(checkpoint, licence.as_deref())?)
}

/// Whether the file says the same as `config`.
fn says(path: &Path, config: &str) -> bool {
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    let there = std::fs::read_to_string(path).ok().and_then(|text| parsed(&text));
    there.is_some() && there == parsed(config)
}

/// Whether writing `output` would replace what is read.
fn is_input(output: &Path, input: &Path) -> bool {
    let (Ok(output), Ok(input)) = (output.canonicalize(), input.canonicalize()) else {
        return false; // what is not there is not read
    };
    output == input || output.parent() == Some(&input)
}
