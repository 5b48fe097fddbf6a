//! A product for each matrix, matrices shared among threads.

use crate::cpu::lanes::Real;
use crate::linalg::stack::Stack;
use faer::{Mat, MatRef};
use rayon::prelude::*;

pub(super) fn pinv<T: Real>(stack: &Stack, [u, s, vh]: [&[T]; 3], rtol: f64) -> Vec<T> {
    let (m, n, k) = (stack.rows, stack.columns, stack.rows.min(stack.columns));
    let mut inverse = vec![T::zero(); stack.count() * m * n];
    if inverse.is_empty() {
        return inverse;
    }
    inverse.par_chunks_exact_mut(n * m).enumerate().for_each(|(i, inverse)| {
        let u = MatRef::from_row_major_slice(&u[i * m * k..][..m * k], m, k);
        let s = &s[i * k..][..k];
        let vh = &vh[i * k * n..][..k * n];
        let bound = s[0] * T::of(rtol);
        let scaled = Mat::from_fn(n, k, |r, c| if s[c] > bound { vh[c * n + r] / s[c] } else { T::zero() });
        let product = scaled * u.transpose();
        for (r, row) in inverse.chunks_exact_mut(m).enumerate() {
            row.iter_mut().enumerate().for_each(|(c, x)| *x = product[(r, c)]);
        }
    });
    inverse
}

pub(super) fn ranks<T: Real>(stack: &Stack, s: &[T], rtol: f64) -> Vec<i64> {
    let k = stack.rows.min(stack.columns);
    let above = |s: &[T]| s.iter().filter(|&&x| x > s[0] * T::of(rtol)).count() as i64;
    (0..stack.count()).map(|i| above(&s[i * k..][..k])).collect()
}
