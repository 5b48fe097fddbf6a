//! `steropes models`: one file per subcommand.

mod contents;
mod convert;
mod fetch;
mod inspect;
mod list;
mod verify;

use crate::Common;
use std::io::Write;
use std::process::ExitCode;

/// List, fetch, check, examine and convert weights of networks
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes models list                                       what is known, and what is here
  steropes models fetch mast3r --yes                         from the official address, into the cache
  steropes models inspect weights.pth                        what a file holds
  steropes models convert weights.pth -o mast3r/model.safetensors --to f16
  steropes models verify                                     everything in the cache")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    List(list::Args),
    Inspect(inspect::Args),
    Convert(convert::Args),
    Fetch(fetch::Args),
    Verify(verify::Args),
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::List(args) => list::run(args, common, out),
        Command::Inspect(args) => inspect::run(args, common, out),
        Command::Convert(args) => convert::run(args, common, out),
        Command::Fetch(args) => fetch::run(args, common, out),
        Command::Verify(args) => verify::run(args, common, out),
    }
}
