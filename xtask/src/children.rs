//! Work in child processes, because kernels can crash or hang the process that they run in.
//!
//! A child is this program with other arguments. It reads one JSON value a line and answers each with one line.

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead as _, BufReader, Write as _};
use std::panic::AssertUnwindSafe;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    /// The child's answer.
    Said(T),
    /// The child ended without an answer; how.
    Died(String),
    /// The child took too long and was ended.
    TooLate,
}

/// Runs every job in one of `processes` children that are this program with `arguments`; `on_answer` sees the answers as they
/// come, with the number of their job. A job that takes longer than its `limit` is ended.
///
/// # Errors
/// A child does not start.
pub fn run<J: Serialize + Sync, T: DeserializeOwned + Send>(
    arguments: &[&str],
    processes: usize,
    limit: impl Fn(&J) -> Duration + Sync,
    jobs: &[J],
    mut on_answer: impl FnMut(usize, Answer<T>),
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (send, receive) = channel();
        for _ in 0..processes.min(jobs.len()) {
            let (send, next, limit) = (send.clone(), &next, &limit);
            scope.spawn(move || {
                let mut worker: Option<Worker> = None;
                while let Some((i, job)) = {
                    let i = next.fetch_add(1, Relaxed);
                    jobs.get(i).map(|job| (i, job))
                } {
                    let answer = one_job(arguments, limit(job), &mut worker, job);
                    if send.send(answer.map(|answer| (i, answer))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for answer in receive {
            let (i, answer) = answer?;
            on_answer(i, answer);
        }
        Ok(())
    })
}

fn one_job<J: Serialize, T: DeserializeOwned>(
    arguments: &[&str],
    limit: Duration,
    worker: &mut Option<Worker>,
    job: &J,
) -> anyhow::Result<Answer<T>> {
    let mut child = match worker.take() {
        Some(child) => child,
        None => Worker::start(arguments)?,
    };
    let line = serde_json::to_string(job)?;
    // A child that is gone is noticed when its answer does not come.
    let written = writeln!(child.input, "{line}").is_ok();
    match child.lines.recv_timeout(limit) {
        Ok(line) if written => {
            let answer = serde_json::from_str(&line).with_context(|| format!("a child said `{line}`"))?;
            *worker = Some(child);
            Ok(Answer::Said(answer))
        }
        Ok(_) | Err(RecvTimeoutError::Disconnected) => Ok(Answer::Died(child.process.wait()?.to_string())),
        Err(RecvTimeoutError::Timeout) => Ok(Answer::TooLate),
    }
}

/// A child process; dropping it ends it.
struct Worker {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Worker {
    fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting a child process")?;
        let input = process.stdin.take().context("the child has an input")?;
        let output = process.stdout.take().context("the child has an output")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, input, lines })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Runs `f` and says what it panicked about, without a word on the standard error.
///
/// # Errors
/// It panicked: where, and what it said.
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static SAID: Mutex<String> = Mutex::new(String::new());
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        *SAID.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }));
    let value = std::panic::catch_unwind(AssertUnwindSafe(f));
    std::panic::set_hook(before);
    value.map_err(|_| std::mem::take(&mut *SAID.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// The loop of a child: answers every job that comes.
///
/// # Errors
/// A job that cannot be read or an answer that cannot be written.
pub fn answer_all<J: DeserializeOwned, T: Serialize>(mut answer: impl FnMut(J) -> T) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let job = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut out, &answer(job))?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    Ok(())
}
