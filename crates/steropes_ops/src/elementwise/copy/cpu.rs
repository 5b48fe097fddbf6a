//! Ranges of memory shared among threads.

use crate::error::{on_cpu, values};
use half::{bf16, f16};
use rayon::prelude::*;
use steropes_tensor::{DType, Element, Tensor};

/// Elements in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 16;

pub(super) fn copy(x: &Tensor) -> Tensor {
    match x.dtype() {
        DType::F16 => copied::<f16>(x),
        DType::BF16 => copied::<bf16>(x),
        DType::F64 => copied::<f64>(x),
        DType::I64 => copied::<i64>(x),
        DType::I32 => copied::<i32>(x),
        DType::U32 => copied::<u32>(x),
        DType::U8 => copied::<u8>(x),
        _ => copied::<f32>(x),
    }
}

fn copied<T: Element>(x: &Tensor) -> Tensor {
    let from = values::<T>(x);
    let mut to = vec![T::default(); from.len()];
    to.par_chunks_mut(TASK).zip(from.par_chunks(TASK)).for_each(|(to, from)| to.copy_from_slice(from));
    on_cpu(x.shape(), to)
}
