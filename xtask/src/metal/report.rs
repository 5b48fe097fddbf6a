//! One line for each case and kernel that fails, and a table.

use super::kernels::Seen;
use super::worker::Job;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Its kernels ran and its oracle agrees.
    Passed,
    /// Its kernels were written as text, nothing more was asked.
    Translated,
    /// Something is wrong.
    Failed,
    /// It takes too many steps, and other cases show that its kernels are right.
    TooLarge,
}

/// Collects and prints.
pub(super) struct Report<'a> {
    json: bool,
    out: &'a mut dyn Write,
    rows: BTreeMap<(String, String), Row>,
    failures: Vec<Value>,
    cases_not_judged: Vec<Value>,
    work: Vec<Value>,
}

/// An op on a device.
#[derive(Default)]
struct Row {
    cases: [usize; 4],
    kernels: BTreeSet<String>,
    kernels_with_problems: usize,
    seconds: f64,
}

impl<'a> Report<'a> {
    pub(super) fn new(json: bool, out: &'a mut dyn Write) -> Self {
        Self {
            json,
            out,
            rows: BTreeMap::new(),
            failures: Vec::new(),
            cases_not_judged: Vec::new(),
            work: Vec::new(),
        }
    }

    /// Adds what a case took, whatever came of it.
    pub(super) fn work(&mut self, job: &Job, steps: u64, seconds: f64) {
        self.row(job).seconds += seconds;
        let (device, case) = (&job.profile, &job.case);
        self.work.push(json!({ "device": device, "case": case, "steps": steps, "seconds": seconds }));
    }

    fn row(&mut self, job: &Job) -> &mut Row {
        let op = job.case.split('/').next().unwrap_or_default();
        self.rows.entry((job.profile.clone(), op.to_owned())).or_default()
    }

    /// Adds a case.
    pub(super) fn case(&mut self, job: &Job, outcome: Outcome, why: &str) -> std::io::Result<()> {
        self.row(job).cases[outcome as usize] += 1;
        match outcome {
            Outcome::Failed => {
                self.failures.push(json!({ "device": job.profile, "case": job.case, "why": why }));
                self.line(&format!("{}\t{}\tFAIL\t{why}", job.profile, job.case))
            }
            Outcome::TooLarge => {
                self.cases_not_judged.push(json!({ "device": job.profile, "case": job.case }));
                self.line(&format!(
                    "{}\t{}\ttoo-large\tits kernels are judged by smaller cases",
                    job.profile, job.case
                ))
            }
            Outcome::Passed | Outcome::Translated => Ok(()),
        }
    }

    /// Adds a kernel; one that no case has judged fails.
    pub(super) fn kernel(&mut self, profile: &str, kernel: &Seen, judged: bool) -> std::io::Result<()> {
        let row = self.rows.entry((profile.to_owned(), kernel.name.clone())).or_default();
        row.kernels.insert(kernel.hash.clone());
        let unjudged = (!judged).then(|| "no case that ran to its end launches it".to_owned());
        let problems: Vec<String> = kernel.problems.iter().cloned().chain(unjudged).collect();
        row.kernels_with_problems += usize::from(!problems.is_empty());
        for why in &problems {
            let name = format!("{} {}", kernel.name, kernel.hash);
            self.failures.push(json!({ "device": profile, "kernel": name, "why": why }));
            self.line(&format!("{profile}\tkernel {name}\tFAIL\t{why}"))?;
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> std::io::Result<()> {
        if self.json { Ok(()) } else { writeln!(self.out, "{text}") }
    }

    /// Prints the table; true if nothing failed.
    pub(super) fn finish(self) -> std::io::Result<bool> {
        let well = self.failures.is_empty();
        if self.json {
            let rows = self.rows.iter().map(|((device, op), row)| {
                let [passed, translated, failed, too_large] = row.cases;
                json!({
                    "device": device, "op": op, "kernels": row.kernels.len(),
                    "kernels_with_problems": row.kernels_with_problems, "passed": passed,
                    "translated": translated, "failed": failed, "too_large": too_large, "seconds": row.seconds,
                })
            });
            let rows: Vec<Value> = rows.collect();
            let all = json!({
                "ok": well, "rows": rows, "failures": self.failures, "too_large": self.cases_not_judged,
                "work": self.work,
            });
            writeln!(self.out, "{all}")?;
            return Ok(well);
        }
        writeln!(
            self.out,
            "{:16} {:24} {:>7} {:>8} {:>6} {:>10} {:>6} {:>9} {:>8}",
            "device", "op", "kernels", "problems", "passed", "translated", "failed", "too-large", "seconds"
        )?;
        for ((device, op), row) in &self.rows {
            let [passed, translated, failed, too_large] = row.cases;
            writeln!(
                self.out,
                "{device:16} {op:24} {:>7} {:>8} {passed:>6} {translated:>10} {failed:>6} {too_large:>9} {:>8.1}",
                row.kernels.len(),
                row.kernels_with_problems,
                row.seconds
            )?;
        }
        writeln!(self.out, "{}", if well { "ok" } else { "FAIL" })?;
        Ok(well)
    }
}
