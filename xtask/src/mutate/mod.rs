//! Do the cases of an op notice a broken kernel?
//!
//! Small mistakes are planted in the text of every kernel of an op, one at a time: a sign, a bound, an index, a constant, a
//! missing barrier, a loop that ends early, a workgroup that is not launched. The cases of the op must notice each. A
//! mistake that changes no result stands in `equivalent.json` with its place and the reason.

mod equivalent;
mod mutants;
mod worker;

use crate::children::{self, Answer};
use crate::metal;
use anyhow::{Context as _, bail, ensure};
use equivalent::{Equivalent, SourceLine, Sources};
use mutants::{Mutant, apply};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use steropes_testkit::Case;
use worker::{Done, Found, Job, Planted};

/// Plant mistakes in the kernels of ops and see whether their cases notice
#[derive(clap::Args)]
pub struct Args {
    /// The ops, as their cases are called, or `all`
    #[arg(required_unless_present = "worker")]
    ops: Vec<String>,
    /// Where the cases run; a mistake that no case notices on the first device is tried on the next
    #[arg(long = "device", default_values_t = ["llvmpipe".to_owned(), "metal:apple".to_owned(), "metal:intel-mac".to_owned()])]
    devices: Vec<String>,
    /// Mistakes in one kernel, apart from its launches; its forms share them, but each gets 8
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

/// A kernel of an op.
struct Target {
    op: String,
    found: Found,
    /// Where each line of its code stands.
    lines: Vec<SourceLine>,
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
    line: SourceLine,
    /// The device and case that noticed it.
    noticed: Option<String>,
    /// Whether a compiler makes the same instructions of the kernel with it.
    same_code: bool,
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
    let sources = Sources::read()?;
    let equivalent = equivalent::known(&sources)?;
    let targets = targets(args, &sources, out)?;
    let fates = fates(args, &targets, &equivalent, out)?;
    let reason = |fate: &Fate| match known_as(&equivalent, fate) {
        Some(entry) => Some(entry.reason.as_str()),
        None => fate.same_code.then_some("a compiler makes the same instructions of it"),
    };
    let table = table(&targets, &fates, &reason);
    writeln!(out, "{table}")?;
    if let Some(path) = &args.write {
        std::fs::write(path, format!("{INTRODUCTION}{table}")).with_context(|| path.display().to_string())?;
    }
    let wrong = wrong_entries(&equivalent, &targets, &fates);
    for why in &wrong {
        writeln!(out, "equivalent.json has to be repaired: {why}")?;
    }
    let explained = fates.iter().filter(|f| f.noticed.is_none()).all(|fate| reason(fate).is_some());
    Ok(if explained && wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The entry about a mistake, if there is one.
fn known_as<'a>(equivalent: &'a [Equivalent], fate: &Fate) -> Option<&'a Equivalent> {
    equivalent.iter().find(|entry| entry.covers(&fate.line, &fate.mutant))
}

/// What is wrong with entries: mistakes that were made and always noticed, and places that these kernels do not have.
fn wrong_entries(equivalent: &[Equivalent], targets: &[Target], fates: &[Fate]) -> Vec<String> {
    let mut wrong = Vec::new();
    for entry in equivalent {
        let mut made = fates.iter().filter(|f| entry.covers(&f.line, &f.mutant)).peekable();
        let about_one_of_these = || targets.iter().any(|t| entry.is_about_text_or_launch_of(&t.found.kernel));
        if made.peek().is_none() && about_one_of_these() {
            wrong.push(format!("no mistake is {entry}"));
        } else if made.peek().is_some() && made.all(|f| f.noticed.is_some()) {
            wrong.push(format!("every time a case notices {entry}"));
        }
    }
    wrong
}

const INTRODUCTION: &str = "# Do the tests notice a broken kernel?\n\n\
    `cargo xtask mutate all --write docs/mutation.md` plants small mistakes in every kernel, one at a time, and runs the op's \
    cases: a sign, a bound, an index, a product, a missing barrier, a constant, a minimum, a loop that ends early, a \
    condition, a workgroup less. Launches have narrow rows, as for `cargo test` ([devices](devices.md)). The cases run on `llvmpipe` (Vulkan in software); what \
    they do not notice there, and what is not launched there, is tried on `metal:apple` and then on `metal:intel-mac`, the stand-ins of \
    `cargo xtask metal`. A mistake of which a compiler makes the same instructions is equivalent, others are by the reason in \
    `xtask/src/mutate/equivalent.json`. Forms of a kernel (with subgroups, with matrices, four elements at once) are counted together.\n\n";

/// The kernels of the ops that were asked for, each with the devices that launch it.
fn targets(args: &Args, sources: &Sources, out: &mut dyn Write) -> anyhow::Result<Vec<Target>> {
    let all_cases = steropes_ops::cases();
    let jobs = jobs_without_mistakes(args, &all_cases)?;
    let mut targets: Vec<Target> = Vec::new();
    for (job, done) in jobs.iter().zip(run_without_mistakes(args, &jobs)?) {
        let seconds: HashMap<String, f64> = done.seconds.into_iter().collect();
        for found in done.kernels {
            let mut cases = found.cases.clone();
            cases.sort_by(|a, b| seconds[a].total_cmp(&seconds[b]));
            let op = op_of(&cases[0]).to_owned();
            // The kernel of another op, which has cases of its own.
            if found.kernel != op && all_cases.iter().any(|case| op_of(case.name) == found.kernel) {
                continue;
            }
            let seconds = cases.iter().map(|c| seconds[c]).sum();
            let place = Place { device: job.device.clone(), cases, seconds };
            let same =
                |t: &&mut Target| t.op == op && t.found.kernel == found.kernel && t.found.code == found.code;
            match targets.iter_mut().find(same) {
                Some(target) => {
                    target.places.push(place);
                    target.found.texts.extend(found.texts);
                }
                None => {
                    let lines = sources.lines(&found.kernel, &found.texts[0]);
                    targets.push(Target { op, found, lines, places: vec![place] });
                }
            }
        }
    }
    writeln!(out, "{} kernels", targets.len())?;
    Ok(targets)
}

fn op_of(case: &str) -> &str {
    case.split('/').next().unwrap_or_default()
}

/// The cases of the ops that were asked for, on each device.
fn jobs_without_mistakes(args: &Args, all_cases: &[Case]) -> anyhow::Result<Vec<Job>> {
    for asked in args.ops.iter().filter(|asked| *asked != "all") {
        ensure!(all_cases.iter().any(|case| op_of(case.name) == asked), "no op `{asked}`");
    }
    let mut jobs = Vec::new();
    for device in &args.devices {
        let (opened, _) = worker::open(device, &args.folder)?;
        let mut by_op: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for case in all_cases.iter().filter(|case| case.needs.met_by(&opened)) {
            let op = op_of(case.name);
            if args.ops.iter().any(|asked| asked == "all" || asked == op) {
                by_op.entry(op).or_default().push(case.name.to_owned());
            }
        }
        let job = |cases| Job { device: device.clone(), cases, planted: None, limit: 1800 };
        jobs.extend(by_op.into_values().map(job));
    }
    Ok(jobs)
}

/// What the cases launch and how long they take, for each job.
fn run_without_mistakes(args: &Args, jobs: &[Job]) -> anyhow::Result<Vec<Done>> {
    let mut answers: Vec<Option<Done>> = vec![None; jobs.len()];
    let mut broken = None;
    run_jobs(args, jobs, |i, answer| match answer {
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
    match broken {
        Some(why) => bail!(why),
        None => Ok(answers.into_iter().flatten().collect()),
    }
}

/// Every mistake on the first device of its kernel, then those that nothing noticed and that have no reason on the next.
fn fates(
    args: &Args,
    targets: &[Target],
    equivalent: &[Equivalent],
    out: &mut dyn Write,
) -> anyhow::Result<Vec<Fate>> {
    let mut open: Vec<(usize, Mutant)> = Vec::new();
    for (i, target) in targets.iter().enumerate() {
        let same_kernel = |t: &&Target| t.op == target.op && t.found.kernel == target.found.kernel;
        let most = (args.most / targets.iter().filter(same_kernel).count()).max(args.most.min(8));
        let in_text = mutants::choose(&target.found.texts[0], most);
        ensure!(!in_text.is_empty(), "no mistake fits into `{}`", target.found.kernel);
        // All forms are launched alike.
        let is_first = !targets[..i].iter().any(|t| same_kernel(&t));
        let launches = (0..3).filter(|_| is_first).map(|axis| Mutant::Launch { axis });
        open.extend(in_text.into_iter().chain(launches).map(|m| (i, m)));
    }
    let compiler = metal::Compiler::find(&args.folder)?;
    let mut instructions = Instructions { compiler, of_text: HashMap::new() };
    let mut fates: Vec<Fate> = Vec::new();
    let rounds = targets.iter().map(|t| t.places.len()).max().unwrap_or(0);
    for round in 0..rounds {
        let planned: Vec<_> =
            open.iter().filter(|(i, _)| targets[*i].places.len() > round).cloned().collect();
        one_round(args, targets, round, &planned, &mut fates, out)?;
        let unexplained = |f: &&mut Fate| f.noticed.is_none() && known_as(equivalent, f).is_none();
        for fate in fates.iter_mut().filter(|_| round == 0).filter(unexplained) {
            fate.same_code = instructions.are_same(&targets[fate.target].found, &fate.mutant);
        }
        let is_closed = |f: &Fate| f.noticed.is_some() || f.same_code || known_as(equivalent, f).is_some();
        open.retain(|(i, m)| !fates.iter().any(|f| f.target == *i && f.mutant == *m && is_closed(f)));
    }
    fates.sort_by_key(|fate| (fate.target, fate.line.clone(), fate.mutant.change()));
    Ok(fates)
}

/// Tries mistakes on the device number `round` of their kernels.
fn one_round(
    args: &Args,
    targets: &[Target],
    round: usize,
    planned: &[(usize, Mutant)],
    fates: &mut Vec<Fate>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let jobs: Vec<Job> =
        planned.iter().map(|(i, mutant)| job(targets, &targets[*i], round, mutant)).collect();
    let mut written = Ok(());
    run_jobs(args, &jobs, |i, answer| {
        let (target, mutant) = planned[i].clone();
        let kernel = &targets[target].found.kernel;
        let line = match &mutant {
            Mutant::Line { line, .. } => targets[target].lines[*line].clone(),
            Mutant::Launch { .. } => SourceLine::launch(kernel),
        };
        let noticed = match answer {
            // A launch with one workgroup along that axis.
            Answer::Said(done) if !done.applied => return,
            Answer::Said(done) => done.failed.map(|(case, why)| format!("{case}: {why}")),
            Answer::Died(how) => Some(format!("the process ended: {how}")),
            Answer::TooLate => Some("it did not end".to_owned()),
        };
        let (device, change) = (&jobs[i].device, mutant.change());
        let what = noticed.clone().unwrap_or_else(|| format!("SURVIVED {}", jobs[i].cases.join(" ")));
        let said = writeln!(out, "{kernel}\t{device}\t{line}\t{change}\t{what}");
        if written.is_ok() {
            written = said;
        }
        match fates.iter_mut().find(|f| f.target == target && f.mutant == mutant) {
            Some(fate) => fate.noticed = noticed,
            None => fates.push(Fate { target, mutant, line, noticed, same_code: false }),
        }
    })?;
    Ok(written?)
}

/// What a compiler makes of kernels.
struct Instructions {
    compiler: metal::Compiler,
    of_text: HashMap<String, Option<String>>,
}

impl Instructions {
    /// Whether they are the same with and without a mistake, in all specialisations of a kernel. One that is no kernel of a
    /// Mac is not compared.
    fn are_same(&mut self, found: &Found, mutant: &Mutant) -> bool {
        matches!(mutant, Mutant::Line { .. })
            && found.texts.iter().all(|text| {
                let right = self.of_text.entry(text.clone());
                let right = right.or_insert_with(|| self.compiler.instructions_of(text).ok());
                right.is_some() && *right == self.compiler.instructions_of(&apply(mutant, text)).ok()
            })
    }
}

/// A mistake on the device number `round` of its kernel: the cases that launch the form, or for a launch those of all forms.
fn job(targets: &[Target], target: &Target, round: usize, mutant: &Mutant) -> Job {
    let device = &target.places[round].device;
    let (kernel, code) = (target.found.kernel.clone(), target.found.code.clone());
    let concerned = |t: &&Target| match mutant {
        Mutant::Line { .. } => t.found.code == code,
        Mutant::Launch { .. } => true,
    };
    let same = |t: &&Target| t.op == target.op && t.found.kernel == kernel && concerned(t);
    let places = || targets.iter().filter(same).flat_map(|t| &t.places).filter(|p| p.device == *device);
    let mut cases: Vec<String> = Vec::new();
    for case in places().flat_map(|p| &p.cases) {
        if !cases.contains(case) {
            cases.push(case.clone());
        }
    }
    let limit = 20 + (10.0 * places().map(|p| p.seconds).sum::<f64>()) as u64;
    let device = device.clone();
    Job { device, cases, planted: Some(Planted { kernel, code, mutant: mutant.clone() }), limit }
}

fn run_jobs(args: &Args, jobs: &[Job], on_answer: impl FnMut(usize, Answer<Done>)) -> anyhow::Result<()> {
    let folder = args.folder.to_string_lossy();
    let arguments = ["mutate", "--worker", "--folder", folder.as_ref()];
    children::run(&arguments, args.jobs, |job: &Job| Duration::from_secs(job.limit), jobs, on_answer)
}

/// What came of the mistakes in a kernel.
#[derive(Default)]
struct Row<'a> {
    files: BTreeSet<&'a str>,
    devices: BTreeSet<&'a str>,
    /// Forms; mistakes, noticed, with a reason, unnoticed.
    counts: [usize; 5],
}

/// A row for each kernel (all its forms together), then the mistakes that nothing noticed.
fn table<'a>(targets: &[Target], fates: &[Fate], reason: &impl Fn(&Fate) -> Option<&'a str>) -> String {
    let mut rows: BTreeMap<(&str, &str), Row<'_>> = BTreeMap::new();
    for target in targets {
        let row = rows.entry((&target.op, &target.found.kernel)).or_default();
        row.counts[0] += 1;
        row.devices.extend(target.places.iter().map(|p| p.device.as_str()));
        row.files.extend(target.lines.iter().map(SourceLine::file_name));
    }
    for fate in fates {
        let target = &targets[fate.target];
        let counts = &mut rows.entry((&target.op, &target.found.kernel)).or_default().counts;
        counts[1] += 1;
        let place = if fate.noticed.is_some() { 2 } else { 3 + usize::from(reason(fate).is_none()) };
        counts[place] += 1;
    }
    let mut text =
        "| op | kernel | files | devices | forms | mistakes | noticed | equivalent | unnoticed |\n\
        |---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    let mut total = [0; 5];
    let list = |words: &BTreeSet<&str>| words.iter().copied().collect::<Vec<_>>().join(", ");
    for ((op, kernel), Row { files, devices, counts }) in &rows {
        (0..5).for_each(|k| total[k] += counts[k]);
        let counts = counts.map(|c| c.to_string()).join(" | ");
        text += &format!("| {op} | {kernel} | {} | {} | {counts} |\n", list(files), list(devices));
    }
    text += &format!("| all | | | | {} |\n", total.map(|c| c.to_string()).join(" | "));
    let survivors: BTreeSet<(&SourceLine, String, &str)> = fates
        .iter()
        .filter(|f| f.noticed.is_none())
        .map(|f| {
            let change = f.mutant.change().replace('|', "\\|");
            (&f.line, change, reason(f).unwrap_or("**not explained**"))
        })
        .collect();
    if !survivors.is_empty() {
        text += "\n| line | change that no case notices | why it changes no result |\n|---|---|---|\n";
    }
    for (line, change, why) in survivors {
        text += &format!("| {line} | {change} | {why} |\n");
    }
    text
}
