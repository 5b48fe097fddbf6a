//! The gradient of QR: products and a triangular solve by faer, on all threads for one matrix, one thread for each of many.

use super::{Matrices, multiply, threads_for, view, view_mut};
use crate::cpu::lanes::Real;
use faer::linalg::triangular_solve::solve_upper_triangular_in_place;
use faer::{Accum, MatRef, Par};
use rayon::prelude::*;

/// See [`super::qr_backward`].
pub(super) fn backward<T: Real>(
    [q, r]: [&[T]; 2],
    gradients: [Option<&[T]>; 2],
    &Matrices { count, m, n }: &Matrices,
) -> Vec<T> {
    let k = m.min(n);
    let par = threads_for(count);
    let mut result = vec![T::zero(); count * m * n];
    result.par_chunks_mut(m * n).enumerate().for_each(|(i, result)| {
        let [grad_q, grad_r] = [(gradients[0], m * k), (gradients[1], k * n)]
            .map(|(gradient, size)| gradient.map(|gradient| &gradient[i * size..][..size]));
        let one = One {
            m,
            n,
            q: view(&q[i * m * k..][..m * k], m, k),
            r: view(&r[i * k * n..][..k * n], k, n),
            grad_q: grad_q.map(|gradient| view(gradient, m, k)),
            grad_r: grad_r.map(|gradient| view(gradient, k, n)),
            par,
        };
        one.backward(result);
    });
    result
}

/// One matrix.
struct One<'a, T> {
    m: usize,
    n: usize,
    q: MatRef<'a, T>,
    r: MatRef<'a, T>,
    grad_q: Option<MatRef<'a, T>>,
    grad_r: Option<MatRef<'a, T>>,
    par: Par,
}

impl<T: Real> One<'_, T> {
    fn backward(&self, result: &mut [T]) {
        let &Self { m, n, q, r, grad_q, grad_r, par } = self;
        let k = m.min(n);
        let mut first = vec![T::zero(); m * k];
        if let Some(grad_q) = grad_q {
            view_mut(&mut first, m, k).copy_from(grad_q);
        }
        let mut square = vec![T::zero(); k * k];
        if let Some(grad_r) = grad_r {
            // R Qᵀ: what the columns behind the first ones are made of.
            let (behind, grad_behind) = (r.subcols(k, n - k), grad_r.subcols(k, n - k));
            multiply(view_mut(&mut square, k, k), Accum::Replace, behind, grad_behind.transpose(), par);
            multiply(view_mut(&mut first, m, k), Accum::Add, q, view(&square, k, k), par);
            multiply(view_mut(result, m, n).subcols_mut(k, n - k), Accum::Replace, q, grad_behind, par);
        }
        multiply(view_mut(&mut square, k, k), Accum::Replace, q.transpose(), view(&first, m, k), par);
        square.iter_mut().for_each(|x| *x = -*x);
        if let Some(grad_r) = grad_r {
            let (r, grad_r) = (r.subcols(0, k), grad_r.subcols(0, k));
            multiply(view_mut(&mut square, k, k), Accum::Add, grad_r, r.transpose(), par);
        }
        for i in 0..k {
            for j in 0..i {
                square[i * k + j] = square[j * k + i];
            }
        }
        multiply(view_mut(&mut first, m, k), Accum::Add, q, view(&square, k, k), par);
        // X Rᵀ = Y is R Xᵀ = Yᵀ.
        solve_upper_triangular_in_place(r.subcols(0, k), view_mut(&mut first, m, k).transpose_mut(), par);
        view_mut(result, m, n).subcols_mut(0, k).copy_from(view(&first, m, k));
    }
}
