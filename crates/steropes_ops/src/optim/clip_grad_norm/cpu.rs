//! Chunks of a fixed length are shared among threads; each adds up its squares in f64, in eight sums that the compiler makes vectors
//! of, and the sums of the chunks are added in their order. Then the same chunks are scaled.

use super::EPS;
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use crate::error::values;
use half::bf16;
use rayon::prelude::*;
use steropes_tensor::{DType, Device, Element, Tensor};

/// Elements of a chunk.
const CHUNK: usize = 1 << 14;

pub(super) fn clip_grad_norm(gradients: &mut [Tensor], max_norm: f32) -> f32 {
    let isa = Isa::current();
    let mut chunks = Vec::new();
    for gradient in &*gradients {
        match gradient.dtype() {
            DType::F32 => chunks.extend(values::<f32>(gradient).chunks(CHUNK).map(Chunk::F32)),
            _ => chunks.extend(values::<bf16>(gradient).chunks(CHUNK).map(Chunk::Bf16)),
        }
    }
    let sums: Vec<f64> = chunks.into_par_iter().map(|chunk| isa.run(chunk)).collect();
    let norm = sums.iter().sum::<f64>().sqrt();
    let factor = (f64::from(max_norm) / (norm + f64::from(EPS))) as f32;
    // A NaN stays one, as it does in the gradients.
    let factor = if factor > 1.0 { 1.0 } else { factor };
    for gradient in gradients {
        match gradient.dtype() {
            DType::F32 => scale::<f32>(gradient, |x| x * factor),
            _ => scale::<bf16>(gradient, |x| bf16::from_f32(x.to_f32() * factor)),
        }
    }
    norm as f32
}

fn scale<T: Element>(gradient: &mut Tensor, scaled: impl Fn(T) -> T + Sync) {
    let shape = gradient.shape().to_vec();
    let empty = Tensor::zeros::<T>(&Device::Cpu, &[0]);
    let mut values = std::mem::replace(gradient, empty).into_vec::<T>().expect("the dtype was looked at");
    values.par_chunks_mut(CHUNK).for_each(|chunk| chunk.iter_mut().for_each(|x| *x = scaled(*x)));
    *gradient = Tensor::new(&Device::Cpu, &shape, values).expect("the memory of this shape");
}

/// The sum of the squares of a chunk.
enum Chunk<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

impl Kernel for Chunk<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        match self {
            Self::F32(values) => sum_of_squares(values, |x| x),
            Self::Bf16(values) => sum_of_squares(values, |x| f32::from_bits(u32::from(x.to_bits()) << 16)),
        }
    }
}

#[inline(always)]
fn sum_of_squares<T: Copy>(values: &[T], wide: impl Fn(T) -> f32) -> f64 {
    let mut sums = [0.0f64; 8];
    let mut eights = values.chunks_exact(8);
    for eight in &mut eights {
        for (sum, &x) in sums.iter_mut().zip(eight) {
            let x = f64::from(wide(x));
            *sum += x * x;
        }
    }
    for (sum, &x) in sums.iter_mut().zip(eights.remainder()) {
        let x = f64::from(wide(x));
        *sum += x * x;
    }
    sums.iter().sum()
}
