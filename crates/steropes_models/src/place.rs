//! Where weights lie: in the program, in the folder of those that were fetched, or at a path.

use crate::{Config, KnownModel, Model, ModelError, Precision};
use std::path::{Path, PathBuf};
use steropes_tensor::Device;

/// Where weights lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the program.
    Embedded,
    /// In a file or folder, which is there; with the entry of the table if they were named.
    Path(PathBuf, Option<&'static KnownModel>),
}

impl Place {
    /// The network that lies here, as [`Model::open`] reads it.
    ///
    /// # Errors
    /// As [`Model::open`].
    pub fn open(&self, device: &Device, precision: Precision) -> Result<Model, ModelError> {
        match self {
            Self::Embedded => Model::embedded(device, precision),
            Self::Path(path, _) => Model::open(path, device, precision),
        }
    }

    /// Its configuration, without its weights.
    ///
    /// # Errors
    /// As [`Config::open`].
    pub fn config(&self) -> Result<Config, ModelError> {
        match self {
            Self::Embedded => Ok(Config::embedded()),
            Self::Path(path, _) => Config::open(path),
        }
    }
}

/// The folder that weights are fetched into; it need not exist.
///
/// # Errors
/// [`ModelError::NoCacheFolder`].
pub fn weights_folder() -> Result<PathBuf, ModelError> {
    Ok(steropes_tensor::cache_folder().ok_or(ModelError::NoCacheFolder)?.join("models"))
}

/// Where a fetched file lies; `None` if it was not fetched, or is part of the program.
///
/// # Errors
/// [`ModelError::NoCacheFolder`].
pub fn cached(known: &KnownModel) -> Result<Option<PathBuf>, ModelError> {
    let path = weights_folder()?.join(known.file);
    Ok(Some(path).filter(|path| !known.is_embedded() && path.is_file()))
}

/// Where the weights lie that `given` names: a known name, a file or a folder. Names come first; `./NAME` is always a path.
///
/// # Errors
/// [`ModelError::NotFetched`] or [`ModelError::NoSuchModel`].
pub fn locate(given: &str) -> Result<Place, ModelError> {
    if given == Model::EMBEDDED {
        return Ok(Place::Embedded);
    }
    if let Some(known) = KnownModel::find(given) {
        let path = cached(known)?.ok_or_else(|| ModelError::NotFetched { given: given.to_owned() })?;
        return Ok(Place::Path(path, Some(known)));
    }
    if !Path::new(given).exists() {
        return Err(ModelError::NoSuchModel { given: given.to_owned() });
    }
    Ok(Place::Path(PathBuf::from(given), None))
}
