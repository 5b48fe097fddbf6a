//! Files of `torch.save`: an uncompressed zip archive with a pickle of the structure and one entry per storage.

use super::pickle::{Graph, Id, Node};
use super::{Contents, Entry, Problem, is_row_major, item_size, row_major_strides, span};
use ::safetensors::Dtype;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::Range;
use zip::{CompressionMethod, ZipArchive};

/// What programs that wrap a network put before the names of its tensors.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
/// Under which names training programs store the tensors of a network.
const STATE_DICTS: [&str; 2] = ["model", "state_dict"];

/// The tensors and plain values of a file.
///
/// The tensors are those of the dictionary `model` or `state_dict`, else those at the top level and, with the key
/// before their names, those of the dictionaries there; of a list of dictionaries with the key and the place in the list.
pub(super) fn read(bytes: &[u8]) -> Result<Contents, Problem> {
    let archive = Archive::open(bytes)?;
    let graph = Graph::read(&bytes[archive.entry("data.pkl")?])?;
    if graph.items(graph.root()).is_none() {
        return Err(Problem::refused("its top level is no dictionary; save the state_dict() of the network"));
    }
    let reader = Reader { graph: &graph, archive: &archive };
    let mut contents = Contents { entries: BTreeMap::new(), values: Vec::new() };
    match STATE_DICTS.iter().find_map(|key| reader.state_dict(graph.get(graph.root(), key)?)) {
        Some(state_dict) => {
            reader.add_tensors("", state_dict, &mut contents)?;
            reader.add_values(|value| graph.items(value) != Some(state_dict), &mut contents);
        }
        None => {
            let top = graph.items(graph.root()).unwrap_or_default();
            reader.add_tensors("", top, &mut contents)?;
            for &(key, value) in top {
                let Some(key) = graph.text(key) else { continue };
                if let Some(state_dict) = reader.state_dict(value) {
                    reader.add_tensors(&format!("{key}."), state_dict, &mut contents)?;
                }
                for (i, state_dict) in reader.state_dicts(value).into_iter().flatten().enumerate() {
                    reader.add_tensors(&format!("{key}.{i}."), state_dict, &mut contents)?;
                }
            }
            let is_beside = |value| reader.state_dict(value).is_none() && reader.state_dicts(value).is_none();
            reader.add_values(is_beside, &mut contents);
        }
    }
    if contents.entries.is_empty() {
        return Err(Problem::refused("it holds no tensors by name; save the state_dict() of the network"));
    }
    Ok(contents)
}

/// The directory of the zip archive.
struct Archive {
    root: String,
    entries: BTreeMap<String, Result<Range<usize>, CompressionMethod>>,
}

impl Archive {
    fn open(bytes: &[u8]) -> Result<Self, Problem> {
        let damaged = |error: zip::result::ZipError| Problem::damaged(error.to_string());
        check_end(bytes).ok_or_else(|| {
            Problem::damaged("its archive does not end as one: it was cut off or appended to")
        })?;
        let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        if archive.has_duplicate_names() {
            return Err(Problem::damaged("its archive has two entries of one name"));
        }
        if archive.has_overlapping_entries().map_err(damaged)? {
            return Err(Problem::damaged("entries of its archive overlap"));
        }
        let mut entries = BTreeMap::new();
        for index in 0..archive.len() {
            let file = archive.by_index_raw(index).map_err(damaged)?;
            let name = file.name().map_err(damaged)?.into_owned();
            let place = if file.encrypted() {
                return Err(Problem::refused(
                    "its archive is encrypted; save the file again without a password",
                ));
            } else if file.compression() != CompressionMethod::Stored {
                Err(file.compression())
            } else {
                Ok(place(file.data_start(), file.size(), file.compressed_size(), bytes.len()).ok_or_else(
                    || Problem::damaged(format!("entry `{name}` of its archive lies outside the file")),
                )?)
            };
            entries.insert(name, place);
        }
        let Some(root) =
            entries.keys().find_map(|name| name.strip_suffix("data.pkl").filter(|r| r.ends_with('/')))
        else {
            return Err(Problem::refused(
                "it is a zip archive without the data.pkl of torch.save; give the weight file",
            ));
        };
        let archive = Self { root: root.to_owned(), entries };
        archive.check_kind(bytes)?;
        Ok(archive)
    }

    /// Refuses archives that hold more than a pickle and storages, or hold them in another byte order.
    fn check_kind(&self, bytes: &[u8]) -> Result<(), Problem> {
        let has = |name: &str| {
            self.entries.keys().any(|n| n.strip_prefix(&self.root).is_some_and(|n| n.starts_with(name)))
        };
        if has("constants.pkl") || has("code/") {
            return Err(Problem::refused(
                "it is a TorchScript archive; load it in torch and save its state_dict()",
            ));
        }
        if has("byteorder") && &bytes[self.entry("byteorder")?] != b"little" {
            return Err(Problem::refused(
                "it was saved on a big-endian machine; load it in torch and save it again",
            ));
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<Range<usize>, Problem> {
        match self.entries.get(&format!("{}{name}", self.root)) {
            Some(Ok(place)) => Ok(place.clone()),
            Some(Err(method)) => Err(Problem::refused(format!(
                "entry `{name}` of its archive is compressed ({method}); save it again by torch.save, which does not"
            ))),
            None => Err(Problem::damaged(format!("entry `{name}` of its archive is missing"))),
        }
    }
}

/// Checks the record at the end of an archive, as `torch.save` writes it: the directory ends where the record begins, and
/// is long enough for the entries that it is said to have. The reader of archives takes memory by what it says.
fn check_end(bytes: &[u8]) -> Option<()> {
    let number = |at: usize, digits: usize| -> Option<u64> {
        let mut full = [0; 8];
        full[..digits].copy_from_slice(bytes.get(at..at.checked_add(digits)?)?);
        Some(u64::from_le_bytes(full))
    };
    let begins =
        |at: usize, signature: &[u8; 4]| bytes.get(at..).is_some_and(|rest| rest.starts_with(signature));
    let end = bytes
        .len()
        .checked_sub(22)
        .filter(|&end| begins(end, b"PK\x05\x06") && number(end + 20, 2) == Some(0))?;
    let short = [number(end + 10, 2)?, number(end + 12, 4)?, number(end + 16, 4)?];
    let (mut directory_end, mut numbers) = (end, short);
    // Another record before it says the same in longer numbers.
    if let Some(locator) = end.checked_sub(20).filter(|&locator| begins(locator, b"PK\x06\x07")) {
        let record = locator.checked_sub(56).filter(|&record| begins(record, b"PK\x06\x06"))?;
        (directory_end, numbers) =
            (record, [number(record + 32, 8)?, number(record + 40, 8)?, number(record + 48, 8)?]);
        let largest = [u16::MAX.into(), u32::MAX.into(), u32::MAX.into()];
        if (0..3).any(|i| short[i] != numbers[i].min(largest[i])) {
            return None;
        }
    }
    let [count, size, start] = numbers;
    let is_sound = start.checked_add(size)? == directory_end as u64 && count.checked_mul(46)? <= size;
    is_sound.then_some(())
}

/// Where the bytes of a stored entry lie, if that is in the file.
fn place(start: Option<u64>, size: u64, stored: u64, file: usize) -> Option<Range<usize>> {
    let start = start.filter(|_| size == stored)?;
    let end = start.checked_add(size).filter(|&end| end <= file as u64)?;
    Some(start as usize..end as usize)
}

struct Reader<'a> {
    graph: &'a Graph<'a>,
    archive: &'a Archive,
}

impl<'a> Reader<'a> {
    /// The pairs of a dictionary that holds tensors by name.
    fn state_dict(&self, id: Id) -> Option<&'a [(Id, Id)]> {
        let items = self.graph.items(id)?;
        let is_named =
            |&(key, value): &(Id, Id)| self.graph.text(key).is_some() && self.tensor_call(value).is_some();
        items.iter().any(is_named).then_some(items)
    }

    /// The dictionaries of a list each of which holds tensors by name.
    fn state_dicts(&self, id: Id) -> Option<Vec<&'a [(Id, Id)]>> {
        let Node::List(items) = self.graph.node(id) else { return None };
        let dicts: Vec<_> = items.iter().map(|&item| self.state_dict(item)).collect::<Option<_>>()?;
        (!dicts.is_empty()).then_some(dicts)
    }

    fn add_tensors(&self, parent: &str, items: &[(Id, Id)], contents: &mut Contents) -> Result<(), Problem> {
        for &(key, value) in items {
            let (Some(key), Some(arguments)) = (self.graph.text(key), self.tensor_call(value)) else {
                continue;
            };
            let mut name = key;
            while let Some(rest) = WRAPPERS.iter().find_map(|wrapper| name.strip_prefix(wrapper)) {
                name = rest;
            }
            let name = format!("{parent}{name}");
            let entry = self.tensor(arguments).map_err(|problem| match problem {
                Problem::Damaged(reason) => Problem::Damaged(format!("tensor `{name}`: {reason}")),
                Problem::Refused(problem) => Problem::Refused(format!("tensor `{name}` {problem}")),
            })?;
            if contents.entries.insert(name.clone(), entry).is_some() {
                return Err(Problem::damaged(format!("it holds two tensors `{name}`")));
            }
        }
        Ok(())
    }

    /// Adds what lies beside the tensors at the top level.
    fn add_values(&self, is_beside: impl Fn(Id) -> bool, contents: &mut Contents) {
        for &(key, value) in self.graph.items(self.graph.root()).unwrap_or_default() {
            if let Some(key) = self.graph.text(key)
                && self.tensor_call(value).is_none()
                && is_beside(value)
            {
                contents.values.push((key.to_owned(), self.graph.value(value)));
            }
        }
    }

    /// The arguments of the call that makes a tensor: storage, offset, shape, strides, and more.
    fn tensor_call(&self, id: Id) -> Option<&'a [Id]> {
        let (call, arguments) = self.graph.call(id)?;
        match call.function {
            "torch._utils._rebuild_tensor_v2" => Some(arguments),
            // A parameter holds a tensor, and not another parameter.
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                let (inner, arguments) = self.graph.call(*arguments.first()?)?;
                (inner.function == "torch._utils._rebuild_tensor_v2").then_some(arguments)
            }
            // (function, class, its arguments, state)
            "torch._tensor._rebuild_from_type_v2" => {
                let is_plain = matches!(
                    self.graph.node(*arguments.first()?),
                    Node::Global("torch._utils._rebuild_tensor_v2")
                );
                is_plain.then(|| self.graph.sequence(*arguments.get(2)?)).flatten()
            }
            _ => None,
        }
    }

    fn tensor(&self, arguments: &[Id]) -> Result<Entry, Problem> {
        let &[storage, offset, shape, strides, ..] = arguments else {
            return Err(Problem::damaged("its description is incomplete"));
        };
        let (dtype, storage) = self.storage(storage)?;
        let sizes = |id: Id| -> Option<Vec<usize>> {
            self.graph.sequence(id)?.iter().map(|&n| self.size(n)).collect()
        };
        let (Some(offset), Some(shape), Some(strides)) = (self.size(offset), sizes(shape), sizes(strides))
        else {
            return Err(Problem::damaged("its offset, shape and strides must be whole numbers from 0"));
        };
        let held = storage.len() / item_size(dtype);
        let outside = || {
            Problem::damaged(format!(
                "shape {shape:?} with strides {strides:?} from element {offset} \
                 does not fit a storage of {held} elements"
            ))
        };
        if strides.len() != shape.len() {
            return Err(outside());
        }
        let spanned = span(&shape, &strides).ok_or_else(outside)?;
        let end = offset.checked_add(spanned).filter(|&end| end <= held).ok_or_else(outside)?;
        let wanted = row_major_strides(&shape).ok_or_else(outside)?;
        if shape.iter().product::<usize>() > spanned {
            return Err(Problem::refused(format!(
                "repeats the elements of its storage (strides {strides:?}); save it after .contiguous()"
            )));
        }
        let size = item_size(dtype);
        let place = storage.start + offset * size..storage.start + end * size;
        let strides = (!is_row_major(&shape, &strides, &wanted)).then_some(strides);
        Ok(Entry { dtype, shape, blocks: None, strides, part: 0, place })
    }

    /// The element type of a storage and where its elements lie.
    fn storage(&self, id: Id) -> Result<(Dtype, Range<usize>), Problem> {
        let damaged = || Problem::damaged("the description of its storage is incomplete");
        let Node::Persistent(description) = *self.graph.node(id) else {
            return Err(damaged());
        };
        let Some(&[kind, class, key, _place, count, ..]) = self.graph.sequence(description) else {
            return Err(damaged());
        };
        let (Some("storage"), Node::Global(class), Some(key), Some(count)) =
            (self.graph.text(kind), self.graph.node(class), self.graph.text(key), self.size(count))
        else {
            return Err(damaged());
        };
        let dtype = element_type(class).ok_or_else(damaged)?;
        let place = self.archive.entry(&format!("data/{key}"))?;
        if count.checked_mul(item_size(dtype)) != Some(place.len()) {
            return Err(Problem::damaged(format!(
                "storage {key} must hold {count} elements of type {dtype}, got {} bytes",
                place.len()
            )));
        }
        Ok((dtype, place))
    }

    fn size(&self, id: Id) -> Option<usize> {
        usize::try_from(self.graph.int(id)?).ok()
    }
}

fn element_type(class: &str) -> Option<Dtype> {
    Some(match class {
        "torch.FloatStorage" => Dtype::F32,
        "torch.HalfStorage" => Dtype::F16,
        "torch.BFloat16Storage" => Dtype::BF16,
        "torch.DoubleStorage" => Dtype::F64,
        "torch.LongStorage" => Dtype::I64,
        "torch.IntStorage" => Dtype::I32,
        "torch.ShortStorage" => Dtype::I16,
        "torch.CharStorage" => Dtype::I8,
        "torch.ByteStorage" => Dtype::U8,
        "torch.BoolStorage" => Dtype::BOOL,
        _ => return None,
    })
}
