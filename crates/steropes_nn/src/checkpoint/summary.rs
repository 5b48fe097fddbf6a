//! What a weight file holds, in short.

use super::{Checkpoint, Entry};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// How weights are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// One file of the safetensors format.
    Safetensors,
    /// Several such files with an index.
    Folder,
    /// A file of `torch.save`.
    Torch,
}

/// Which network weights belong to, as far as the names of the tensors say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// MASt3R: pairs to points and descriptors.
    Mast3r,
    /// DUSt3R: pairs to points.
    Dust3r,
    /// CroCo pre-training, without heads for points.
    Croco,
    /// The DUNE encoder, possibly with what it was distilled from.
    DuneEncoder,
    /// The decoder of MASt3R that stands on a DUNE encoder.
    DuneMast3r,
    /// The whitening of image retrieval.
    Retrieval,
    /// V-JEPA 2: encoders, predictors and classifiers.
    VJepa,
    /// None of these.
    Unknown,
}

/// What a weight file holds, in short.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// How the weights are stored.
    pub container: Container,
    /// Which network they belong to.
    pub family: Family,
    /// Number of names.
    pub names: usize,
    /// Number of names that are other names of a tensor.
    pub aliases: usize,
    /// Number of values in all tensors, each tensor counted once.
    pub parameters: u64,
    /// Number of values by element type or format of blocks, each tensor counted once.
    pub element_types: BTreeMap<String, u64>,
    /// Bytes of the files that belong to tensors, each byte counted once.
    pub bytes: u64,
}

impl Checkpoint {
    /// What the file holds, from its directory alone.
    pub fn summary(&self) -> Summary {
        let tensors = || self.entries.iter().filter(|(name, _)| !self.aliases.contains_key(*name));
        let mut element_types = BTreeMap::new();
        for (_, entry) in tensors() {
            let stored = || format!("{:?}", entry.dtype).to_lowercase();
            let name = entry.blocks.map_or_else(stored, |format| format.name().to_owned());
            *element_types.entry(name).or_insert(0) += entry.len() as u64;
        }
        Summary {
            container: self.container,
            family: self.family(),
            names: self.entries.len(),
            aliases: self.aliases.len(),
            parameters: element_types.values().sum(),
            element_types,
            bytes: covered(self.entries.values()),
        }
    }

    fn family(&self) -> Family {
        let has = |name: &str| self.entries.contains_key(name);
        let below = |path: &str| super::below(&self.entries, path).next().is_some();
        let ends = |end: &str| self.names().any(|name| name.ends_with(end));
        if below("mast3r") {
            Family::DuneMast3r
        } else if has("prewhiten.m") && has("prewhiten.p") {
            Family::Retrieval
        } else if below("dec_blocks") {
            match (below("downstream_head1.head_local_features"), below("downstream_head1")) {
                (true, _) => Family::Mast3r,
                (false, true) => Family::Dust3r,
                (false, false) => Family::Croco,
            }
        } else if self.is_of_video() {
            Family::VJepa
        } else if ends("blocks.0.0.attn.qkv.weight") && ends("patch_embed.proj.weight") {
            Family::DuneEncoder
        } else {
            Family::Unknown
        }
    }

    /// Whether it is a training checkpoint with a predictor, or holds blocks behind an embedding in time and space, in the names of
    /// the authors or of Hugging Face's library.
    fn is_of_video(&self) -> bool {
        let below = |path: &str| super::below(&self.entries, path).next().is_some();
        let ends = |end: &str| self.names().any(|name| name.ends_with(end));
        let embeds =
            |end: &str| self.entries.iter().any(|(name, e)| name.ends_with(end) && e.shape.len() == 5);
        below("predictor") && (below("encoder") || below("target_encoder"))
            || embeds("patch_embed.proj.weight") && ends("blocks.0.attn.qkv.weight")
            || embeds("embeddings.patch_embeddings.proj.weight") && ends("layer.0.attention.query.weight")
    }
}

/// Bytes in the union of the places of tensors.
fn covered<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    let mut places: Vec<(usize, Range<usize>)> = entries.map(|e| (e.part, e.place.clone())).collect();
    places.sort_unstable_by_key(|(part, place)| (*part, place.start));
    let (mut bytes, mut reached) = (0, (0, 0));
    for (part, place) in places {
        let start = if reached.0 == part { place.start.max(reached.1) } else { place.start };
        if place.end > start {
            bytes += (place.end - start) as u64;
            reached = (part, place.end);
        }
    }
    bytes
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Folder => "safetensors in several files",
            Self::Torch => "torch",
        })
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mast3r => "MASt3R",
            Self::Dust3r => "DUSt3R",
            Self::Croco => "CroCo",
            Self::DuneEncoder => "DUNE encoder",
            Self::DuneMast3r => "MASt3R on DUNE",
            Self::Retrieval => "retrieval",
            Self::VJepa => "V-JEPA 2",
            Self::Unknown => "unknown",
        })
    }
}
