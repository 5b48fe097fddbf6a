//! The program `steropes`: arguments in, files and data out.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 ran and the answer
//! is no, 2 could not run.

mod clips;
mod commands;
mod device;
mod download;
mod feature_file;
mod guard;
mod inputs;
mod interrupt;
mod model_store;
mod output;
mod profile;
mod progress;
mod video;

use clap::{Args, Parser, Subcommand};
use std::process::ExitCode;

/// Counts heap memory, so that the report can say the peak of every stage.
#[global_allocator]
static HEAP: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;

/// From photos to cameras and a dense point cloud, on the machine you have.
#[derive(Parser)]
#[command(name = "steropes", version, propagate_version = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  steropes reconstruct photos/ -o scene          cameras and a point cloud from a folder of photos
  steropes match a.jpg b.jpg -o matches.png      what two photos have in common, as a picture
  steropes infer a.jpg b.jpg -o pair.safetensors the network's raw outputs for a pair
  steropes embed walk.mp4 --model vjepa2-large -o walk.safetensors
                                                 features of a video, clip by clip
  steropes classify jump.mp4 --model FOLDER      what happens in a video
  steropes watch camera:0 --camera camera.toml   warnings of obstacles, live
  steropes devices                               the CPU and GPUs of this machine
  steropes doctor                                whether the answers are right here
  steropes bench linear                          how fast the kernels are here
  steropes linalg svd a.npy -o svd.safetensors   factorisations of arrays in files
  steropes models list                           the networks that are known, and which are here
  steropes presets                               settings for common uses, for --preset and --config
  steropes plan now.png --goal goal.png --pose pose.json --model vjepa2-ac
                                                 the next action of an arm, towards a goal picture
  steropes completions bash                      completions for your shell";

/// Options that every command takes.
#[derive(Args, Clone)]
pub(crate) struct Common {
    /// Say less: only errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice for details
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Print the result as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Threads to use; all cores if not given
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    Reconstruct(commands::reconstruct::Args),
    Match(commands::match_pair::Args),
    Infer(commands::infer::Args),
    Embed(commands::embed::Args),
    Classify(commands::classify::Args),
    Watch(Box<commands::watch::Args>),
    Devices(commands::devices::Args),
    Doctor(commands::doctor::Args),
    Bench(commands::bench::Args),
    Linalg(commands::linalg::Args),
    Models(commands::models::Args),
    Plan(commands::plan::Args),
    Presets(commands::presets::Args),
    Completions(commands::completions::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => code,
        // Whoever reads standard output has seen enough, as in `steropes bench | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            interrupt::discard_unfinished();
            complain(&error);
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    start_log(&cli.common);
    interrupt::install()?;
    if let Some(threads) = cli.common.threads {
        rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()?;
    }
    let out = &mut std::io::stdout().lock();
    match &cli.command {
        Command::Reconstruct(args) => commands::reconstruct::run(args, &cli.common, out),
        Command::Match(args) => commands::match_pair::run(args, &cli.common, out),
        Command::Infer(args) => commands::infer::run(args, &cli.common, out),
        Command::Embed(args) => commands::embed::run(args, &cli.common, out),
        Command::Classify(args) => commands::classify::run(args, &cli.common, out),
        Command::Watch(args) => commands::watch::run(args, &cli.common, out),
        Command::Devices(args) => commands::devices::run(args, &cli.common, out),
        Command::Doctor(args) => commands::doctor::run(args, &cli.common, out),
        Command::Bench(args) => commands::bench::run(args, &cli.common, out),
        Command::Linalg(args) => commands::linalg::run(args, &cli.common, out),
        Command::Models(args) => commands::models::run(args, &cli.common, out),
        Command::Plan(args) => commands::plan::run(args, &cli.common, out),
        Command::Presets(args) => commands::presets::run(args, &cli.common, out),
        Command::Completions(args) => commands::completions::run(args, out),
    }
}

fn start_log(common: &Common) {
    let level = match (common.quiet, common.verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0) => log::LevelFilter::Warn,
        (false, 1) => log::LevelFilter::Info,
        (false, _) => log::LevelFilter::Debug,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .parse_env("STEROPES_LOG")
        .format_target(false)
        .format_timestamp(None)
        .init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let kind =
        |cause: &(dyn std::error::Error + 'static)| Some(cause.downcast_ref::<std::io::Error>()?.kind());
    error.chain().filter_map(kind).any(|kind| kind == std::io::ErrorKind::BrokenPipe)
}

/// One line on standard error.
#[expect(clippy::print_stderr, reason = "the one place where an error reaches the user")]
fn complain(error: &anyhow::Error) {
    let text = format!("{error:#}").replace('\n', " ");
    eprintln!("error: {text}");
}
