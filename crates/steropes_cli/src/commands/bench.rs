//! `steropes bench`.

use crate::Common;
use anyhow::{Context as _, bail};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use steropes_ops::cpu::{Peak, peak};
use steropes_tensor::Device;
use steropes_testkit::Bench;

/// Time the kernels on shapes of real networks, beside what this machine can do at most
///
/// The limits are measured first: multiply-adds on registers alone and a copy that no cache holds. A row gives the
/// median of at least 10 runs, the spread between the quartiles, and the share of the limit that was reached, where
/// the limit is the slower of arithmetic and memory.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes bench
  steropes bench conv2d --threads 1
  steropes bench --json > rows.json")]
pub(crate) struct Args {
    /// Only benches whose name contains this
    #[arg(default_value = "")]
    filter: String,
    /// Where to run
    #[arg(long, env = "STEROPES_DEVICE", default_value = "cpu")]
    device: String,
}

/// One measured bench.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    device: String,
    median_ms: f64,
    /// Distance between the quartiles divided by the median.
    spread: f64,
    gflops: f64,
    gbytes_per_second: f64,
    share_of_limit: f64,
    limit: &'static str,
}

/// Each bench runs at least this often and this long.
const MIN_RUNS: usize = 10;
const MIN_TIME: Duration = Duration::from_millis(400);

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let device = Device::select(&args.device)?;
    let mut benches = steropes_ops::benches();
    benches.retain(|bench| bench.name.contains(&args.filter));
    if benches.is_empty() {
        bail!("no bench contains `{}`: `steropes bench` without a name lists them all", args.filter);
    }
    let peak = peak();
    if !common.json {
        writeln!(
            out,
            "# {} with {} threads: {:.0} GFLOP/s f32 (one thread {:.0}), copy {:.1} GB/s",
            peak.isa.name(),
            peak.threads,
            peak.gflops_all_threads,
            peak.gflops_one_thread,
            peak.copy_gbytes_per_second
        )?;
        writeln!(out, "name\tmedian ms\tspread\tGFLOP/s\tGB/s\tof limit\tlimit")?;
    }
    let mut rows = Vec::new();
    for bench in &benches {
        let row = measure(bench, &device, &peak);
        if !common.json {
            writeln!(
                out,
                "{}\t{:.3}\t{:.0} %\t{:.1}\t{:.1}\t{:.0} %\t{}",
                row.name,
                row.median_ms,
                100.0 * row.spread,
                row.gflops,
                row.gbytes_per_second,
                100.0 * row.share_of_limit,
                row.limit
            )?;
            out.flush()?;
        }
        rows.push(row);
    }
    if common.json {
        let peak = serde_json::json!({
            "instruction_set": peak.isa.name(),
            "threads": peak.threads,
            "gflops_one_thread": peak.gflops_one_thread,
            "gflops_all_threads": peak.gflops_all_threads,
            "copy_gbytes_per_second": peak.copy_gbytes_per_second,
        });
        serde_json::to_writer_pretty(&mut *out, &serde_json::json!({ "peak": peak, "rows": rows }))
            .context("writing the rows")?;
        writeln!(out)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(bench: &Bench, device: &Device, peak: &Peak) -> Row {
    let mut launch = (bench.prepare)(device);
    launch(); // the first run pays for pages and caches
    let mut seconds = Vec::new();
    let start = Instant::now();
    while seconds.len() < MIN_RUNS || start.elapsed() < MIN_TIME {
        let begin = Instant::now();
        launch();
        seconds.push(begin.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let quartile = |q: usize| seconds[q * (seconds.len() - 1) / 4];
    let median = quartile(2);
    let arithmetic = bench.flops / (peak.gflops_all_threads * 1e9);
    let memory = bench.bytes / (peak.copy_gbytes_per_second * 1e9);
    Row {
        name: bench.name,
        device: device.name().to_owned(),
        median_ms: 1e3 * median,
        spread: (quartile(3) - quartile(1)) / median,
        gflops: bench.flops / median / 1e9,
        gbytes_per_second: bench.bytes / median / 1e9,
        share_of_limit: arithmetic.max(memory) / median,
        limit: if arithmetic >= memory { "arithmetic" } else { "memory" },
    }
}
