//! Opened weight files.
//!
//! One file here per format; each turns the bytes of a file into names, places and types of tensors, and no tensor is
//! copied or read before a network asks for it.

mod codebook;
mod convert;
mod folder;
mod pickle;
mod safetensors;
mod summary;
#[cfg(test)]
mod tests;
mod torch;
mod value;

pub use codebook::Codebook;
pub use convert::Converted;
pub use summary::{Container, Family, Summary};
pub use value::Value;

use crate::LoadError;
use crate::weights::Decoded;
use ::safetensors::Dtype;
use memmap2::Mmap;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::{Bound, Range};
use std::path::Path;
use std::sync::Mutex;
use steropes_ops::linalg::quantize::{BlockFormat, QuantizedMatrix};

/// A weight file whose directory has been checked, and a record of which of its tensors were read.
///
/// Files are mapped, not copied; only the tensors that a network asks for are touched. Nothing in a file is run.
pub struct Checkpoint {
    file: String,
    container: Container,
    /// The bytes of each file.
    parts: Vec<Bytes>,
    entries: BTreeMap<String, Entry>,
    /// Names of tensors that the file stores under another name.
    aliases: BTreeMap<String, String>,
    values: Vec<(String, Value)>,
    ties: Vec<(String, String)>,
    read: Mutex<BTreeSet<String>>,
}

enum Bytes {
    Mapped(Mmap),
    Held(Cow<'static, [u8]>),
}

/// A tensor as a file holds it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    /// Of the values, also where these are in blocks.
    pub(crate) shape: Vec<usize>,
    /// The format of a matrix in blocks, whose bytes are those of [`QuantizedMatrix`]; `dtype` is that of the bytes.
    pub(crate) blocks: Option<BlockFormat>,
    /// Steps between neighbours along each extent, in elements, where the elements are not in row-major order.
    strides: Option<Vec<usize>>,
    /// Index of the file that holds it.
    part: usize,
    place: Range<usize>,
}

/// What the directory of a file says.
#[derive(Debug)]
struct Contents {
    entries: BTreeMap<String, Entry>,
    /// Plain values at the top level of the file.
    values: Vec<(String, Value)>,
}

/// Why the bytes of a file are refused; the name of the file is added by the caller.
#[derive(Debug)]
enum Problem {
    /// They are no valid file of their format.
    Damaged(String),
    /// They are valid but not read. The text says what to do.
    Refused(String),
}

impl Problem {
    fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged(reason.into())
    }

    fn refused(problem: impl Into<String>) -> Self {
        Self::Refused(problem.into())
    }

    fn of(self, file: &str, format: &'static str) -> LoadError {
        let file = file.to_owned();
        match self {
            Self::Damaged(reason) => LoadError::Format { file, format, reason },
            Self::Refused(problem) => LoadError::Refused { file, problem },
        }
    }
}

impl Checkpoint {
    /// Maps a weight file, or the files of a folder, and checks what their directories say.
    ///
    /// A file may be in safetensors' format or in that of `torch.save` (a `.pth` or `.pt`); its first bytes decide, not
    /// its name. A folder must hold `model.safetensors`, or `model.safetensors.index.json` and the files that it names.
    ///
    /// # Errors
    /// [`LoadError::Io`], [`LoadError::Truncated`], [`LoadError::Format`] or [`LoadError::Refused`].
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        if path.is_dir() { folder::open(path) } else { Self::open_file(path) }
    }

    /// A checkpoint from the bytes of a file; `name` stands for the file in messages.
    ///
    /// # Errors
    /// [`LoadError::Truncated`], [`LoadError::Format`] or [`LoadError::Refused`].
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

    fn open_file(path: &Path) -> Result<Self, LoadError> {
        Self::new(path.display().to_string(), Bytes::open(path)?)
    }

    fn new(file: String, bytes: Bytes) -> Result<Self, LoadError> {
        let all = bytes.as_slice();
        let (container, contents) = if all.starts_with(b"PK\x03\x04") {
            (Container::Torch, torch::read(all).map_err(|problem| problem.of(&file, "torch"))?)
        } else if let Some(problem) = known_format(all) {
            return Err(LoadError::Refused { file, problem: problem.to_owned() });
        } else {
            (Container::Safetensors, safetensors::read(&file, all)?)
        };
        Ok(Self::from_parts(file, container, vec![bytes], contents))
    }

    fn from_parts(file: String, container: Container, parts: Vec<Bytes>, contents: Contents) -> Self {
        let Contents { entries, values } = contents;
        let aliases = aliases(&entries);
        Self { file, container, parts, entries, aliases, values, ties: Vec::new(), read: Mutex::default() }
    }

    /// The file or folder as it is called in messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The coarsest format of the matrices that the file holds in blocks; `None` if there are none.
    pub fn block_format(&self) -> Option<BlockFormat> {
        self.entries.values().filter_map(|entry| entry.blocks).min_by_key(|format| format.block_bytes())
    }

    /// All bytes of the file, or of each of the files in the order of their names.
    pub fn bytes(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(Bytes::as_slice)
    }

    /// Shows [`Checkpoint::bytes`] to `body` piece by piece, each of which takes no memory afterwards.
    pub fn for_each_piece(&self, mut body: impl FnMut(&[u8])) {
        for part in &self.parts {
            for place in pieces(0..part.as_slice().len()) {
                body(&part.as_slice()[place.clone()]);
                part.give_back(place);
            }
        }
    }

    /// The full names of all tensors, sorted. Two of them may be names of one tensor.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What the file says beside its tensors at the dotted path `path`, such as `args.model`.
    ///
    /// Files of `torch.save` have such values; others have none.
    pub fn value(&self, path: &str) -> Option<&Value> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let (_, value) = self.values.iter().find(|(name, _)| name == first)?;
        rest.into_iter().flat_map(|rest| rest.split('.')).try_fold(value, |value, name| value.field(name))
    }

    /// The number of values in the tensors that have been read so far, each counted once.
    pub fn values_read(&self) -> u64 {
        let read = self.read.lock().expect("no panic while the lock is held");
        read.iter().map(|name| self.entries[name].len() as u64).sum()
    }

    /// Refuses leftovers: tensors that were not read and that `tolerated` does not know by their full path.
    ///
    /// # Errors
    /// [`LoadError::Unexpected`] with the first of them.
    pub fn check_leftovers(&self, tolerated: impl Fn(&str) -> bool) -> Result<(), LoadError> {
        let read = self.read.lock().expect("no panic while the lock is held");
        let is_read = |name: &str| read.contains(self.aliases.get(name).map_or(name, String::as_str));
        let mut leftovers = self.names().filter(|name| !is_read(name) && !tolerated(name));
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

    /// The elements of a tensor in row-major order.
    pub(crate) fn data(&self, entry: &Entry) -> Cow<'_, [u8]> {
        let stored = &self.parts[entry.part].as_slice()[entry.place.clone()];
        match &entry.strides {
            None => Cow::Borrowed(stored),
            Some(strides) => Cow::Owned(row_major(stored, item_size(entry.dtype), &entry.shape, strides)),
        }
    }

    /// The values of a tensor of floats or of blocks in row-major order; `None` if it holds anything else.
    ///
    /// # Errors
    /// [`LoadError::Refused`] if blocks are damaged.
    pub(crate) fn decoded<T: Decoded>(&self, name: &str, entry: &Entry) -> Result<Option<Vec<T>>, LoadError> {
        if let Some(format) = entry.blocks {
            let values = self.blocks_of(name, entry, format)?.dequantize();
            return Ok(Some(values.into_iter().map(T::from).collect()));
        }
        if entry.strides.is_some() {
            let mut values = Vec::with_capacity(entry.len());
            return Ok(T::decode(entry.dtype, &self.data(entry), &mut values).then_some(values));
        }
        // The largest tensor would be in memory twice, as values and as its place in the file.
        let mut values = Vec::with_capacity(entry.len());
        for place in pieces(entry.place.clone()) {
            let stored = &self.parts[entry.part].as_slice()[place.clone()];
            if !T::decode(entry.dtype, stored, &mut values) {
                return Ok(None);
            }
            self.parts[entry.part].give_back(place);
        }
        Ok(Some(values))
    }

    /// A tensor in blocks of `format`, which are those of `entry`.
    ///
    /// # Errors
    /// [`LoadError::Refused`] if a scale is not finite.
    pub(crate) fn blocks_of(
        &self,
        name: &str,
        entry: &Entry,
        format: BlockFormat,
    ) -> Result<QuantizedMatrix, LoadError> {
        let shape = entry.shape.as_slice().try_into().expect("matrices are in blocks");
        QuantizedMatrix::from_bytes(format, shape, &self.data(entry)).map_err(|error| {
            let problem = format!("tensor `{name}` is damaged ({error}); get the file again");
            LoadError::Refused { file: self.file.clone(), problem }
        })
    }

    /// Remembers that a tensor was read, and gives back the memory of its place in a mapped file.
    pub(crate) fn mark_read(&self, name: &str) {
        let Entry { part, place, .. } = &self.entries[name];
        self.parts[*part].give_back(place.clone());
        self.read.lock().expect("no panic while the lock is held").insert(name.to_owned());
    }

    /// The path under which the file holds `path`, after all ties and aliases.
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
        self.shared_path(&stored).unwrap_or(stored)
    }

    /// The other path of a tensor, or of a subtree each of whose tensors is an alias of the one below that path.
    fn shared_path(&self, path: &str) -> Option<String> {
        if let Some(first) = self.aliases.get(path) {
            return Some(first.clone());
        }
        let (name, first) = below(&self.aliases, path).next()?;
        let other = first.strip_suffix(&name[path.len()..])?;
        let is_alias = |name: &String| {
            let first = self.aliases.get(name)?.strip_prefix(other)?;
            (first == &name[path.len()..]).then_some(())
        };
        let is_same = below(&self.entries, path).all(|(name, _)| is_alias(name).is_some())
            && below(&self.entries, path).count() == below(&self.entries, other).count();
        is_same.then(|| other.to_owned())
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Entry {
    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Bytes {
    fn open(path: &Path) -> Result<Self, LoadError> {
        let mapped = std::fs::File::open(path).and_then(|handle| {
            if handle.metadata()?.len() == 0 {
                return Ok(None); // an empty file cannot be mapped
            }
            // SAFETY: the map is read-only and private to this value. Whoever changes or shortens the file
            // while it is being read gets what any reader of a changing file gets; no Rust reference to the
            // map outlives this value.
            unsafe { Mmap::map(&handle) }.map(Some)
        });
        match mapped {
            Ok(Some(map)) => Ok(Self::Mapped(map)),
            Ok(None) => Ok(Self::Held(Cow::Borrowed(&[]))),
            Err(source) => Err(LoadError::Io { file: path.display().to_string(), source }),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }

    /// Lets the system forget a range of a mapped file, which it reads again if somebody asks for it. Otherwise a network would be
    /// in memory twice: as its file and as its layers.
    fn give_back(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self
            && !range.is_empty()
        {
            // SAFETY: the map is read-only and of a file, so what is forgotten comes back unchanged.
            let advised = unsafe {
                map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
            // Only a hint: without it there is less memory for others.
            drop(advised);
        }
        #[cfg(not(unix))]
        drop(range);
    }
}

/// A range of bytes in pieces of whole elements of any type; one piece if it is empty.
fn pieces(range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    const PIECE: usize = 8 << 20;
    let count = range.len().div_ceil(PIECE).max(1);
    (0..count).map(move |i| range.start + i * PIECE..range.end.min(range.start + (i + 1) * PIECE))
}

/// What to do with a file that is known by its first bytes and not read.
fn known_format(bytes: &[u8]) -> Option<&'static str> {
    const OLD_TORCH: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let is_pickle = matches!(bytes, [0x80, 2..=5, ..]);
    if is_pickle && bytes[2..].starts_with(OLD_TORCH) || bytes.get(257..262) == Some(b"ustar") {
        return Some("it is in torch's format of before 1.6; load it in a current torch and save it again");
    }
    if is_pickle {
        return Some(
            "it is a Python pickle without tensors; give the .pth or .safetensors file of the network",
        );
    }
    let is_pointer = bytes.starts_with(b"version https://git-lfs");
    is_pointer
        .then_some("it is a pointer of Git LFS instead of the file itself; fetch it with `git lfs pull`")
}

/// Which names are other names of one tensor, with the first of them.
fn aliases(entries: &BTreeMap<String, Entry>) -> BTreeMap<String, String> {
    let mut first = BTreeMap::new();
    let mut aliases = BTreeMap::new();
    for (name, entry) in entries.iter().filter(|(_, entry)| !entry.place.is_empty()) {
        let Entry { dtype, shape, strides, part, place, .. } = entry;
        let found = first.entry((part, place.start, place.end, dtype, shape, strides)).or_insert(name);
        if *found != name {
            aliases.insert(name.clone(), (*found).clone());
        }
    }
    aliases
}

/// What a map of names holds below a path.
fn below<'a, T>(map: &'a BTreeMap<String, T>, path: &str) -> impl Iterator<Item = (&'a String, &'a T)> {
    let prefix = format!("{path}.");
    let start = (Bound::Included(prefix.clone()), Bound::Unbounded);
    map.range::<String, _>(start).take_while(move |(name, _)| name.starts_with(&prefix))
}

/// Bytes of one element.
fn item_size(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// The elements that `strides` pick from `stored`, in row-major order.
fn row_major(stored: &[u8], size: usize, shape: &[usize], strides: &[usize]) -> Vec<u8> {
    let count = shape.iter().product();
    let mut out = Vec::with_capacity(size * count);
    let (mut index, mut at) = (vec![0; shape.len()], 0);
    for _ in 0..count {
        out.extend_from_slice(&stored[at * size..][..size]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    out
}

/// The number of elements that a tensor of this shape and these strides spans, from its first to its last; `None` if
/// that is no number. An empty tensor spans none.
fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let last =
        shape.iter().zip(strides).try_fold(0usize, |sum, (&n, &s)| sum.checked_add((n - 1).checked_mul(s)?));
    last?.checked_add(1)
}

/// Steps between neighbours in row-major order; `None` if the shape has more elements than can be counted.
fn row_major_strides(shape: &[usize]) -> Option<Vec<usize>> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis].checked_mul(shape[axis].max(1))?;
    }
    strides.first().zip(shape.first()).is_none_or(|(s, n)| s.checked_mul(*n).is_some()).then_some(strides)
}

/// Whether the elements lie in row-major order; the stride of an extent of 1 does not matter.
fn is_row_major(shape: &[usize], strides: &[usize], wanted: &[usize]) -> bool {
    shape.iter().zip(strides.iter().zip(wanted)).all(|(&n, (s, w))| n <= 1 || s == w)
}
