//! The child process: runs cases on the stand-in as they are asked for.

use super::backend::StandIn;
use super::kernels::Seen;
use super::profile::PROFILES;
use crate::children;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;
use steropes_tensor::{Device, Gpu};
use steropes_testkit::Case;

/// One case on one device.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) profile: String,
    pub(super) case: String,
    /// Steps that it may take.
    pub(super) limit: u64,
}

/// How a case went.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) failure: Option<String>,
    pub(super) over_limit: bool,
    pub(super) steps: u64,
    pub(super) seconds: f64,
    pub(super) seen: Vec<Seen>,
}

/// Answers jobs until there are no more.
///
/// # Errors
/// The jobs cannot be read or answered.
pub(super) fn run(folder: &Path) -> anyhow::Result<()> {
    let cases: HashMap<&str, Case> =
        steropes_ops::cases().into_iter().map(|case| (case.name, case)).collect();
    let mut devices: HashMap<String, (StandIn, Device)> = HashMap::new();
    children::answer_all(|job: Job| {
        let start = Instant::now();
        let answer = device(&mut devices, &job.profile, folder).map(|(stand_in, device)| {
            stand_in.begin(job.limit);
            let outcome = children::catch(|| (cases[job.case.as_str()].run)(device));
            let work = stand_in.end();
            let failure = outcome.and_then(|verdict| verdict).err();
            Done { failure, over_limit: work.over_limit, steps: work.steps, seconds: 0.0, seen: work.seen }
        });
        let seconds = start.elapsed().as_secs_f64();
        match answer {
            Ok(done) => Done { seconds, ..done },
            Err(e) => Done {
                failure: Some(format!("{e:#}")),
                over_limit: false,
                steps: 0,
                seconds,
                seen: Vec::new(),
            },
        }
    })
}

/// The stand-in of that name, and a device on it.
///
/// # Errors
/// There is none of that name, or no compiler.
pub(crate) fn open(name: &str, folder: &Path) -> anyhow::Result<(StandIn, Device)> {
    let profile = PROFILES.iter().find(|p| p.name == name);
    let profile = profile.ok_or_else(|| anyhow::anyhow!("no stand-in `{name}`"))?;
    let stand_in = StandIn::new(profile, folder)?;
    let gpu = Gpu::new(Box::new(stand_in.clone()));
    gpu.set_checked(true);
    Ok((stand_in, Device::Gpu(gpu)))
}

fn device<'a>(
    devices: &'a mut HashMap<String, (StandIn, Device)>,
    name: &str,
    folder: &Path,
) -> anyhow::Result<&'a (StandIn, Device)> {
    if !devices.contains_key(name) {
        devices.insert(name.to_owned(), open(name, folder)?);
    }
    Ok(&devices[name])
}
