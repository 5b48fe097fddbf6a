//! Choice of the form by size: many small matrices side by side in lanes, tall and narrow ones in blocks of rows, others in panels of
//! columns.

use super::Matrices;
use super::lanes::{Gives, Small};
use super::large::{Factored, threads_for};
use super::tall;
use crate::cpu::lanes::Real;
use rayon::prelude::*;

/// Values of the largest matrix that stays in lanes: 64 bytes each, so that it is in L2 with its Q.
const SMALL: usize = 4096;

/// Values of the largest matrix that is worth lanes that are mostly empty.
const SMALL_ALONE: usize = 1024;

/// Matrices that fill enough lanes.
const ENOUGH: usize = 4;

/// Whether matrices go to lanes, with `columns` columns of Q.
fn in_lanes(matrices: &Matrices, columns: usize) -> bool {
    let values = matrices.m * matrices.n.max(columns);
    values <= SMALL && (matrices.count >= ENOUGH || values <= SMALL_ALONE)
}

/// `rows` rows of R and `columns` columns of Q of every matrix.
pub(in crate::linalg) fn factors<T: Real, const N: usize>(
    a: &[T],
    matrices: &Matrices,
    [rows, columns]: [usize; 2],
) -> [Vec<T>; 2] {
    let &Matrices { count, m, n } = matrices;
    if in_lanes(matrices, columns) {
        let gives = Gives::Factors { rows, columns };
        return Small { m, n, stack: a, reflectors: None, gives }.run::<N>();
    }
    let mut results = [rows * n, m * columns].map(|size| vec![T::zero(); count * size]);
    let [r, q] = &mut results;
    if tall::is_tall(m, n) && columns <= n {
        for (i, a) in a.chunks_exact(m * n).enumerate() {
            let [one_r, one_q] = tall::factors::<T, N>(a, n, columns > 0);
            r[i * n * n..][..n * n].copy_from_slice(&one_r);
            if count == 1 {
                return [one_r, one_q];
            }
            q[i * m * columns..][..m * columns].copy_from_slice(&one_q[..m * columns]);
        }
        return results;
    }
    let par = threads_for(count);
    let one = |a: &[T], r: &mut [T], q: &mut [T]| {
        let factored = Factored::new(a, m, n, par);
        factored.write_r(r);
        if columns > 0 {
            factored.write_q(q, columns, par);
        }
    };
    if columns > 0 {
        let results = r.par_chunks_mut(rows * n).zip(q.par_chunks_mut(m * columns));
        a.par_chunks(m * n).zip(results).for_each(|(a, (r, q))| one(a, r, q));
    } else {
        a.par_chunks(m * n).zip(r.par_chunks_mut(rows * n)).for_each(|(a, r)| one(a, r, &mut []));
    }
    results
}

/// Every matrix as LAPACK leaves it, and the factors of its reflectors.
pub(super) fn reflectors<T: Real, const N: usize>(a: &[T], matrices: &Matrices) -> [Vec<T>; 2] {
    let &Matrices { count, m, n } = matrices;
    if in_lanes(matrices, 0) {
        return Small { m, n, stack: a, reflectors: None, gives: Gives::Reflectors }.run::<N>();
    }
    let steps = m.min(n);
    let mut results = [vec![T::zero(); a.len()], vec![T::zero(); count * steps]];
    let [all, tau] = &mut results;
    let par = threads_for(count);
    let results_of_each = all.par_chunks_mut(m * n).zip(tau.par_chunks_mut(steps));
    a.par_chunks(m * n).zip(results_of_each).for_each(|(a, (all, tau))| {
        let factored = Factored::new(a, m, n, par);
        factored.write_all(all);
        factored.write_tau(tau);
    });
    results
}

/// The first `n` columns of the product of `steps` reflectors of every matrix.
pub(super) fn product<T: Real, const N: usize>(
    a: &[T],
    tau: &[T],
    matrices: &Matrices,
    steps: usize,
) -> Vec<T> {
    let &Matrices { m, n, .. } = matrices;
    if in_lanes(matrices, n) {
        let gives = Gives::Factors { rows: 0, columns: n };
        let [_, q] = Small { m, n, stack: a, reflectors: Some((tau, steps)), gives }.run::<N>();
        return q;
    }
    let mut q = vec![T::zero(); a.len()];
    let par = threads_for(matrices.count);
    a.par_chunks(m * n).zip(tau.par_chunks(steps)).zip(q.par_chunks_mut(m * n)).for_each(|((a, tau), q)| {
        Factored::from_reflectors(a, m, n, tau, par).write_q(q, n, par);
    });
    q
}
