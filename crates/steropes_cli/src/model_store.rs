//! Weight files by name, and what is recorded about each that was fetched.

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use steropes_models::KnownModel;
pub(crate) use steropes_models::{Place, cached, locate, weights_folder as folder};

/// What stands beside a fetched file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct Record {
    /// Name of the model.
    pub(crate) model: String,
    /// The address or path that it came from.
    pub(crate) source: String,
    pub(crate) bytes: u64,
    /// 64 hexadecimal digits.
    pub(crate) sha256: String,
    /// The terms that were accepted.
    pub(crate) licence: String,
    pub(crate) licence_address: String,
}

impl Record {
    /// Where the record of the file at `path` lies.
    pub(crate) fn place(path: &Path) -> PathBuf {
        with_suffix(path, ".json")
    }

    /// The record beside the file at `path`; `None` if there is none.
    ///
    /// # Errors
    /// It cannot be read or is no record.
    pub(crate) fn beside(path: &Path) -> anyhow::Result<Option<Self>> {
        let place = Self::place(path);
        if !place.exists() {
            return Ok(None);
        }
        let text =
            std::fs::read_to_string(&place).with_context(|| format!("cannot read `{}`", place.display()))?;
        let record = serde_json::from_str(&text)
            .with_context(|| format!("`{}` is no record of a fetched file: delete it", place.display()))?;
        Ok(Some(record))
    }
}

/// The path with `suffix` behind its whole name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// Where the retrieval file lies that `given` names: a known name of a file that was fetched, or a path.
///
/// # Errors
/// There is no such file, or it was not fetched.
pub(crate) fn locate_retrieval(given: &str) -> anyhow::Result<PathBuf> {
    let is_known = KnownModel::find(given).is_some_and(|known| !known.is_embedded());
    match locate(given) {
        Ok(Place::Path(path, _)) if path.is_file() => Ok(path),
        Err(not_fetched) if is_known => Err(not_fetched.into()),
        _ => bail!(
            "--retrieval: no file `{given}`: give a *_retrieval_trainingfree.pth, or leave the option out to learn from the photos"
        ),
    }
}

/// SHA-256 of the file at `path`, as 64 hexadecimal digits.
///
/// # Errors
/// It cannot be read.
pub(crate) fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    std::fs::File::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut hash))
        .with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(format!("{:x}", hash.finalize()))
}
