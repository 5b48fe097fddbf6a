//! `steropes bench`.

mod compare;
mod limits;
mod measure;

use crate::Common;
use crate::device::DeviceArgs;
use anyhow::{Context as _, bail};
use compare::Earlier;
use limits::Limits;
use measure::{Measured, measure};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use steropes_tensor::Device;
use steropes_testkit::{Bench, Needs};

/// Time the kernels on shapes of real networks, beside what this device can do at most
///
/// The limits are measured first: multiply-adds on registers alone and a copy that no cache holds. A row gives the
/// median of several samples, the spread between the quartiles, and the share of the limit that was reached, where
/// the limit is the slower of arithmetic and memory. On a GPU its own clock is read around many launches. Networks of
/// the published size (several GB) run only if the filter names them: `steropes bench large`,
/// `steropes bench dune`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes bench
  steropes bench conv2d --device cpu --threads 1
  steropes bench --json > before.json
  steropes bench --compare before.json            how much faster than before")]
pub(crate) struct Args {
    /// Only benches whose name contains this
    #[arg(default_value = "")]
    filter: String,
    #[command(flatten)]
    place: DeviceArgs,
    /// Also show each row beside the same row of an earlier --json
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// Benches of networks of the published size: they need more memory or time than every machine has.
const ONLY_IF_ASKED: [&str; 2] = ["large", "dune"];

/// One measured bench.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    device: String,
    median_ms: f64,
    /// Distance between the quartiles divided by the median.
    spread: f64,
    gflops: f64,
    gbytes_per_second: f64,
    share_of_limit: f64,
    limit: String,
    /// Time of the earlier run divided by this one's: above 1 it became faster.
    #[serde(skip_serializing_if = "Option::is_none")]
    speedup: Option<f64>,
}

/// A bench without a time.
#[derive(Serialize, Deserialize)]
struct NotMeasured {
    name: String,
    why: String,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let earlier = args.compare.as_deref().map(Earlier::read).transpose()?;
    let mut benches = steropes_ops::benches();
    benches.extend(steropes_models::mast3r::benches());
    benches.extend(steropes_models::engine::benches());
    benches.extend(steropes_models::vjepa2::benches());
    benches.extend(steropes_scene::retrieval::benches());
    benches.retain(|bench| bench.name.contains(&args.filter));
    if args.filter.is_empty() {
        benches.retain(|bench| !ONLY_IF_ASKED.iter().any(|name| bench.name.contains(name)));
    }
    if benches.is_empty() {
        bail!("no bench contains `{}`: `steropes bench` without a name lists them all", args.filter);
    }
    let device = args.place.open()?;
    let limits = Limits::measure(&device)?;
    if !common.json {
        limits.write(out)?;
        let compared = if earlier.is_some() { "\tspeedup" } else { "" };
        writeln!(out, "name\tmedian ms\tspread\tGFLOP/s\tGB/s\tof limit\tlimit{compared}")?;
    }
    let (mut rows, mut skipped, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for bench in &benches {
        if let Some(why) = lacks(bench.needs, &device) {
            skipped.push(NotMeasured { name: bench.name.to_owned(), why });
            continue;
        }
        match measure(bench, &device) {
            Ok(measured) => {
                let mut row = row(bench, &device, measured, &limits);
                row.speedup = earlier.as_ref().and_then(|e| e.speedup(&row));
                if !common.json {
                    write_row(out, &row)?;
                }
                rows.push(row);
            }
            Err(why) => {
                if !common.json {
                    writeln!(out, "{}\tnot measured: {why}", bench.name)?;
                }
                failed.push(NotMeasured { name: bench.name.to_owned(), why });
            }
        }
        out.flush()?;
    }
    if common.json {
        let result = serde_json::json!({
            "limits": limits.json(), "rows": rows, "skipped": skipped, "failed": failed,
        });
        serde_json::to_writer_pretty(&mut *out, &result).context("writing the rows")?;
        writeln!(out)?;
    } else {
        for row in &skipped {
            writeln!(out, "{}\tskipped: {}", row.name, row.why)?;
        }
    }
    Ok(if rows.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the device lacks for a bench.
pub(crate) fn lacks(needs: Needs, device: &Device) -> Option<String> {
    if needs.met_by(device) {
        return None;
    }
    let what = match needs {
        Needs::Cpu => return Some("it runs on the CPU only".to_owned()),
        Needs::F16 if device.gpu().is_some() => "f16",
        _ => "GPU",
    };
    Some(format!("{} has no {what}", device.name()))
}

fn row(bench: &Bench, device: &Device, measured: Measured, limits: &Limits) -> Row {
    let Measured { median, spread } = measured;
    let arithmetic = bench.flops / limits.flops(bench.needs);
    let memory = bench.bytes / limits.bytes_per_second();
    Row {
        name: bench.name.to_owned(),
        device: device.name().to_owned(),
        median_ms: 1e3 * median,
        spread,
        gflops: bench.flops / median / 1e9,
        gbytes_per_second: bench.bytes / median / 1e9,
        share_of_limit: arithmetic.max(memory) / median,
        limit: if arithmetic >= memory { "arithmetic" } else { "memory" }.to_owned(),
        speedup: None,
    }
}

fn write_row(out: &mut dyn Write, row: &Row) -> std::io::Result<()> {
    write!(
        out,
        "{}\t{:.4}\t{:.0} %\t{:.1}\t{:.1}\t{:.0} %\t{}",
        row.name,
        row.median_ms,
        100.0 * row.spread,
        row.gflops,
        row.gbytes_per_second,
        100.0 * row.share_of_limit,
        row.limit
    )?;
    if let Some(speedup) = row.speedup {
        write!(out, "\t{speedup:.2}")?;
    }
    writeln!(out)
}
