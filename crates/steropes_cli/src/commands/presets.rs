//! `steropes presets`.

use crate::Common;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;
use steropes_models::engine::{PRESETS, Preset};

/// List settings for common uses, or print those of one
///
/// What is printed for one is a TOML file for --config, to be saved and changed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes presets
  steropes presets quick > engine.toml")]
pub(crate) struct Args {
    /// The one to print
    #[arg(value_name = "NAME", value_parser = PossibleValuesParser::new(PRESETS.iter().map(|preset| preset.name)))]
    name: Option<String>,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let one = args.name.as_deref().and_then(Preset::find);
    if common.json {
        let listed = one.map_or(PRESETS, std::slice::from_ref);
        let all: Vec<Value> = listed
            .iter()
            .map(|preset| json!({ "name": preset.name, "purpose": preset.purpose, "toml": preset.toml }))
            .collect();
        writeln!(out, "{:#}", json!({ "presets": all }))?;
    } else if let Some(preset) = one {
        write!(out, "# {}\n{}", preset.purpose, preset.toml)?;
    } else {
        for preset in PRESETS {
            writeln!(out, "{:14} {}", preset.name, preset.purpose)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
