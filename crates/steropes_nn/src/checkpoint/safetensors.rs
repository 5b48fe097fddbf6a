//! Files of the safetensors format.

use super::{Contents, Entry};
use crate::LoadError;
use ::safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;
use steropes_ops::linalg::quantize::BlockFormat;

/// The name in the metadata of a file under which its matrices in blocks are listed: a JSON object with the name of each tensor, whose
/// value is `{"format": "q4_0", "shape": [rows, columns]}`. The tensor itself is of type U8 and shape `[rows, bytes of a row]`.
const QUANTIZED: &str = "quantized";

/// What the header of a safetensors file says.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Contents, LoadError> {
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| refusal(file, bytes, &error))?;
    let start = 8 + header;
    let entry = |(name, info): (String, &::safetensors::tensor::TensorInfo)| {
        let place = start + info.data_offsets.0..start + info.data_offsets.1;
        let (dtype, shape) = (info.dtype, info.shape.clone());
        (name, Entry { dtype, shape, blocks: None, strides: None, part: 0, place })
    };
    let mut entries = metadata.tensors().into_iter().map(entry).collect();
    if let Some(list) = metadata.metadata().as_ref().and_then(|values| values.get(QUANTIZED)) {
        mark_blocks(&mut entries, list).map_err(|reason| LoadError::Format {
            file: file.to_owned(),
            format: "safetensors",
            reason,
        })?;
    }
    Ok(Contents { entries, values: Vec::new() })
}

/// The list of matrices in blocks, as the metadata holds it.
pub(super) fn quantized_list<'a>(
    matrices: impl Iterator<Item = (&'a str, BlockFormat, &'a [usize])>,
) -> Option<(String, String)> {
    let entry = |(name, format, shape): (&str, BlockFormat, &[usize])| {
        (name.to_owned(), json!({ "format": format.name(), "shape": shape }))
    };
    let list: Map<String, Json> = matrices.map(entry).collect();
    (!list.is_empty()).then(|| (QUANTIZED.to_owned(), Json::Object(list).to_string()))
}

/// Notes the format and shape of matrices in blocks; refuses what does not fit the tensors.
fn mark_blocks(entries: &mut BTreeMap<String, Entry>, list: &str) -> Result<(), String> {
    let list: Json = serde_json::from_str(list).map_err(|error| format!("`{QUANTIZED}`: {error}"))?;
    let list = list.as_object().ok_or_else(|| format!("`{QUANTIZED}` must be an object"))?;
    for (name, about) in list {
        let wrong = |what: &str| format!("`{QUANTIZED}`: tensor `{name}` {what}");
        let entry = entries.get_mut(name).ok_or_else(|| wrong("is not there"))?;
        let format = about["format"].as_str().unwrap_or_default();
        let format = BlockFormat::from_name(format)
            .ok_or_else(|| wrong(&format!("is in blocks of `{format}`, which are not read")))?;
        let extent = |i: usize| about["shape"][i].as_u64().and_then(|n| usize::try_from(n).ok());
        let shape = match (about["shape"].as_array().map(Vec::len), extent(0), extent(1)) {
            (Some(2), Some(rows), Some(columns)) => [rows, columns],
            _ => return Err(wrong("has no two extents")),
        };
        // What a row of so many columns takes fits no file if it fits no number.
        let is_countable = shape[1] < usize::MAX / 64;
        if !is_countable || entry.dtype != Dtype::U8 || entry.shape != [shape[0], format.row_bytes(shape[1])]
        {
            return Err(wrong(&format!("has not the bytes of {} of shape {shape:?}", format.name())));
        }
        (entry.blocks, entry.shape) = (Some(format), shape.to_vec());
    }
    Ok(())
}

/// Why the header was refused, with the number of bytes where that is the reason.
fn refusal(file: &str, bytes: &[u8], error: &SafeTensorError) -> LoadError {
    let found = bytes.len() as u64;
    let header = bytes.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    let truncated = |expected| LoadError::Truncated { file: file.to_owned(), expected, found };
    match error {
        SafeTensorError::InvalidHeaderLength => truncated(header.saturating_add(8)),
        SafeTensorError::MetadataIncompleteBuffer => truncated(promised_len(bytes, header)),
        other => {
            LoadError::Format { file: file.to_owned(), format: "safetensors", reason: other.to_string() }
        }
    }
}

/// The length of a file whose header is sound, from the largest end of its tensors.
fn promised_len(bytes: &[u8], header: u64) -> u64 {
    let parsed: serde_json::Value =
        serde_json::from_slice(&bytes[8..8 + header as usize]).expect("the header was parsed before");
    let ends = parsed.as_object().into_iter().flatten().filter_map(|(_, t)| t["data_offsets"][1].as_u64());
    ends.max().unwrap_or(0).saturating_add(8 + header)
}
