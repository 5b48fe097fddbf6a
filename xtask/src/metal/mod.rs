//! Evidence for Metal without a Mac.
//!
//! Every case of every op runs on a stand-in for an Apple GPU: a backend whose abilities are those of one, and that turns each
//! kernel into Metal text as wgpu does, compiles that text for the CPU against a stand-in for Metal's standard library,
//! and executes it. So the text that a Mac would get is judged by the same oracles as every other device. Each text is
//! also looked through for known traps, and the kernels that DX12 would get are written as HLSL.
//!
//! | file | what it holds |
//! |---|---|
//! | `profile.rs` | the devices |
//! | `translate.rs` | WGSL to Metal and HLSL texts, as wgpu makes them |
//! | `traps.rs` | what is known to go wrong |
//! | `kernels.rs` | the kernels that were launched |
//! | `compiler.rs` | clang, and the libraries that it makes |
//! | `backend.rs` | the device |
//! | `worker.rs` | the child process that runs cases |
//! | `report.rs` | the table |
//! | `stand_in/` | Metal's library and threads, in C++ |

mod backend;
mod compiler;
mod kernels;
mod profile;
mod report;
#[cfg(test)]
mod tests;
mod translate;
mod traps;
mod worker;

pub(crate) use backend::StandIn;
pub(crate) use compiler::Compiler;
pub(crate) use worker::open;

use crate::children::{self, Answer};
use kernels::Seen;
use profile::PROFILES;
use report::{Outcome, Report};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use steropes_testkit::Needs;
use worker::{Done, Job};

/// Check every kernel for Metal and DX12 on this computer
#[derive(clap::Args)]
pub struct Args {
    /// Only cases whose name contains this
    #[arg(default_value = "")]
    filter: String,
    /// Print one JSON object in place of the table
    #[arg(long)]
    json: bool,
    /// Only devices whose name contains this (apple, intel-mac, amd-mac, dx12, dx12-waves-vary, dx12-plain)
    #[arg(long, default_value = "")]
    device: String,
    /// Processes that run cases
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    jobs: usize,
    /// Folder for compiled kernels
    #[arg(long, default_value = "target/metal")]
    folder: PathBuf,
    /// Answer jobs from the standard input
    #[arg(long, hide = true)]
    worker: bool,
}

/// Steps that a case may take at first: invocations started, and rounds of their loops. Over it a case is stopped: what is larger
/// than that differs from other cases in size alone. Where it launches a kernel that no other case has shown to be right, it
/// may take four times as many, and again.
pub(crate) const STEPS: u64 = 4_000_000;

/// Steps that no case may take.
const MOST_STEPS: u64 = STEPS << 10;

/// No case takes longer, compilers included.
const CASE_SECONDS: u64 = 900;

/// Runs the cases; exit code 0 if all is well, 1 if not.
///
/// # Errors
/// The checks cannot run, for example for want of a compiler.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if args.worker {
        worker::run(&args.folder)?;
        return Ok(ExitCode::SUCCESS);
    }
    Compiler::find(&args.folder)?;
    let jobs = jobs(args);
    anyhow::ensure!(!jobs.is_empty(), "no case has `{}` in its name", args.filter);
    let mut report = Report::new(args.json, out);
    let mut known = Known::default();
    run_jobs(args, &jobs, &mut known, &mut report)?;
    let mut limit = STEPS;
    while limit < MOST_STEPS {
        limit *= 4;
        let again = known.only_ones_of_a_kernel(limit);
        run_jobs(args, &again, &mut known, &mut report)?;
    }
    for job in known.over_limit.values() {
        report.case(job, Outcome::TooLarge, "")?;
    }
    for ((profile, _), kernel) in &known.kernels {
        report.kernel(profile, &kernel.seen, kernel.judged)?;
    }
    Ok(if report.finish()? { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn jobs(args: &Args) -> Vec<Job> {
    let mut jobs = Vec::new();
    for profile in PROFILES.iter().filter(|p| p.name.contains(&args.device)) {
        let device = profile::unconnected(profile);
        for case in steropes_ops::cases() {
            let wanted = !profile.only_f16 || case.needs == Needs::F16;
            if wanted && case.name.contains(&args.filter) && case.needs.met_by(&device) {
                let limit = if profile.executes { STEPS } else { u64::MAX };
                jobs.push(Job { profile: profile.name.to_owned(), case: case.name.to_owned(), limit });
            }
        }
    }
    jobs
}

/// What the cases so far have shown about the kernels.
#[derive(Default)]
struct Known {
    /// By device and text.
    kernels: BTreeMap<(String, String), Kernel>,
    /// Cases that took too many steps, by device and name.
    over_limit: BTreeMap<(String, String), Job>,
    /// The kernels that those launch.
    launched: BTreeMap<(String, String), BTreeSet<String>>,
}

struct Kernel {
    seen: Seen,
    /// Whether a case that it took part in ran to its end; always true where kernels are not executed.
    judged: bool,
}

impl Known {
    fn add(&mut self, job: &Job, done: &Done, executes: bool) {
        for seen in &done.seen {
            let key = (job.profile.clone(), seen.hash.clone());
            let kernel =
                self.kernels.entry(key).or_insert_with(|| Kernel { seen: seen.clone(), judged: false });
            kernel.judged |= !executes || !done.over_limit;
        }
        let key = (job.profile.clone(), job.case.clone());
        self.over_limit.remove(&key);
        if done.over_limit {
            self.launched.insert(key.clone(), done.seen.iter().map(|s| s.hash.clone()).collect());
            self.over_limit.insert(key, job.clone());
        }
    }

    /// The cases over the limit that launch a kernel which no other case has shown to be right, with a higher limit.
    fn only_ones_of_a_kernel(&self, limit: u64) -> Vec<Job> {
        let unjudged = |profile: &str, hash: &String| {
            self.kernels.get(&(profile.to_owned(), hash.clone())).is_some_and(|k| !k.judged)
        };
        let only_one = |key: &(String, String)| self.launched[key].iter().any(|hash| unjudged(&key.0, hash));
        let again = self.over_limit.iter().filter(|(key, _)| only_one(key));
        again.map(|(_, job)| Job { limit, ..job.clone() }).collect()
    }
}

fn run_jobs(args: &Args, jobs: &[Job], known: &mut Known, report: &mut Report<'_>) -> anyhow::Result<()> {
    let folder = args.folder.to_string_lossy();
    let arguments = ["metal", "--worker", "--folder", folder.as_ref()];
    let mut written = Ok(());
    children::run(
        &arguments,
        args.jobs,
        |_| Duration::from_secs(CASE_SECONDS),
        jobs,
        |i, answer: Answer<Done>| {
            let job = &jobs[i];
            let executes = PROFILES.iter().any(|p| p.name == job.profile && p.executes);
            let line = match answer {
                Answer::Said(done) => {
                    known.add(job, &done, executes);
                    report.work(job, done.steps, done.seconds);
                    match (&done.failure, done.over_limit, executes) {
                        (_, true, _) => return,
                        (_, _, false) => report.case(job, Outcome::Translated, ""),
                        (Some(why), _, _) => report.case(job, Outcome::Failed, why),
                        (None, _, _) => report.case(job, Outcome::Passed, ""),
                    }
                }
                Answer::Died(how) => report.case(job, Outcome::Failed, &format!("its process ended: {how}")),
                Answer::TooLate => report.case(job, Outcome::Failed, "it did not end"),
            };
            if written.is_ok() {
                written = line;
            }
        },
    )?;
    Ok(written?)
}
