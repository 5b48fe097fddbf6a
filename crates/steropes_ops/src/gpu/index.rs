//! Numbers of classes, rows and places as kernels see them, and masks of bytes.

use super::{bind, largest_binding, unsupported};
use crate::error::OpError;
use steropes_tensor::{DType, Gpu, Header, Tensor};

/// 32-bit words of an index.
pub(crate) fn index_words(dtype: DType) -> usize {
    dtype.size_bytes() / size_of::<u32>()
}

/// The header with `NAME_at(i: u32) -> vec2<u32>`, the low and the high half of number `i` of the array `NAME` of words, which
/// the kernel declares, as a signed integer of 64 bits; and with `NAME_is_below(index: vec2<u32>, extent: u32) -> bool`.
pub(crate) fn index_header(header: Header, name: &str, dtype: DType) -> Header {
    let read = match dtype {
        DType::I64 => format!("return vec2<u32>({name}[2u * i], {name}[2u * i + 1u]);"),
        DType::I32 => {
            format!(
                "let low = {name}[i]; return vec2<u32>(low, select(0u, 0xffffffffu, (low >> 31u) != 0u));"
            )
        }
        _ => format!("return vec2<u32>({name}[i], 0u);"),
    };
    header.text(&format!(
        "fn {name}_at(i: u32) -> vec2<u32> {{ {read} }}\n\
         fn {name}_is_below(index: vec2<u32>, extent: u32) -> bool {{ return index.y == 0u && index.x < extent; }}\n"
    ))
}

/// The header with `NAME_at(i: u32) -> bool`, byte `i` of the array `NAME` of words, which the kernel declares.
pub(crate) fn mask_header(header: Header, name: &str) -> Header {
    header.text(&format!(
        "fn {name}_at(i: u32) -> bool {{ return (({name}[i >> 2u] >> ((i & 3u) * 8u)) & 0xffu) != 0u; }}\n"
    ))
}

/// Refuses tensors that a kernel must see whole and that do not fit one binding.
///
/// # Errors
/// [`OpError::Unsupported`] with the bytes.
pub(crate) fn one_binding(op: &'static str, gpu: &Gpu, tensors: &[&Tensor]) -> Result<(), OpError> {
    for tensor in tensors {
        let bytes = bind(tensor).bytes;
        if bytes > largest_binding(gpu) as u64 {
            return Err(unsupported(op, gpu, format!("a tensor of {bytes} bytes does not fit one binding")));
        }
    }
    Ok(())
}
