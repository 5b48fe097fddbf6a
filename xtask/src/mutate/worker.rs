//! The child process: runs the cases of an op with one mistake planted.

use super::mutants::{Mutant, apply, split};
use crate::children;
use crate::metal;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use steropes_tensor::{Device, Gpu, Kernel};
use steropes_testkit::{Case, narrow_groups, narrow_text, set_narrow};

/// The cases of an op on a device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) device: String,
    /// The cases, in this order.
    pub(super) cases: Vec<String>,
    pub(super) planted: Option<Planted>,
    /// Seconds after which the mistake counts as noticed.
    pub(super) limit: u64,
}

/// A mistake in one kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Planted {
    pub(super) kernel: String,
    /// The code of the kernel, without generated lines.
    pub(super) code: String,
    pub(super) mutant: Mutant,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Done {
    /// Whether the kernel was launched at all with the mistake.
    pub(super) applied: bool,
    /// The case that noticed, and what it said.
    pub(super) failed: Option<(String, String)>,
    /// Without a mistake: how long each case took.
    pub(super) seconds: Vec<(String, f64)>,
    /// Without a mistake: the kernels.
    pub(super) kernels: Vec<Found>,
}

/// A kernel that an op launches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) kernel: String,
    pub(super) code: String,
    /// Its texts, which differ in generated lines.
    pub(super) texts: Vec<String>,
    /// The cases that launch it.
    pub(super) cases: Vec<String>,
}

/// Answers jobs until there are no more.
///
/// # Errors
/// The jobs cannot be read or answered.
pub(super) fn run(folder: &Path) -> anyhow::Result<()> {
    let cases: BTreeMap<&str, Case> =
        steropes_ops::cases().into_iter().map(|case| (case.name, case)).collect();
    let mut stand_ins = HashMap::new();
    children::answer_all(|job: Job| {
        one_job(&cases, &job, folder, &mut stand_ins).unwrap_or_else(|error| Done {
            applied: true,
            failed: Some((String::new(), format!("{error:#}"))),
            ..Done::default()
        })
    })
}

/// A device, and the stand-in that it is.
type Opened = (Device, Option<metal::StandIn>);

/// A device of this computer by its selector, or `metal:NAME` for a stand-in.
pub(super) fn open(selector: &str, folder: &Path) -> anyhow::Result<Opened> {
    let (device, stand_in) = match selector.strip_prefix("metal:") {
        Some(profile) => {
            let (stand_in, device) = metal::open(profile, folder)?;
            (device, Some(stand_in))
        }
        None => (Device::select(selector)?, None),
    };
    let gpu = device.gpu().ok_or_else(|| anyhow::anyhow!("`{selector}` is no GPU"))?;
    gpu.set_checked(true);
    Ok((device, stand_in))
}

fn one_job(
    cases: &BTreeMap<&str, Case>,
    job: &Job,
    folder: &Path,
    stand_ins: &mut HashMap<String, Opened>,
) -> anyhow::Result<Done> {
    let (device, stand_in) = match stand_ins.remove(&job.device) {
        Some(opened) => opened,
        None => open(&job.device, folder)?,
    };
    let gpu = device.gpu().expect("checked when opened");
    let applied = Arc::new(AtomicBool::new(job.planted.is_none()));
    let texts: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    match &job.planted {
        Some(planted) => plant(gpu, planted, &applied),
        None => {
            set_narrow(gpu);
            let texts = Arc::clone(&texts);
            gpu.set_text_filter(Some(Arc::new(move |name: &str, text: String| {
                texts.lock().expect("no panic while it is held").push((name.to_owned(), text.clone()));
                narrow_text(&text)
            })));
        }
    }
    let mut done = Done::default();
    for name in &job.cases {
        let case = cases.get(name.as_str()).ok_or_else(|| anyhow::anyhow!("no case `{name}`"))?;
        let start = Instant::now();
        if let Some(stand_in) = &stand_in {
            // A mistake may make some more of them.
            stand_in.begin(if job.planted.is_some() { 8 * metal::STEPS } else { metal::STEPS });
        }
        let verdict = children::catch(|| (case.run)(&device)).and_then(|verdict| verdict);
        let too_large = stand_in.as_ref().is_some_and(|s| s.end().over_limit);
        let seconds = start.elapsed().as_secs_f64();
        let launched = std::mem::take(&mut *texts.lock().expect("no panic while it is held"));
        match verdict {
            // It is a case for faster devices.
            _ if too_large && job.planted.is_none() => {}
            _ if too_large => {
                done.failed = Some((name.clone(), "it does not end".to_owned()));
                break;
            }
            Err(why) => {
                done.failed = Some((name.clone(), why));
                break;
            }
            Ok(()) => {
                done.seconds.push((name.clone(), seconds));
                launched.into_iter().for_each(|(kernel, text)| add(&mut done.kernels, &kernel, text, name));
            }
        }
    }
    done.applied = applied.load(Relaxed);
    // A stand-in on which all went well keeps its kernels for the next job.
    if done.failed.is_none() && stand_in.is_some() {
        stand_ins.insert(job.device.clone(), (device, stand_in));
    }
    Ok(done)
}

/// Plants a mistake; launches are narrow as they are for `cargo test`.
fn plant(gpu: &Gpu, planted: &Planted, applied: &Arc<AtomicBool>) {
    set_narrow(gpu);
    let (planted, applied) = (planted.clone(), Arc::clone(applied));
    match planted.mutant {
        Mutant::Line { .. } => gpu.set_text_filter(Some(Arc::new(move |name: &str, text: String| {
            if name != planted.kernel || split(&text).1 != planted.code {
                return narrow_text(&text);
            }
            applied.store(true, Relaxed);
            narrow_text(&apply(&planted.mutant, &text))
        }))),
        Mutant::Launch { axis } => {
            gpu.set_launch_filter(Some(Arc::new(move |kernel: &Kernel, groups: [u32; 3]| {
                let mut groups = narrow_groups(kernel, groups);
                // Along y and z only where there is more than one, else it would be the same as along x.
                if kernel.name() == planted.kernel && (axis == 0 || groups[axis] > 1) {
                    applied.store(true, Relaxed);
                    groups[axis] -= 1;
                }
                groups
            })))
        }
    }
}

fn add(kernels: &mut Vec<Found>, kernel: &str, text: String, case: &str) {
    let code = split(&text).1;
    let known = kernels.iter_mut().find(|k| k.kernel == kernel && k.code == code);
    match known {
        Some(found) => {
            if !found.texts.contains(&text) {
                found.texts.push(text);
            }
            if found.cases.iter().all(|c| c != case) {
                found.cases.push(case.to_owned());
            }
        }
        None => {
            let (kernel, texts, cases) = (kernel.to_owned(), vec![text], vec![case.to_owned()]);
            kernels.push(Found { kernel, code, texts, cases });
        }
    }
}
