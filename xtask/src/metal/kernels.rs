//! The kernels that were launched: translated, looked through for traps, remembered.

use super::profile::Profile;
use super::translate::{self, MetalText, Parsed};
use super::traps;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use steropes_tensor::GpuApi;

/// The versions of Metal's language that must have a text, the last one is executed.
const METAL_VERSIONS: [(u8, u8); 2] = [(2, 4), (3, 1)];

/// A kernel in one specialisation.
pub(crate) struct Checked {
    pub(crate) hash: String,
    pub(crate) parsed: Parsed,
    pub(crate) metal: MetalText,
}

/// A kernel that a case launched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// Its op.
    pub(crate) name: String,
    /// Stands for its text.
    pub(crate) hash: String,
    /// Why it would not run on the device.
    pub(crate) problems: Vec<String>,
}

/// A kernel that passed, or why not.
type Verdict = Result<Arc<Checked>, String>;

/// All kernels of a device so far.
pub(crate) struct Kernels {
    profile: &'static Profile,
    checked: HashMap<Arc<str>, (Seen, Verdict)>,
    launched: Vec<Seen>,
}

impl Kernels {
    pub(crate) fn new(profile: &'static Profile) -> Self {
        Self { profile, checked: HashMap::new(), launched: Vec::new() }
    }

    /// Forgets what was launched.
    pub(crate) fn begin(&mut self) {
        self.launched.clear();
    }

    /// What was launched, each kernel once.
    pub(crate) fn end(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.launched)
    }

    /// The kernel of a text, ready to be compiled.
    ///
    /// # Errors
    /// What naga said about it.
    pub(crate) fn see(&mut self, name: &str, text: &Arc<str>) -> Result<Arc<Checked>, String> {
        let profile = self.profile;
        let (seen, checked) =
            self.checked.entry(Arc::clone(text)).or_insert_with(|| check(profile, name, text));
        if !self.launched.contains(seen) {
            self.launched.push(seen.clone());
        }
        checked.clone()
    }
}

/// Translates a kernel for a device and looks for traps.
fn check(profile: &Profile, name: &str, text: &str) -> (Seen, Result<Arc<Checked>, String>) {
    let hash: String = Sha256::digest(text).iter().take(8).map(|b| format!("{b:02x}")).collect();
    let mut problems = Vec::new();
    let translated = translate_for(profile, text, &mut problems);
    if let Err(error) = &translated {
        problems.push(error.clone());
    }
    let checked = translated.map(|(parsed, metal)| Arc::new(Checked { hash: hash.clone(), parsed, metal }));
    (Seen { name: name.to_owned(), hash, problems }, checked)
}

fn translate_for(
    profile: &Profile,
    text: &str,
    problems: &mut Vec<String>,
) -> Result<(Parsed, MetalText), String> {
    let device = &profile.capabilities;
    let parsed = translate::parse(text, device)?;
    let mut last = None;
    for version in METAL_VERSIONS {
        let metal = translate::metal(&parsed, version).map_err(|e| format!("MSL {version:?}: {e}"))?;
        if device.api == GpuApi::Metal {
            problems.extend(traps::find(&parsed, &metal.text, device));
        }
        last = Some(metal);
    }
    if device.api == GpuApi::Dx12
        && let Err(error) = translate::hlsl(&parsed, device)
    {
        problems.push(format!("HLSL: {error}"));
    }
    problems.sort();
    problems.dedup();
    Ok((parsed, last.expect("there is a version")))
}
