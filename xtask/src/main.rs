//! `cargo xtask VERB`.

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "xtask", about = "Automation of the project")]
enum Verb {
    /// Run the golden cases below each folder and compare with their tolerances
    Golden {
        /// Folders that are searched for manifest.json files
        #[arg(required = true)]
        folders: Vec<PathBuf>,
        /// Only checks whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    Scenes(xtask::scenes::Args),
    Metal(xtask::metal::Args),
}

fn main() -> anyhow::Result<ExitCode> {
    match Verb::parse() {
        Verb::Golden { folders, only } => xtask::golden::run(&folders, &only, &mut std::io::stdout().lock()),
        Verb::Metal(args) => xtask::metal::run(&args, &mut std::io::stdout().lock()),
        Verb::Scenes(args) => xtask::scenes::run(&args, &mut std::io::stdout().lock()),
    }
}
