//! Files of the safetensors format.

use super::{Contents, Entry};
use crate::LoadError;
use ::safetensors::{SafeTensorError, SafeTensors};

/// What the header of a safetensors file says.
pub(super) fn read(file: &str, bytes: &[u8]) -> Result<Contents, LoadError> {
    let (header, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| refusal(file, bytes, &error))?;
    let start = 8 + header;
    let entry = |(name, info): (String, &::safetensors::tensor::TensorInfo)| {
        let place = start + info.data_offsets.0..start + info.data_offsets.1;
        (name, Entry { dtype: info.dtype, shape: info.shape.clone(), strides: None, part: 0, place })
    };
    Ok(Contents { entries: metadata.tensors().into_iter().map(entry).collect(), values: Vec::new() })
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
