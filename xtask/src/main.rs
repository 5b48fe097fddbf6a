//! `cargo xtask VERB`.

use clap::Parser;
use std::io::Write as _;
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
        /// Where ops and networks run: cpu, gpu, gpu:1 or part of a GPU's name. On a GPU, checks of what runs on the CPU only are left out
        #[arg(long, env = "STEROPES_DEVICE", default_value = "cpu")]
        device: String,
    },
    Scenes(xtask::scenes::Args),
    Metal(xtask::metal::Args),
    Mutate(xtask::mutate::Args),
}

/// Exit code 0: all is well; 1: something is wrong; 2: it could not be found out.
fn main() -> ExitCode {
    match run(Verb::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _said = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<ExitCode> {
    let out = &mut std::io::stdout().lock();
    match verb {
        Verb::Golden { folders, only, device } => {
            xtask::golden::run(&folders, &only, &steropes_tensor::Device::select(&device)?, out)
        }
        Verb::Metal(args) => xtask::metal::run(&args, out),
        Verb::Mutate(args) => xtask::mutate::run(&args, out),
        Verb::Scenes(args) => xtask::scenes::run(&args, out),
    }
}
