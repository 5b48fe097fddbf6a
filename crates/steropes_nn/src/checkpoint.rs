//! An opened weight file.

use crate::LoadError;
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

/// A safetensors file whose header has been checked, and a record of which of its tensors were read.
///
/// A file is mapped, not copied; only the tensors that a network asks for are touched.
pub struct Checkpoint {
    file: String,
    bytes: Bytes,
    entries: BTreeMap<String, Entry>,
    ties: Vec<(String, String)>,
    read: Mutex<BTreeSet<String>>,
}

enum Bytes {
    Mapped(Mmap),
    Held(Cow<'static, [u8]>),
}

pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    place: Range<usize>,
}

impl Checkpoint {
    /// Maps a safetensors file and checks its header.
    ///
    /// # Errors
    /// [`LoadError::Io`], [`LoadError::Truncated`] or [`LoadError::Format`].
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let file = path.display().to_string();
        let mapped = std::fs::File::open(path).and_then(|handle| {
            if handle.metadata()?.len() == 0 {
                return Ok(None); // an empty file cannot be mapped
            }
            // SAFETY: the map is read-only and private to this value. Whoever changes or shortens the file
            // while it is being read gets what any reader of a changing file gets; no Rust reference to the
            // map outlives the `Checkpoint`.
            unsafe { Mmap::map(&handle) }.map(Some)
        });
        match mapped {
            Ok(Some(map)) => Self::new(file, Bytes::Mapped(map)),
            Ok(None) => Self::new(file, Bytes::Held(Cow::Borrowed(&[]))),
            Err(source) => Err(LoadError::Io { file, source }),
        }
    }

    /// A checkpoint from the bytes of a safetensors file; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`LoadError::Truncated`] or [`LoadError::Format`].
    pub fn from_bytes(name: &str, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self, LoadError> {
        Self::new(name.to_owned(), Bytes::Held(bytes.into()))
    }

    /// The same checkpoint with subtrees that are stored once under another name: in each pair `(path, source)`
    /// everything below `path` is read below `source`.
    #[must_use]
    pub fn with_ties(mut self, ties: &[(String, String)]) -> Self {
        self.ties.extend_from_slice(ties);
        self
    }

    fn new(file: String, bytes: Bytes) -> Result<Self, LoadError> {
        let all = bytes.as_slice();
        let (header, metadata) =
            SafeTensors::read_metadata(all).map_err(|error| refusal(&file, all, &error))?;
        let start = 8 + header;
        let entries = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let place = start + info.data_offsets.0..start + info.data_offsets.1;
                (name, Entry { dtype: info.dtype, shape: info.shape.clone(), place })
            })
            .collect();
        Ok(Self { file, bytes, entries, ties: Vec::new(), read: Mutex::default() })
    }

    /// The file as it is called in messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// All bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_slice()
    }

    /// The full names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The number of values in the tensors that have been read so far, each counted once.
    pub fn values_read(&self) -> u64 {
        let read = self.read.lock().expect("no panic while the lock is held");
        read.iter().map(|name| self.entries[name].shape.iter().map(|&n| n as u64).product::<u64>()).sum()
    }

    /// Refuses leftovers: tensors that were not read and that `tolerated` does not know by their full path.
    ///
    /// # Errors
    /// [`LoadError::Unexpected`] with the first of them.
    pub fn check_leftovers(&self, tolerated: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let read = self.read.lock().expect("no panic while the lock is held");
        let mut leftovers = self.names().filter(|name| !read.contains(*name) && !tolerated(name));
        let Some(first) = leftovers.next() else {
            return Ok(());
        };
        let (first, count) = (first.to_owned(), 1 + leftovers.count());
        Err(LoadError::Unexpected { file: self.file.clone(), count, first })
    }

    /// The entry of a name as the file holds it.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(crate) fn data(&self, entry: &Entry) -> &[u8] {
        &self.bytes.as_slice()[entry.place.clone()]
    }

    pub(crate) fn mark_read(&self, name: &str) {
        self.read.lock().expect("no panic while the lock is held").insert(name.to_owned());
    }

    /// The path under which the file holds `path`, after all ties.
    pub(crate) fn stored_path(&self, path: &str) -> String {
        let mut stored = path.to_owned();
        for _ in 0..self.ties.len() {
            let tie = self.ties.iter().find_map(|(from, to)| {
                let rest = stored.strip_prefix(from.as_str())?;
                (rest.is_empty() || rest.starts_with('.')).then(|| format!("{to}{rest}"))
            });
            match tie {
                Some(other) => stored = other,
                None => break,
            }
        }
        stored
    }
}

impl Bytes {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }
}

/// Why the header was refused, with the number of bytes where that is the reason.
fn refusal(file: &str, bytes: &[u8], error: &SafeTensorError) -> LoadError {
    let found = bytes.len() as u64;
    let header = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let truncated = |expected| LoadError::Truncated { file: file.to_owned(), expected, found };
    match error {
        SafeTensorError::InvalidHeaderLength => truncated(header.saturating_add(8)),
        SafeTensorError::MetadataIncompleteBuffer => truncated(promised_len(bytes, header)),
        other => LoadError::Format { file: file.to_owned(), reason: other.to_string() },
    }
}

/// The length of a file whose header is sound, from the largest end of its tensors.
fn promised_len(bytes: &[u8], header: u64) -> u64 {
    let parsed: serde_json::Value =
        serde_json::from_slice(&bytes[8..8 + header as usize]).expect("the header was parsed before");
    let ends = parsed.as_object().into_iter().flatten().filter_map(|(_, t)| t["data_offsets"][1].as_u64());
    8 + header + ends.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Checkpoint {
        Checkpoint::from_bytes("empty", [&2u64.to_le_bytes()[..], b"{}"].concat()).unwrap()
    }

    #[test]
    fn ties_hold_for_whole_components_of_a_path() {
        let tie = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let checkpoint = empty().with_ties(&[tie("dec", "enc"), tie("head2.mlp", "head1.mlp")]);
        for (path, stored) in [
            ("dec", "enc"),
            ("dec.0.weight", "enc.0.weight"),
            ("dec2.0.weight", "dec2.0.weight"),
            ("a.dec.0", "a.dec.0"),
            ("head2.mlp.fc1.bias", "head1.mlp.fc1.bias"),
            ("head2.mlp2", "head2.mlp2"),
        ] {
            assert_eq!(checkpoint.stored_path(path), stored);
        }
    }

    #[test]
    fn ties_in_a_circle_end() {
        let tie = |from: &str, to: &str| (from.to_owned(), to.to_owned());
        let path = empty().with_ties(&[tie("a", "b"), tie("b", "a")]).stored_path("a.x");
        assert_eq!(path, "a.x");
    }
}
