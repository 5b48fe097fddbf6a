//! Kernels over all packs of a tensor in a row, and where they write.

use super::{largest_binding, window};
use crate::error::OpError;
use std::ops::Range;
use steropes_tensor::{Binding, Capabilities, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

/// Packs of an invocation: all loads are on their way before the first is needed.
const PER_THREAD: u32 = 4;

/// The header with `THREADS`, `PER_THREAD` and `first_pack(group, thread) -> u32`, the first pack of an invocation; its others
/// follow at a distance of `THREADS`.
pub(crate) fn flat_header(header: Header) -> Header {
    header.count("THREADS", THREADS).count("PER_THREAD", PER_THREAD).text(
        "fn first_pack(group: vec3<u32>, thread: u32) -> u32 {\n    \
         return (group.x + group.y * 32768u) * (THREADS * PER_THREAD) + thread;\n}\n",
    )
}

/// Launches a kernel of [`flat_header`] over `count` packs, in as many ranges as bindings ask for. `arrays` are the tensors with
/// the bytes that each has for a pack; `params` starts with the number of packs of the range.
///
/// # Errors
/// [`OpError`] if the device failed.
pub(crate) fn launch_flat(
    gpu: &Gpu,
    kernel: &Kernel,
    count: usize,
    arrays: &[(&Tensor, usize)],
) -> Result<(), OpError> {
    for range in flat_ranges(gpu, count, arrays) {
        let bindings: Vec<Binding<'_>> =
            arrays.iter().map(|&(tensor, bytes)| window(tensor, bytes, &range).binding).collect();
        gpu.launch(kernel, &bindings, &[range.len() as u32], flat_groups(range.len()))?;
    }
    Ok(())
}

/// Workgroups of a kernel of [`flat_header`] for `count` packs.
pub(crate) fn flat_groups(count: usize) -> [u32; 3] {
    spread(count.div_ceil((THREADS * PER_THREAD) as usize) as u64)
}

/// Ranges that begin where bindings may begin, whatever power of two the bytes of a pack are, and leave room for a window that
/// begins before.
pub(crate) fn flat_ranges(
    gpu: &Gpu,
    count: usize,
    arrays: &[(&Tensor, usize)],
) -> impl Iterator<Item = Range<usize>> {
    let largest = arrays.iter().map(|(_, bytes)| *bytes).max().unwrap_or(1);
    let room = largest_binding(gpu) - Capabilities::BINDING_ALIGNMENT as usize;
    let most = (room / largest / 256 * 256).max(256);
    (0..count).step_by(most).map(move |first| first..(first + most).min(count))
}

/// Where an op that was given `x` writes: over `x` if nobody else holds it, else to new memory, with `x` as the source.
///
/// # Errors
/// [`OpError`] if the device has no memory for it.
pub(crate) fn destination(
    gpu: &Gpu,
    op: &'static str,
    x: Tensor,
) -> Result<(Tensor, Option<Tensor>), OpError> {
    if x.is_unshared() {
        return Ok((x, None));
    }
    let y = Tensor::on_gpu(gpu, op, x.dtype(), x.shape())?;
    Ok((y, Some(x)))
}

/// The header with the array `y` as binding 0 and `x_at(i) -> Pack`, which reads `y` itself or, with a source, the array of
/// binding `source`.
pub(crate) fn destination_header(header: Header, source: Option<u32>) -> Header {
    let y = "@group(0) @binding(0) var<storage, read_write> y: array<Pack>;\n";
    match source {
        None => header.text(y).text("fn x_at(i: u32) -> Pack { return y[i]; }\n"),
        Some(binding) => header.text(y).text(&format!(
            "@group(0) @binding({binding}) var<storage, read> x: array<Pack>;\n\
             fn x_at(i: u32) -> Pack {{ return x[i]; }}\n"
        )),
    }
}
