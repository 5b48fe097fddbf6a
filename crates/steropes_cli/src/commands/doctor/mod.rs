//! `steropes doctor`.

mod checks;

use crate::Common;
use crate::commands::bench::lacks;
use crate::device::DeviceArgs;
use crate::guard::guarded;
use crate::progress::Progress;
use anyhow::bail;
use checks::{Check, Pair};
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;
use steropes_models::Precision;
use steropes_ops::cpu::Isa;
use steropes_scene::reconstruct::Monitor as _;
use steropes_tensor::Device;
use steropes_testkit::Case;

/// Find out whether the answers are right on this device
///
/// Every kernel computes small and odd cases that are compared with f64, with memory that starts as NaN. Then the
/// built-in network looks at a pair of images whose outputs are stored, twice, which must give the same bits; and one
/// tensor is as large as the device allows. Exit code 0: everything is right, 1: something is wrong, 2: it could not
/// run.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes doctor
  steropes doctor --device gpu:1
  steropes doctor --only sdpa
  steropes doctor --json > report.json        to send along with a question")]
pub(crate) struct Args {
    #[command(flatten)]
    place: DeviceArgs,
    /// Only checks whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// What came of one check.
#[derive(Serialize)]
struct Finding {
    name: String,
    outcome: Outcome,
    /// What is wrong, why it was skipped, or what was measured.
    detail: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Right,
    Wrong,
    Skipped,
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let device = args.place.open()?;
    let adapter_seconds = start.elapsed().as_secs_f64();
    let mut cases = steropes_ops::cases();
    cases.retain(|case| case.name.contains(&args.only));
    let checks: Vec<Check> =
        checks_for(&device).into_iter().filter(|c| c.name().contains(&args.only)).collect();
    if cases.is_empty() && checks.is_empty() {
        bail!("no check contains `{}`: `steropes doctor --json` lists them all", args.only);
    }
    if !common.json {
        writeln!(out, "# {}", describe(&device))?;
        writeln!(out, "# adapter opened in {adapter_seconds:.2} s")?;
    }
    let progress = Progress::new(!common.quiet);
    progress.follow(&device);
    let mut findings = run_cases(&cases, &device, &progress);
    let wrong = |findings: &[Finding]| findings.iter().filter(|f| f.outcome == Outcome::Wrong).count();
    if !common.json {
        report_cases(out, &findings)?;
    }
    let mut pair = Pair::new(&device, &args.place);
    for check in checks {
        progress.begin(check.name(), 1);
        let finding = finding(check.name(), guarded(|| check.run(&mut pair)).unwrap_or_else(Err));
        progress.step();
        progress.end();
        if !common.json {
            write_finding(out, &finding)?;
        }
        findings.push(finding);
    }
    let wrong = wrong(&findings);
    if common.json {
        let report = serde_json::json!({
            "program": { "name": "steropes", "version": env!("CARGO_PKG_VERSION") },
            "device": device_json(&device),
            "adapter_seconds": adapter_seconds,
            "wrong": wrong,
            "checks": findings,
        });
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else if wrong == 0 {
        writeln!(out, "everything that was checked is right on {}", device.name())?;
    } else {
        writeln!(out, "{wrong} checks went wrong on {}: do not trust its answers", device.name())?;
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The checks beside the cases of ops.
fn checks_for(device: &Device) -> Vec<Check> {
    use Precision::{Bf16, F16, F32, Int8, Q4, Q8};
    let precisions = [F32, F16, Bf16, Int8, Q8, Q4].into_iter();
    let mut checks: Vec<Check> =
        precisions.filter(|p| p.on(device, 0).is_ok()).map(Check::Pair).chain([Check::Repeat]).collect();
    if device.gpu().is_some() {
        checks.push(Check::Memory);
        checks.push(Check::Start);
    }
    checks
}

/// The cases with their verdicts. GPU launches are checked: memory starts as NaN, and kernels have bounds checks.
fn run_cases(cases: &[Case], device: &Device, progress: &Progress) -> Vec<Finding> {
    if let Some(gpu) = device.gpu() {
        gpu.set_checked(true);
    }
    progress.begin("kernels", cases.len());
    let mut findings = Vec::new();
    for case in cases {
        // With STEROPES_LOG=info the last line names a case that a driver hangs in.
        log::info!("{}", case.name);
        let outcome = match lacks(case.needs, device) {
            Some(why) => Ok(Skip(why).into()),
            None => guarded(|| (case.run)(device)).unwrap_or_else(Err).map(|()| Detail::default()),
        };
        findings.push(finding(case.name, outcome));
        progress.step();
    }
    progress.end();
    if let Some(gpu) = device.gpu() {
        gpu.set_checked(false);
    }
    findings
}

/// What a check says when nothing is wrong.
#[derive(Default)]
struct Detail {
    skipped: bool,
    text: String,
}

/// Why a check was skipped.
struct Skip(String);

impl From<Skip> for Detail {
    fn from(Skip(text): Skip) -> Self {
        Self { skipped: true, text }
    }
}

impl From<String> for Detail {
    fn from(text: String) -> Self {
        Self { skipped: false, text }
    }
}

fn finding(name: &str, outcome: Result<Detail, String>) -> Finding {
    let (outcome, detail) = match outcome {
        Ok(Detail { skipped: true, text }) => (Outcome::Skipped, text),
        Ok(Detail { skipped: false, text }) => (Outcome::Right, text),
        Err(why) => (Outcome::Wrong, why),
    };
    Finding { name: name.to_owned(), outcome, detail }
}

/// One line for all cases that are right, one for each that is wrong.
fn report_cases(out: &mut dyn Write, findings: &[Finding]) -> std::io::Result<()> {
    for finding in findings.iter().filter(|f| f.outcome == Outcome::Wrong) {
        write_finding(out, finding)?;
    }
    let count = |outcome| findings.iter().filter(|f| f.outcome == outcome).count();
    let (right, skipped) = (count(Outcome::Right), count(Outcome::Skipped));
    if !findings.is_empty() {
        writeln!(out, "kernels\t{right} of {} cases are right", findings.len() - skipped)?;
    }
    if skipped > 0 {
        let why = findings.iter().find(|f| f.outcome == Outcome::Skipped).map_or("", |f| f.detail.as_str());
        writeln!(out, "kernels\t{skipped} cases skipped: {why}")?;
    }
    Ok(())
}

fn write_finding(out: &mut dyn Write, finding: &Finding) -> std::io::Result<()> {
    let Finding { name, outcome, detail } = finding;
    match outcome {
        Outcome::Right => writeln!(out, "{name}\tright: {detail}"),
        Outcome::Wrong => writeln!(out, "{name}\tWRONG: {detail}"),
        Outcome::Skipped => writeln!(out, "{name}\tskipped: {detail}"),
    }
}

/// The device in words.
fn describe(device: &Device) -> String {
    match device.gpu().map(|gpu| gpu.capabilities()) {
        None => format!("cpu, {} with {} threads", Isa::current().name(), rayon::current_num_threads()),
        Some(caps) => {
            let kind = if caps.software { ", a program on the CPU" } else { "" };
            format!("{}, {}, driver {}{kind}", caps.name, caps.api, caps.driver)
        }
    }
}

fn device_json(device: &Device) -> serde_json::Value {
    match device.gpu().map(|gpu| gpu.capabilities()) {
        None => serde_json::json!({ "name": "cpu", "instruction_set": Isa::current().name() }),
        Some(caps) => crate::commands::devices::gpu_json(caps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steropes_testkit::{case, gpu_case};

    #[test]
    fn wrong_answers_and_panics_are_found() {
        let cases = [
            case("good", |_| Ok(())),
            case("bad", |_| Err("element 3 is 4".to_owned())),
            case("worse", |_| panic!("no\nmemory")),
            gpu_case("elsewhere", |_| Err("must not run".to_owned())),
        ];
        let findings = run_cases(&cases, &Device::cpu(), &Progress::new(false));
        let seen: Vec<_> = findings.iter().map(|f| (f.outcome, f.detail.as_str())).collect();
        assert!(
            seen == [
                (Outcome::Right, ""),
                (Outcome::Wrong, "element 3 is 4"),
                (Outcome::Wrong, "no memory"),
                (Outcome::Skipped, "cpu has no GPU"),
            ],
            "{:?}",
            findings.iter().map(|f| &f.detail).collect::<Vec<_>>()
        );
        let mut text = Vec::new();
        report_cases(&mut text, &findings).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("bad\tWRONG: element 3 is 4\n") && text.contains("1 of 3 cases"), "{text}");
    }
}
