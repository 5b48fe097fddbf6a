//! Weight files of every kind, opened.

use anyhow::Context as _;
use sha2::{Digest as _, Sha256};
use std::io::Read as _;
use std::path::Path;
use steropes_models::mast3r::{EncoderKind, Trunk};
use steropes_models::{Config, Holds, Model, Precision, vjepa2};
use steropes_nn::{Checkpoint, Codebook, Family, LoadError};
use steropes_tensor::Device;

/// What a file holds.
pub(super) enum Contents {
    Weights(Checkpoint),
    Codebook(Codebook),
}

impl Contents {
    /// What the file or folder at `path` holds.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        match Checkpoint::open(path) {
            Ok(checkpoint) => Ok(Self::Weights(checkpoint)),
            Err(error @ LoadError::Refused { .. }) if is_pickle(path)? => match Codebook::open(path) {
                Ok(codebook) => Ok(Self::Codebook(codebook)),
                Err(problem) if path.extension().is_some_and(|end| end == "pkl") => Err(problem.into()),
                Err(_) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The kind of its contents.
    pub(super) fn holds(&self) -> Holds {
        match self {
            Self::Weights(checkpoint) => Holds::Weights(checkpoint.summary().family),
            Self::Codebook(_) => Holds::Codebook,
        }
    }

    /// SHA-256 of the file at `path`, or of the weight files of a folder one after the other.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn sha256(&self, path: &Path) -> anyhow::Result<String> {
        match self {
            Self::Weights(checkpoint) => {
                let mut hash = Sha256::new();
                checkpoint.bytes().for_each(|bytes| hash.update(bytes));
                Ok(format!("{:x}", hash.finalize()))
            }
            Self::Codebook(_) => crate::model_store::sha256_of(path),
        }
    }
}

/// Whether the weights belong to a network for pairs of photos.
pub(super) fn is_pair_network(family: Family) -> bool {
    matches!(family, Family::Mast3r | Family::Dust3r | Family::Croco | Family::DuneMast3r)
}

/// Whether this program builds networks of the family.
pub(super) fn is_built(family: Family) -> bool {
    is_pair_network(family) || family == Family::VJepa
}

/// What is wrong with the network at `path`, found by building it on the CPU: nothing if every tensor is there, fits, is
/// finite, and none is left over.
pub(super) fn network_problem(path: &Path, family: Family) -> Option<String> {
    let (cpu, precision) = (Device::cpu(), Precision::F32);
    let problem = match family {
        Family::VJepa => {
            let options = vjepa2::OpenOptions::default();
            match vjepa2::Model::open(path, &cpu, precision, &options) {
                Ok(model) if model.info().is_untrained => return Some(UNTRAINED.to_owned()),
                other => other.err(),
            }
        }
        _ => Model::open(path, &cpu, precision).err(),
    };
    problem.map(|error| error.to_string())
}

/// Of features without meaning.
const UNTRAINED: &str = "its weights are those that networks begin with (last normalisation with factors of 1 and no shifts): nothing was learned";

/// The extents of a network of video, in a line.
pub(super) fn describe_video(config: &vjepa2::Config) -> String {
    let trunk = |t: Trunk| format!("{} blocks of width {} ({} heads)", t.depth, t.width, t.heads);
    let kind = if config.is_2_1() { "2.1" } else { "2.0" };
    let predictor =
        config.predictor.map(|p| format!(", mask predictor {}", trunk(p.trunk))).unwrap_or_default();
    format!(
        "{kind}, patch {} of {} frames, trained at {} pixels, encoder {}{predictor}",
        config.patch_size,
        config.tubelet,
        config.crop_size,
        trunk(config.encoder)
    )
}

/// The extents of a network, in a line.
pub(super) fn describe(config: &Config) -> String {
    let trunk = |t: Trunk| format!("{} blocks of width {} ({} heads)", t.depth, t.width, t.heads);
    let encoder = match config.encoder {
        EncoderKind::Croco(encoder) => trunk(encoder),
        EncoderKind::Dune { width, heads } => format!("DUNE of width {width} ({heads} heads)"),
    };
    format!("patch {}, encoder {encoder}, decoder {}", config.patch_size, trunk(config.decoder))
}

fn is_pickle(path: &Path) -> anyhow::Result<bool> {
    let mut start = [0; 2];
    if path.is_dir() {
        return Ok(false);
    }
    let mut file = std::fs::File::open(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(file.read_exact(&mut start).is_ok() && matches!(start, [0x80, 2..=5]))
}
