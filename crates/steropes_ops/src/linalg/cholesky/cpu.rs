//! Small matrices side by side in lanes, 16 of f32 or 8 of f64, groups shared among the threads; larger ones and few ones one by
//! one, by recursion on halves.

use crate::cpu::Isa;
use crate::cpu::lanes::{Lanes, Real, for_groups, interleaved, separated};
use crate::cpu::simd::{Kernel, Simd};
use crate::linalg::dense::one::{Part, cholesky_upper};
use crate::linalg::dense::{Pieces, View, for_matrices, side_by_side};
use crate::linalg::stack::Stack;

/// Rows of the largest matrices that go side by side: a group stays in L2.
const SMALL: usize = 64;

pub(super) fn cholesky<T: Real, const N: usize>(a: &[T], stack: &Stack, upper: bool) -> (Vec<T>, Vec<i32>) {
    let (n, count) = (stack.rows, stack.count());
    let mut factor = vec![T::of(0.0); a.len()];
    let mut info = vec![0; count];
    if n == 0 || count == 0 {
        return (factor, info);
    }
    let work = n * n * n / 6 + n * n;
    if n <= SMALL && side_by_side::worthwhile::<N>(count, n) {
        let isa = Isa::current();
        let (factors, infos) = (Pieces::new(&mut factor, N * n * n), Pieces::new(&mut info, N));
        for_groups(count.div_ceil(N), work * N / 4, |group| {
            // SAFETY: each group once.
            let (factor, info) = unsafe { (factors.get(group), infos.get(group)) };
            isa.run(Group::<T, N> { a, n, first: group * N, upper, factor, info });
        });
    } else {
        let (factors, infos) = (Pieces::new(&mut factor, n * n), Pieces::new(&mut info, 1));
        for_matrices(count, work, |index, par| {
            // SAFETY: each matrix once.
            let (factor, info) = unsafe { (factors.get(index), infos.get(index)) };
            let source = View::of_columns(n).transposed_if(!upper);
            copy_upper(&a[index * n * n..][..n * n], source, n, factor);
            // SAFETY: the rows of a row-major matrix.
            let pivot =
                unsafe { cholesky_upper(Part::new(factor.as_mut_ptr(), View::of_columns(n)), n, par) };
            info[0] = pivot.map_or(0, |pivot| pivot as i32 + 1);
            if !upper {
                transpose_upper(factor, n);
            }
        });
    }
    (factor, info)
}

struct Group<'a, T, const N: usize> {
    a: &'a [T],
    n: usize,
    first: usize,
    upper: bool,
    factor: &'a mut [T],
    info: &'a mut [i32],
}

impl<T: Real, const N: usize> Kernel for Group<'_, T, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let n = self.n;
        let mut lanes = vec![Lanes::<T, N>::splat(T::of(0.0)); n * n];
        interleaved(self.a, n * n, self.first, &mut lanes);
        let info = side_by_side::cholesky(&mut lanes, n, View::of_columns(n).transposed_if(self.upper));
        separated(&lanes, self.factor);
        self.info.copy_from_slice(&info[..self.info.len()]);
    }
}

/// Copies the upper triangle that a view has.
fn copy_upper<T: Real>(from: &[T], view: View, n: usize, to: &mut [T]) {
    for (i, row) in to.chunks_exact_mut(n).enumerate() {
        for (j, value) in row.iter_mut().enumerate().skip(i) {
            *value = from[view.at(i, j) as usize];
        }
    }
}

/// Moves an upper triangle to the lower one.
fn transpose_upper<T: Real>(a: &mut [T], n: usize) {
    for i in 0..n {
        for j in i + 1..n {
            a[j * n + i] = std::mem::replace(&mut a[i * n + j], T::of(0.0));
        }
    }
}
