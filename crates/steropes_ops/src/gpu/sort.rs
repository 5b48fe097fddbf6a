//! A stable sort of numbers by key, in which equal keys keep their order on any device: what sums over equal keys need to be
//! the same every time.

use super::bind;
use crate::error::OpError;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup, and the keys of each.
const THREADS: u32 = 128;
const EACH: u32 = 16;

/// Bits of a digit.
const BITS: u32 = 4;

/// Keys in ascending order, and where each of them was before.
pub(crate) struct Sorted {
    /// `[count]`, u32.
    pub(crate) keys: Tensor,
    /// `[count]`, u32.
    pub(crate) order: Tensor,
}

/// Sorts the `keys`, u32, of which none is above `largest`. A radix sort, digit by digit from the lowest: workgroups count their
/// digits, one workgroup turns the counts into places, workgroups move their keys there.
///
/// # Errors
/// [`OpError`] if the device failed.
pub(crate) fn sorted_by_key(
    gpu: &Gpu,
    op: &'static str,
    keys: Tensor,
    largest: u32,
) -> Result<Sorted, OpError> {
    let count = keys.len();
    let shape = [count];
    let blocks = count.div_ceil((THREADS * EACH) as usize);
    let header = |first: bool| {
        Header::new()
            .count("THREADS", THREADS)
            .count("EACH", EACH)
            .count("DIGITS", 1 << BITS)
            .flag("FIRST", first)
    };
    let counter = Kernel::new("sort_count", &header(false), include_str!("sort_count.wgsl"));
    let scanner = Kernel::new("sort_scan", &header(false), include_str!("sort_scan.wgsl"));
    let counts = Tensor::on_gpu(gpu, op, DType::U32, &[blocks << BITS])?;
    let mut sorted = Sorted { order: keys.clone(), keys };
    let passes = (u32::BITS - largest.leading_zeros()).div_ceil(BITS).max(1);
    for pass in 0..passes {
        let params = [count as u32, pass * BITS, blocks as u32];
        let groups = spread(blocks as u64);
        gpu.launch(&counter, &[bind(&sorted.keys), bind(&counts)], &params, groups)?;
        gpu.launch(&scanner, &[bind(&counts)], &[(blocks << BITS) as u32], [1, 1, 1])?;
        let [keys, order] =
            [Tensor::on_gpu(gpu, op, DType::U32, &shape)?, Tensor::on_gpu(gpu, op, DType::U32, &shape)?];
        let mover = Kernel::new("sort_move", &header(pass == 0), include_str!("sort_move.wgsl"));
        let bindings = [bind(&sorted.keys), bind(&sorted.order), bind(&counts), bind(&keys), bind(&order)];
        gpu.launch(&mover, &bindings, &params, groups)?;
        sorted = Sorted { keys, order };
    }
    Ok(sorted)
}
