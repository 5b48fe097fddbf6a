//! Divide and conquer by `faer`: one matrix per thread, or all threads at few large ones. Work is split the same way for any
//! number of threads, so that the bits do not depend on it.

use super::{Uplo, scale, sign};
use crate::cpu::lanes::Real;
use faer::diag::DiagMut;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::{MatMut, MatRef, Par};
use rayon::prelude::*;
use std::num::NonZeroUsize;

/// From here on all threads work at one matrix.
const SHARED_FROM: usize = 256;

/// If there are no more than these.
const SHARED_UP_TO: usize = 4;

/// Parts of the work at one matrix.
const PARTS: NonZeroUsize = NonZeroUsize::new(8).expect("not zero");

/// Writes values, and vectors if there is room for them.
pub(super) fn eigh<T: Real>(a: &[T], n: usize, uplo: Uplo, values: &mut [T], vectors: &mut [T]) {
    let with_vectors = !vectors.is_empty();
    let mut vectors = vectors.chunks_mut(n * n);
    let matrices: Vec<_> = a
        .chunks(n * n)
        .zip(values.chunks_mut(n))
        .map(|(a, values)| (a, values, vectors.next().unwrap_or_default()))
        .collect();
    let shared = n >= SHARED_FROM && matrices.len() <= SHARED_UP_TO;
    let par = if shared { Par::Rayon(PARTS) } else { Par::Seq };
    let scratch = || Scratch::<T>::new(n, with_vectors, par);
    let solve = |scratch: &mut Scratch<T>, (a, values, vectors)| scratch.solve(a, uplo, values, vectors);
    if shared || matrices.len() == 1 {
        let mut scratch = scratch();
        matrices.into_iter().for_each(|matrix| solve(&mut scratch, matrix));
    } else {
        matrices.into_par_iter().for_each_init(scratch, solve);
    }
}

struct Scratch<T> {
    n: usize,
    par: Par,
    /// The scaled matrix.
    a: Vec<T>,
    /// Vectors one after another.
    v: Vec<T>,
    memory: MemBuffer,
}

impl<T: Real> Scratch<T> {
    fn new(n: usize, with_vectors: bool, par: Par) -> Self {
        let compute = if with_vectors { ComputeEigenvectors::Yes } else { ComputeEigenvectors::No };
        let memory = MemBuffer::new(self_adjoint_evd_scratch::<T>(n, compute, par, Default::default()));
        let v = vec![T::zero(); if with_vectors { n * n } else { 0 }];
        Self { n, par, a: vec![T::zero(); n * n], v, memory }
    }

    fn solve(&mut self, a: &[T], uplo: Uplo, values: &mut [T], vectors: &mut [T]) {
        let n = self.n;
        let solved = scale(a, n, uplo).filter(|&scale| {
            self.a.iter_mut().zip(a).for_each(|(to, &x)| *to = x * scale);
            self.decompose(uplo, values)
        });
        let Some(scale) = solved else {
            values.fill(T::nan());
            vectors.fill(T::nan());
            return;
        };
        values.iter_mut().for_each(|value| *value /= scale);
        for (i, vector) in self.v.chunks_exact(n).enumerate() {
            let sign = sign(vector.iter().copied());
            for (k, &entry) in vector.iter().enumerate() {
                vectors[k * n + i] = entry * sign;
            }
        }
    }

    /// Values and vectors of the scaled matrix; whether it converged.
    fn decompose(&mut self, uplo: Uplo, values: &mut [T]) -> bool {
        let n = self.n;
        // Only what is below the diagonal of this view is read.
        let a = match uplo {
            Uplo::Lower => MatRef::from_row_major_slice(&self.a, n, n),
            Uplo::Upper => MatRef::from_column_major_slice(&self.a, n, n),
        };
        let vectors = (!self.v.is_empty()).then(|| MatMut::from_column_major_slice_mut(&mut self.v, n, n));
        let stack = MemStack::new(&mut self.memory);
        let values = DiagMut::from_slice_mut(values);
        self_adjoint_evd(a, values, vectors, self.par, stack, Default::default()).is_ok()
    }
}
