//! Fine-tunes the descriptors of a network on generated scenes and writes a folder that `steropes --model` takes:
//!
//! ```text
//! cargo run --release -p steropes_train --example finetune -- --steps 200 --device cpu -o tuned/
//! steropes match a.jpg b.jpg --model tuned/ -o matches.png
//! ```

use anyhow::bail;
use clap::{Parser, ValueEnum};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use steropes_tensor::Device;
use steropes_train::{Settings, Source, Trained, Trainer};

/// Fine-tune the descriptors of a network on generated scenes.
#[derive(Parser)]
struct Cli {
    /// Folder to write: config.json, model.safetensors and training.safetensors
    #[arg(short, long)]
    output: PathBuf,
    /// Folder with config.json and model.safetensors; the built-in network if not given
    #[arg(long, value_name = "FOLDER")]
    model: Option<PathBuf>,
    /// Steps in all, those before --resume included
    #[arg(long, default_value_t = 200)]
    steps: u64,
    /// Where to run: auto, cpu, gpu, gpu:1 or part of a GPU's name
    #[arg(long, env = "STEROPES_DEVICE", default_value = "auto")]
    device: String,
    /// Which parts change; points change with the decoder
    #[arg(long, value_enum, default_value_t = Parts::Decoder)]
    train: Parts,
    /// Pairs of pictures in a step
    #[arg(long, default_value_t = Settings::default().pairs)]
    pairs: usize,
    /// Learning rate after the warm-up
    #[arg(long, default_value_t = Settings::default().learning_rate, value_parser = rate)]
    learning_rate: f64,
    /// Decides the scenes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Scenes that are held out, to count right matches on before and after
    #[arg(long, default_value_t = 16)]
    held_out: u64,
    /// Keep nothing within blocks for the gradients: less memory, more time
    #[arg(long)]
    checkpoint: bool,
    /// Go on from the training.safetensors in the output folder
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Parts {
    /// The descriptor heads
    Heads,
    /// The descriptor heads and the decoder
    Decoder,
    /// All but the heads of points
    All,
}

fn rate(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number < 1.0);
    number.ok_or_else(|| "must be a number between 0 and 1".to_owned())
}

#[expect(clippy::print_stderr, reason = "the one place where an error reaches the user")]
fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => {
            let text = error.to_string();
            let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
            let line = lines.collect::<Vec<_>>().join(" ");
            eprintln!("{line}");
            return ExitCode::from(2);
        }
    };
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let out = &mut std::io::stdout().lock();
    let device = Device::select(&cli.device)?;
    let state = cli.output.join("training.safetensors");
    if state.exists() && !cli.resume {
        bail!(
            "{}: holds a training; give --resume to go on with it, or another folder",
            cli.output.display()
        );
    }
    let source = match &cli.model {
        Some(folder) => Source::open(folder)?,
        None => Source::embedded(),
    };
    let settings = Settings {
        trained: match cli.train {
            Parts::Heads => Trained::Heads,
            Parts::Decoder => Trained::Decoder,
            Parts::All => Trained::All,
        },
        pairs: cli.pairs,
        learning_rate: cli.learning_rate,
        seed: cli.seed,
        checkpoints: cli.checkpoint,
        ..Settings::default()
    };
    let mut trainer = Trainer::new(source, &device, settings)?;
    if cli.resume {
        trainer.resume(&state)?;
    }
    let parameters = trainer.parameters();
    writeln!(out, "{} of {}, on {}", counted(parameters.count()), parameters.source().name(), device.name())?;
    held_out(&trainer, cli, out)?;
    let (mut sums, mut count, mut start) = ([0.0f64; 2], 0u32, Instant::now());
    while trainer.steps() < cli.steps {
        let report = trainer.step()?;
        sums = [sums[0] + f64::from(report.loss), sums[1] + f64::from(report.info_nce)];
        count += 1;
        if trainer.steps() % 10 == 0 || trainer.steps() == cli.steps {
            let [loss, info_nce] = sums.map(|sum| sum / f64::from(count));
            let seconds = start.elapsed().as_secs_f64() / f64::from(count);
            writeln!(
                out,
                "step {:>5}: loss {loss:8.4}, InfoNCE {info_nce:.4}, {seconds:.2} s a step",
                trainer.steps()
            )?;
            (sums, count, start) = ([0.0; 2], 0, Instant::now());
        }
    }
    held_out(&trainer, cli, out)?;
    trainer.write(&cli.output)?;
    trainer.save(&state)?;
    writeln!(out, "wrote {}", cli.output.display())?;
    Ok(())
}

/// What the network makes of scenes that no step sees.
fn held_out(trainer: &Trainer, cli: &Cli, out: &mut impl Write) -> anyhow::Result<()> {
    if cli.held_out == 0 {
        return Ok(());
    }
    let report = trainer.measure(&trainer.held_out(cli.held_out)?)?;
    let share = 100.0 * trainer.evaluate(cli.held_out)?;
    writeln!(
        out,
        "step {:>5}, held out: loss {:8.4}, InfoNCE {:.4}, {share:.1} % of matches right",
        trainer.steps(),
        report.loss,
        report.info_nce
    )?;
    Ok(())
}

fn counted(values: usize) -> String {
    format!("{:.2} million parameters", values as f64 / 1e6)
}
