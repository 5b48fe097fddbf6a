//! Tall and narrow matrices (TSQR): blocks of rows that fit the cache are factored side by side in the lanes of the small kernel,
//! their R's are stacked and factored the same way until one is left, and Q is multiplied together on the way back. The signs are
//! those that the reduction of the whole matrix would give, from the rows of Q at the top.

use super::lanes::{Gives, Small};
use super::large::{multiply, view, view_mut};
use crate::cpu::lanes::Real;
use faer::{Accum, Par};
use rayon::prelude::*;

/// Values of a block: with one in each lane of a vector of 64 bytes, they take a quarter of an L2 cache of 2 MiB.
const BLOCK: usize = 8192;

/// The most columns.
const MOST_COLUMNS: usize = 64;

/// Rows of a block of matrices of `n` columns.
fn block_rows(n: usize) -> usize {
    (BLOCK / n).max(2 * n)
}

/// Whether a matrix is tall enough for blocks to be worth their tree.
pub(super) fn is_tall(m: usize, n: usize) -> bool {
    n > 0 && n <= MOST_COLUMNS && m >= 2 * block_rows(n)
}

/// R and, if it is asked for, Q of one matrix `[m, n]`.
pub(super) fn factors<T: Real, const N: usize>(a: &[T], n: usize, wants_q: bool) -> [Vec<T>; 2] {
    let rows = block_rows(n);
    let mut levels = Vec::new();
    let mut r = level::<T, N>(a, n, rows, &mut levels);
    while r.len() > n * n {
        let stacked = r;
        r = level::<T, N>(&stacked, n, rows, &mut levels);
    }
    // From the last level down: the factor that each block of the next one is multiplied by.
    let mut c = levels.pop().expect("there is a level for every height");
    let Some(mut bottom) = (!levels.is_empty()).then(|| levels.remove(0)) else { return [r, c] };
    for mut q in levels.into_iter().rev() {
        multiply_blocks(&mut q, &c, n, rows);
        c = q;
    }
    let mut top = vec![T::zero(); n * n];
    multiply(
        view_mut(&mut top, n, n),
        Accum::Replace,
        view(&bottom[..n * n], n, n),
        view(&c[..n * n], n, n),
        Par::Seq,
    );
    let signs = signs(&mut top, n, triangular_columns(a, n));
    for (row, &sign) in r.chunks_exact_mut(n).zip(&signs) {
        row.iter_mut().for_each(|x| *x *= sign);
    }
    if !wants_q {
        return [r, Vec::new()];
    }
    for row in c.chunks_exact_mut(n) {
        row.iter_mut().zip(&signs).for_each(|(x, &sign)| *x *= sign);
    }
    multiply_blocks(&mut bottom, &c, n, rows);
    [r, bottom]
}

/// The R's of the blocks of `a`, stacked; their Q's go to `levels`.
fn level<T: Real, const N: usize>(a: &[T], n: usize, rows: usize, levels: &mut Vec<Vec<T>>) -> Vec<T> {
    let m = a.len() / n;
    let block = rows * n;
    let gives = Gives::Factors { rows: n, columns: n };
    let whole = m / rows;
    let mut q = vec![T::zero(); a.len()];
    let mut r = vec![T::zero(); m.div_ceil(rows) * n * n];
    let (whole_q, last_q) = q.split_at_mut(whole * block);
    let (whole_r, last_r) = r.split_at_mut(whole * n * n);
    if whole > 0 {
        let stack = &a[..whole * block];
        Small { m: rows, n, stack, reflectors: None, gives }.run_into::<N>([whole_r, whole_q]);
    }
    if !last_q.is_empty() {
        // Rows of zeros below change neither R nor the rows of Q above them.
        let mut stack = a[whole * block..].to_vec();
        let m = (stack.len() / n).max(n);
        stack.resize(m * n, T::zero());
        let [r, q] = Small { m, n, stack: &stack, reflectors: None, gives }.run::<N>();
        last_r.copy_from_slice(&r);
        last_q.copy_from_slice(&q[..last_q.len()]);
    }
    levels.push(q);
    r
}

/// Multiplies every block of `rows` rows of `q` by its matrix of `c`.
fn multiply_blocks<T: Real>(q: &mut [T], c: &[T], n: usize, rows: usize) {
    q.par_chunks_mut(rows * n).zip(c.par_chunks(n * n)).for_each(|(q, c)| {
        let from = q.to_vec();
        let rows = q.len() / n;
        multiply(view_mut(q, rows, n), Accum::Replace, view(&from, rows, n), view(c, n, n), Par::Seq);
    });
}

/// The number of columns from the first on that are zero below the diagonal: nothing reflects these.
fn triangular_columns<T: Real>(a: &[T], n: usize) -> usize {
    let mut columns = n;
    for (i, row) in a.chunks_exact(n).enumerate() {
        let below = &row[..i.min(columns)];
        if let Some(c) = below.iter().position(|x| *x != T::zero()) {
            columns = c;
        }
        if columns == 0 {
            break;
        }
    }
    columns
}

/// The signs that make the columns of an orthogonal Q those that reflectors give, from its upper `[n, n]` part: the pivots of the
/// elimination that rebuilds the reflectors (Ballard et al., "Reconstructing Householder vectors from TSQR", 2015). The first
/// `kept` columns stay as they are.
fn signs<T: Real>(top: &mut [T], n: usize, kept: usize) -> Vec<T> {
    let mut signs = vec![T::one(); n];
    for j in kept..n {
        let sign = if top[j * n + j] > T::zero() { -T::one() } else { T::one() };
        signs[j] = sign;
        // The column is that of Q times the sign, minus that of the identity: its pivot is at most -1.
        let pivot = top[j * n + j] * sign - T::one();
        for i in j + 1..n {
            let factor = top[i * n + j] * sign / pivot;
            for c in j + 1..n {
                let x = top[j * n + c];
                top[i * n + c] -= factor * x;
            }
        }
    }
    signs
}
