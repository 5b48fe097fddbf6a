//! Do the cases of an op notice a broken kernel?
//!
//! Small mistakes are planted in the text of every kernel of an op, one at a time: a sign, a bound, an index, a constant, a
//! missing barrier, a loop that ends early, a workgroup that is not launched. The cases of the op must notice each. A
//! mistake that changes no result stands in `equivalent.json` with the reason.

mod mutants;
mod worker;

use crate::children::{self, Answer};
use anyhow::{Context as _, bail};
use mutants::Mutant;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use worker::{Done, Found, Job, Planted};

/// Plant mistakes in the kernels of an op and see whether its cases notice
#[derive(clap::Args)]
pub struct Args {
    /// The op, as its cases are called, or `all`
    #[arg(default_value = "")]
    op: String,
    /// Where the cases run; a mistake that no case notices on the first device is tried on the next
    #[arg(long = "device", default_values_t = ["llvmpipe".to_owned(), "metal:apple".to_owned(), "metal:intel-mac".to_owned()])]
    devices: Vec<String>,
    /// Mistakes in one kernel, apart from its launches
    #[arg(long, default_value_t = 25)]
    most: usize,
    /// Write the table as Markdown to this file
    #[arg(long)]
    write: Option<PathBuf>,
    /// Processes that run cases
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Folder for kernels that the stand-ins compile
    #[arg(long, default_value = "target/metal")]
    folder: PathBuf,
    /// Answer jobs from the standard input
    #[arg(long, hide = true)]
    worker: bool,
}

/// A mistake that changes no result.
#[derive(Deserialize)]
struct Equivalent {
    kernel: String,
    /// As it is printed.
    change: String,
    reason: String,
}

/// A kernel of an op.
struct Target {
    op: String,
    found: Found,
    /// The devices that launch it, in the order in which they are asked.
    places: Vec<Place>,
}

/// Where a kernel is launched.
struct Place {
    device: String,
    /// The cases that launch it, the quickest first.
    cases: Vec<String>,
    /// Seconds that they take together.
    seconds: f64,
}

/// What became of a mistake.
struct Fate {
    target: usize,
    mutant: Mutant,
    /// The device and case that noticed it.
    noticed: Option<String>,
}

/// Runs the check; exit code 0 if every mistake was noticed or has a reason, 1 if not.
///
/// # Errors
/// An op that there is not, a device that there is not, or cases that fail without a mistake.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if args.worker {
        worker::run(&args.folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    let equivalent: Vec<Equivalent> = serde_json::from_str(include_str!("equivalent.json"))?;
    let targets = targets(args, out)?;
    let fates = fates(args, &targets, out)?;
    let survived = |fate: &&Fate| fate.noticed.is_none();
    let reason = |fate: &Fate| {
        let kernel = &targets[fate.target].found.kernel;
        let change = fate.mutant.change();
        equivalent.iter().find(|e| e.kernel == *kernel && e.change == change).map(|e| e.reason.as_str())
    };
    let table = table(&targets, &fates, &reason);
    writeln!(out, "{table}")?;
    if let Some(path) = &args.write {
        std::fs::write(path, format!("{INTRODUCTION}{table}")).with_context(|| path.display().to_string())?;
    }
    let well = fates.iter().filter(survived).all(|fate| reason(fate).is_some());
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

const INTRODUCTION: &str = "# Do the tests notice a broken kernel?\n\n\
    `cargo xtask mutate all --write docs/mutation.md` plants small mistakes in every kernel, one at a time, and runs the op's \
    cases: a sign, a bound, an index, a product, a missing barrier, a constant, a minimum, a loop that ends early, a \
    condition, a workgroup less. The cases run on `llvmpipe` (Vulkan in software); what \
    they do not notice there, and what is not launched there, is tried on `metal:apple` and then on `metal:intel-mac`, the stand-ins of \
    `cargo xtask metal`. Forms of a kernel (with subgroups, with matrices, four elements at once) are counted together.\n\n";

/// The kernels of the ops that were asked for, each on the first device that launches it.
fn targets(args: &Args, out: &mut dyn Write) -> anyhow::Result<Vec<Target>> {
    let mut by_op: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut jobs = Vec::new();
    for device in &args.devices {
        let (opened, _) = worker::open(device, &args.folder)?;
        by_op.clear();
        for case in steropes_ops::cases() {
            let op = case.name.split('/').next().unwrap_or_default();
            if (args.op == "all" || args.op == op) && case.needs.met_by(&opened) {
                by_op.entry(op.to_owned()).or_default().push(case.name.to_owned());
            }
        }
        for cases in by_op.values() {
            jobs.push(Job { device: device.clone(), cases: cases.clone(), planted: None, limit: 1800 });
        }
    }
    if jobs.is_empty() {
        bail!("no op `{}`", args.op);
    }
    let mut answers: Vec<Option<Done>> = vec![None; jobs.len()];
    let mut broken = None;
    run_jobs(args, &jobs, |i, answer| match answer {
        Answer::Said(Done { failed: Some((case, why)), .. }) => {
            broken.get_or_insert(format!("without a mistake `{case}` fails on {}: {why}", jobs[i].device));
        }
        Answer::Said(done) => answers[i] = Some(done),
        Answer::Died(how) => {
            broken.get_or_insert(format!("without a mistake the process ends: {how}"));
        }
        Answer::TooLate => {
            broken.get_or_insert("without a mistake the cases do not end".to_owned());
        }
    })?;
    if let Some(why) = broken {
        bail!(why);
    }
    let mut targets: Vec<Target> = Vec::new();
    for (job, done) in jobs.iter().zip(answers.into_iter().flatten()) {
        let seconds: HashMap<String, f64> = done.seconds.into_iter().collect();
        for found in done.kernels {
            let mut cases = found.cases.clone();
            cases.sort_by(|a, b| seconds[a].total_cmp(&seconds[b]));
            let op = cases[0].split('/').next().unwrap_or_default().to_owned();
            let seconds = cases.iter().map(|c| seconds[c]).sum();
            let place = Place { device: job.device.clone(), cases, seconds };
            let same =
                |t: &&mut Target| t.op == op && t.found.kernel == found.kernel && t.found.code == found.code;
            match targets.iter_mut().find(same) {
                Some(target) => target.places.push(place),
                None => targets.push(Target { op, found, places: vec![place] }),
            }
        }
    }
    writeln!(out, "{} kernels", targets.len())?;
    Ok(targets)
}

/// Every mistake on the first device of its kernel, then those that nothing noticed on the next.
fn fates(args: &Args, targets: &[Target], out: &mut dyn Write) -> anyhow::Result<Vec<Fate>> {
    let mut open: Vec<(usize, Mutant)> = Vec::new();
    for (i, target) in targets.iter().enumerate() {
        let launches = (0..3).map(|axis| Mutant::Launch { axis });
        open.extend(
            mutants::choose(&target.found.text, args.most).into_iter().chain(launches).map(|m| (i, m)),
        );
    }
    let mut fates: Vec<Fate> = Vec::new();
    let rounds = targets.iter().map(|t| t.places.len()).max().unwrap_or(0);
    for round in 0..rounds {
        let planned: Vec<_> =
            open.iter().filter(|(i, _)| targets[*i].places.len() > round).cloned().collect();
        let jobs: Vec<Job> = planned.iter().map(|(i, mutant)| job(&targets[*i], round, mutant)).collect();
        let mut written = Ok(());
        run_jobs(args, &jobs, |i, answer| {
            let noticed = match answer {
                Answer::Said(done) if !done.applied => return,
                Answer::Said(done) => done.failed.map(|(case, why)| format!("{case}: {why}")),
                Answer::Died(how) => Some(format!("the process ended: {how}")),
                Answer::TooLate => Some("it did not end".to_owned()),
            };
            let (target, mutant) = planned[i].clone();
            let (kernel, device) = (&targets[target].found.kernel, &jobs[i].device);
            let word = if noticed.is_some() { "noticed" } else { "SURVIVED" };
            let line =
                writeln!(out, "{kernel}\t{device}\t{word}\tline {}: {}", mutant.line(), mutant.change());
            if written.is_ok() {
                written = line;
            }
            let noticed = noticed.map(|what| format!("{device}: {what}"));
            match fates.iter_mut().find(|f| f.target == target && f.mutant == mutant) {
                Some(fate) => fate.noticed = noticed,
                None => fates.push(Fate { target, mutant, noticed }),
            }
        })?;
        written?;
        let noticed = |(i, m): &(usize, Mutant)| {
            fates.iter().any(|f| f.target == *i && f.mutant == *m && f.noticed.is_some())
        };
        open.retain(|mistake| !noticed(mistake));
    }
    fates.sort_by_key(|fate| (fate.target, fate.mutant.line(), fate.mutant.change()));
    Ok(fates)
}

fn job(target: &Target, place: usize, mutant: &Mutant) -> Job {
    let place = &target.places[place];
    let (kernel, code) = (target.found.kernel.clone(), target.found.code.clone());
    let planted = Some(Planted { kernel, code, mutant: mutant.clone() });
    let limit = 20 + (10.0 * place.seconds) as u64;
    Job { device: place.device.clone(), cases: place.cases.clone(), planted, limit }
}

fn run_jobs(args: &Args, jobs: &[Job], on_answer: impl FnMut(usize, Answer<Done>)) -> anyhow::Result<()> {
    let folder = args.folder.to_string_lossy();
    let arguments = ["mutate", "--worker", "--folder", folder.as_ref()];
    children::run(&arguments, args.jobs, |job: &Job| Duration::from_secs(job.limit), jobs, on_answer)
}

/// Outcomes of a kernel's mistakes, and the reasons of those that are harmless.
type Counts<'a> = ([usize; 5], BTreeSet<&'a str>);

/// A row for each kernel (all its forms together), then the mistakes that nothing noticed.
fn table<'a>(targets: &[Target], fates: &[Fate], reason: &impl Fn(&Fate) -> Option<&'a str>) -> String {
    let mut rows: BTreeMap<(&str, &str), Counts<'_>> = BTreeMap::new();
    let name = |t: usize| (targets[t].op.as_str(), targets[t].found.kernel.as_str());
    for (i, target) in targets.iter().enumerate() {
        let (counts, devices) = rows.entry(name(i)).or_default();
        counts[0] += 1;
        devices.extend(target.places.iter().map(|p| p.device.as_str()));
    }
    for fate in fates {
        let (counts, _) = rows.entry(name(fate.target)).or_default();
        counts[1] += 1;
        let place = if fate.noticed.is_some() { 2 } else { 3 + usize::from(reason(fate).is_none()) };
        counts[place] += 1;
    }
    let mut text = "| op | kernel | devices | forms | mistakes | noticed | with a reason | unnoticed |\n\
        |---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut total = [0; 5];
    for ((op, kernel), (counts, devices)) in &rows {
        (0..5).for_each(|k| total[k] += counts[k]);
        let devices = devices.iter().copied().collect::<Vec<_>>().join(", ");
        text += &format!("| {op} | {kernel} | {devices} | {} |\n", counts.map(|c| c.to_string()).join(" | "));
    }
    text += &format!("| all | | | {} |\n", total.map(|c| c.to_string()).join(" | "));
    let mut survivors: Vec<(&str, String, &str)> = fates
        .iter()
        .filter(|f| f.noticed.is_none())
        .map(|f| {
            (
                name(f.target).1,
                f.mutant.change().replace('|', "\\|"),
                reason(f).unwrap_or("**not explained**"),
            )
        })
        .collect();
    survivors.sort_unstable();
    survivors.dedup();
    if !survivors.is_empty() {
        text += "\n| kernel | change that no case notices | why it changes no result |\n|---|---|---|\n";
    }
    for (kernel, change, why) in survivors {
        text += &format!("| {kernel} | {change} | {why} |\n");
    }
    text
}
