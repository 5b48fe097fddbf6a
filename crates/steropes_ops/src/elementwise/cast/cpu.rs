//! Ranges shared among threads; conversions by the processor's own instructions where it has them.

use crate::error::{on_cpu, values};
use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use steropes_tensor::{DType, Tensor};

/// Values in a task, so that taking it from the queue costs little beside it.
const TASK: usize = 1 << 15;

/// f16 of f32 and f32 of f16.
pub(super) fn cast(x: &Tensor) -> Tensor {
    if x.dtype() == DType::F32 {
        let from = values::<f32>(x);
        let mut to = vec![f16::ZERO; from.len()];
        let tasks = to.par_chunks_mut(TASK).zip(from.par_chunks(TASK));
        tasks.for_each(|(to, from)| to.convert_from_f32_slice(from));
        on_cpu(x.shape(), to)
    } else {
        let from = values::<f16>(x);
        let mut to = vec![0.0f32; from.len()];
        let tasks = to.par_chunks_mut(TASK).zip(from.par_chunks(TASK));
        tasks.for_each(|(to, from)| from.convert_to_f32_slice(to));
        on_cpu(x.shape(), to)
    }
}
