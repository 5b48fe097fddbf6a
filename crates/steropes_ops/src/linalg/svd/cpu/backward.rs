//! One matrix per task, as products of small matrices.

use crate::cpu::lanes::Real;
use crate::linalg::svd::backward::Thin;
use faer::{Mat, MatRef};
use rayon::prelude::*;

pub(in crate::linalg::svd) fn svd_backward<T: Real>(
    thin: Thin,
    factors: [&[T]; 3],
    gradients: [Option<&[T]>; 3],
) -> Vec<T> {
    let (k, size) = (thin.values(), thin.rows * thin.columns);
    let mut grad_a = vec![T::zero(); thin.count * size];
    if size == 0 {
        return grad_a;
    }
    let sizes = [thin.rows * k, k, k * thin.columns];
    grad_a.par_chunks_exact_mut(size).enumerate().for_each(|(i, grad_a)| {
        let part = |j: usize, all: &'_ [T]| -> std::ops::Range<usize> {
            debug_assert_eq!(all.len(), thin.count * sizes[j], "shapes were checked");
            i * sizes[j]..(i + 1) * sizes[j]
        };
        let factors = [0, 1, 2].map(|j| &factors[j][part(j, factors[j])]);
        let gradients = [0, 1, 2].map(|j| gradients[j].map(|all| &all[part(j, all)]));
        one(thin, factors, gradients, grad_a);
    });
    grad_a
}

fn one<T: Real>(
    thin: Thin,
    [u, s, vh]: [&[T]; 3],
    [grad_u, grad_s, grad_vh]: [Option<&[T]>; 3],
    to: &mut [T],
) {
    let Thin { rows, columns, .. } = thin;
    let k = thin.values();
    let u = MatRef::from_row_major_slice(u, rows, k);
    let vh = MatRef::from_row_major_slice(vh, k, columns);
    let [mut left, mut right] = [Mat::<T>::zeros(rows, k), Mat::<T>::zeros(k, columns)];
    let mut middle = Mat::<T>::zeros(k, k);
    if let Some(grad_u) = grad_u {
        let grad_u = MatRef::from_row_major_slice(grad_u, rows, k);
        let inner = u.transpose() * grad_u;
        add_turns(&mut middle, &inner, s, |_, j| s[j]);
        if rows > k {
            let outside = grad_u - u * &inner;
            left = Mat::from_fn(rows, k, |r, c| outside[(r, c)] / s[c]);
        }
    }
    if let Some(grad_vh) = grad_vh {
        let grad_vh = MatRef::from_row_major_slice(grad_vh, k, columns);
        let inner = vh * grad_vh.transpose();
        add_turns(&mut middle, &inner, s, |i, _| s[i]);
        if columns > k {
            let outside = grad_vh - inner.transpose() * vh;
            right = Mat::from_fn(k, columns, |r, c| outside[(r, c)] / s[r]);
        }
    }
    if let Some(grad_s) = grad_s {
        (0..k).for_each(|i| middle[(i, i)] = grad_s[i]);
    }
    let grad_a = (u * &middle + left) * vh + u * right;
    for (r, row) in to.chunks_exact_mut(columns).enumerate() {
        row.iter_mut().enumerate().for_each(|(c, x)| *x = grad_a[(r, c)]);
    }
}

/// Adds `(inner - inner^T) / E` times `factor` off the diagonal.
fn add_turns<T: Real>(middle: &mut Mat<T>, inner: &Mat<T>, s: &[T], factor: impl Fn(usize, usize) -> T) {
    for j in 0..s.len() {
        for i in (0..s.len()).filter(|&i| i != j) {
            let turn = (inner[(i, j)] - inner[(j, i)]) / ((s[j] - s[i]) * (s[j] + s[i]));
            middle[(i, j)] += turn * factor(i, j);
        }
    }
}
