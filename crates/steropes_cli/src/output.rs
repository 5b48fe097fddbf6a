//! Results appear whole or not at all: they are written beside their place and renamed.

use crate::interrupt;
use anyhow::{Context as _, bail};
use std::path::{Path, PathBuf};

/// A folder that is being written.
pub(crate) struct OutputFolder {
    unfinished: PathBuf,
    place: PathBuf,
}

impl OutputFolder {
    /// Makes sure that `place` can be written, and opens a hidden folder beside it.
    ///
    /// # Errors
    /// Something is there and `force` is off, or the parent folder cannot be written.
    pub(crate) fn create(place: &Path, force: bool) -> anyhow::Result<Self> {
        refuse_existing(place, force)?;
        if place.exists() && !place.is_dir() {
            bail!("`{}` is a file, the result is a folder: choose another name", place.display());
        }
        let parent = parent_of(place)?;
        let unfinished = tempfile::Builder::new()
            .prefix(&hidden_prefix(place))
            .tempdir_in(&parent)
            .with_context(|| format!("cannot write to folder `{}`", parent.display()))?
            .keep();
        interrupt::watch(&unfinished);
        Ok(Self { unfinished, place: place.to_owned() })
    }

    /// Where to write.
    pub(crate) fn path(&self) -> &Path {
        &self.unfinished
    }

    /// Moves the finished folder into its place.
    ///
    /// # Errors
    /// The folder cannot be renamed.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        open_for_all(&self.unfinished)?;
        interrupt::finish(&self.unfinished, || {
            let old = self.unfinished.with_extension("old");
            let replaced = self.place.exists();
            if replaced {
                std::fs::rename(&self.place, &old)
                    .with_context(|| format!("cannot replace `{}`", self.place.display()))?;
            }
            if let Err(error) = std::fs::rename(&self.unfinished, &self.place) {
                if replaced {
                    std::fs::rename(&old, &self.place).context("restoring the old result")?;
                }
                return Err(error).with_context(|| format!("cannot create `{}`", self.place.display()));
            }
            if replaced {
                std::fs::remove_dir_all(&old)
                    .with_context(|| format!("removing the old result `{}`", old.display()))?;
            }
            Ok(())
        })
    }
}

/// Writes one file through `write`, which gets the path of a hidden file beside `place`; renames it when done.
///
/// # Errors
/// Something is at `place` and `force` is off, the folder cannot be written, or `write` fails.
pub(crate) fn write_file(
    place: &Path,
    force: bool,
    write: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    refuse_existing(place, force)?;
    if place.is_dir() {
        bail!("`{}` is a folder, the result is a file: choose another name", place.display());
    }
    let parent = parent_of(place)?;
    let suffix = place.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let unfinished = tempfile::Builder::new()
        .prefix(&hidden_prefix(place))
        .suffix(&suffix)
        .tempfile_in(&parent)
        .with_context(|| format!("cannot write to folder `{}`", parent.display()))?
        .into_temp_path()
        .keep()
        .context("keeping the unfinished file")?;
    interrupt::watch(&unfinished);
    write(&unfinished)?;
    open_for_all(&unfinished)?;
    interrupt::finish(&unfinished, || std::fs::rename(&unfinished, place))
        .with_context(|| format!("cannot create `{}`", place.display()))
}

fn refuse_existing(place: &Path, force: bool) -> anyhow::Result<()> {
    let empty_folder = place.is_dir() && place.read_dir().is_ok_and(|mut entries| entries.next().is_none());
    if place.symlink_metadata().is_ok() && !empty_folder && !force {
        bail!("`{}` exists: choose another name or allow replacing it with --force", place.display());
    }
    Ok(())
}

/// The folder that holds `place`; created if it is missing.
fn parent_of(place: &Path) -> anyhow::Result<PathBuf> {
    if place.file_name().is_none() {
        bail!("`{}` is no name for a result", place.display());
    }
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&parent)
        .with_context(|| format!("cannot create folder `{}`", parent.display()))?;
    Ok(parent)
}

fn hidden_prefix(place: &Path) -> String {
    format!(".{}.", place.file_name().map(|n| n.to_string_lossy()).unwrap_or_default())
}

/// Temporary files and folders are private; a result has the permissions of any new file.
#[cfg(unix)]
fn open_for_all(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the permissions of `{}`", path.display()))
}

#[cfg(not(unix))]
fn open_for_all(_path: &Path) -> anyhow::Result<()> {
    Ok(())
}
