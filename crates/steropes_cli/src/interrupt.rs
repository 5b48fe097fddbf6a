//! Ctrl-C and termination: unfinished results are removed, finished ones are left alone.

use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files and folders that are being written beside their final place.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Exit code of a program that was interrupted, as shells count it: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Whether the first interrupt is only noted, for a command that looks at [`requested`].
static GRACEFUL: AtomicBool = AtomicBool::new(false);
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on the first interrupt is only noted; the second ends the program.
pub(crate) fn end_gracefully() {
    GRACEFUL.store(true, Ordering::Relaxed);
}

/// Whether an interrupt was noted.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// From now on an interrupt removes what is unfinished and ends the program.
///
/// # Errors
/// The signal handler cannot be installed.
pub(crate) fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| {
        if GRACEFUL.load(Ordering::Relaxed) && !REQUESTED.swap(true, Ordering::Relaxed) {
            return;
        }
        // The lock is held until the process is gone, so that no result can be moved into place meanwhile.
        let mut unfinished = lock();
        remove_all(&mut unfinished);
        steropes_video::stop_all();
        std::process::exit(INTERRUPTED);
    })
    .context("watching for Ctrl-C")
}

/// Remembers a path that an interrupt has to remove.
pub(crate) fn watch(path: &Path) {
    lock().push(path.to_owned());
}

/// Runs `finish`, which moves `path` to its final place, safe from interrupts; then forgets the path.
pub(crate) fn finish<T>(path: &Path, finish: impl FnOnce() -> T) -> T {
    let mut unfinished = lock();
    let result = finish();
    unfinished.retain(|p| p != path);
    result
}

/// Removes everything unfinished, after an error.
pub(crate) fn discard_unfinished() {
    remove_all(&mut lock());
}

fn remove_all(paths: &mut Vec<PathBuf>) {
    for path in paths.drain(..) {
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        if let Err(error) = removed {
            log::debug!("removing `{}`: {error}", path.display());
        }
    }
}

fn lock() -> MutexGuard<'static, Vec<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
