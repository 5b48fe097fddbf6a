//! Small matrices side by side: value `i` of [`Lanes::N`] matrices in one vector, so that an algorithm for one matrix, written
//! in plain arithmetic, does that many at once and never looks across lanes.
//!
//! Vectors are arrays and their arithmetic is loops of a constant length: inside [`super::Isa::run`] these become the vectors
//! of the instruction set, for f32 and f64 alike.

use num_traits::{Float, NumAssign};
use rayon::prelude::*;
use std::iter::Sum;
use std::ops::{Add, Div, Mul, Neg, Sub};
use steropes_tensor::Element;

/// The element type of a matrix: f32 or f64.
pub(crate) trait Real: Element + Float + NumAssign + Sum + faer::traits::RealField {
    /// The nearest value to `x`.
    fn of(x: f64) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x as Self
    }
}

impl Real for f64 {
    #[inline(always)]
    fn of(x: f64) -> Self {
        x
    }
}

/// One value of each of `N` matrices: 16 of f32 or 8 of f64 are the widest vector.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(transparent)]
pub(crate) struct Lanes<T, const N: usize>(pub(crate) [T; N]);

impl<T: Real, const N: usize> Lanes<T, N> {
    /// `x` in every lane.
    #[inline(always)]
    pub(crate) fn splat(x: T) -> Self {
        Self([x; N])
    }

    /// `f` of every lane.
    #[inline(always)]
    pub(crate) fn map(self, f: impl Fn(T) -> T) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i])))
    }

    /// `f` of every pair of lanes.
    #[inline(always)]
    pub(crate) fn zip(self, other: Self, f: impl Fn(T, T) -> T) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    /// `self * factor + addend`, rounded as the instruction set does.
    #[inline(always)]
    pub(crate) fn times_plus(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + addend.0[i]))
    }

    /// `self - a * b`.
    #[inline(always)]
    pub(crate) fn minus_product(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - a.0[i] * b.0[i]))
    }

    /// Square roots.
    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        self.map(Float::sqrt)
    }

    /// Magnitudes.
    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        self.map(Float::abs)
    }

    /// `then` where `self > bound`, `otherwise` elsewhere and where one is NaN.
    #[inline(always)]
    pub(crate) fn if_greater(self, bound: Self, then: Self, otherwise: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] > bound.0[i] { then.0[i] } else { otherwise.0[i] }))
    }

    /// Whether any lane is greater than that of `bound`.
    #[inline(always)]
    pub(crate) fn any_greater(self, bound: Self) -> bool {
        (0..N).any(|i| self.0[i] > bound.0[i])
    }
}

macro_rules! arithmetic {
    ($($operator:ident $method:ident),*) => {$(
        impl<T: Real, const N: usize> $operator for Lanes<T, N> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.zip(other, |a, b| a.$method(b))
            }
        }
    )*};
}

arithmetic!(Add add, Sub sub, Mul mul, Div div);

impl<T: Real, const N: usize> Neg for Lanes<T, N> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.map(|x| -x)
    }
}

/// The matrices of `count` values each, from number `first` of `stack` on, as lanes. Lanes behind the last matrix repeat it.
#[inline(always)]
pub(crate) fn interleaved<T: Real, const N: usize>(
    stack: &[T],
    count: usize,
    first: usize,
    to: &mut [Lanes<T, N>],
) {
    let last = stack.len() / count - 1;
    let starts: [usize; N] = std::array::from_fn(|lane| (first + lane).min(last) * count);
    for (i, lanes) in to[..count].iter_mut().enumerate() {
        *lanes = Lanes(std::array::from_fn(|lane| stack[starts[lane] + i]));
    }
}

/// Writes lanes as matrices of `from.len()` values each one after another, as many as `stack` has room for.
#[inline(always)]
pub(crate) fn separated<T: Real, const N: usize>(from: &[Lanes<T, N>], stack: &mut [T]) {
    for (lane, matrix) in stack.chunks_exact_mut(from.len()).enumerate() {
        for (value, lanes) in matrix.iter_mut().zip(from) {
            *value = lanes.0[lane];
        }
    }
}

/// Calls `body` with the number of each of `groups` groups of matrices, on all threads; `work` is about how many
/// multiplications a group takes, so that little of it stays on one thread.
pub(crate) fn for_groups(groups: usize, work: usize, body: impl Fn(usize) + Send + Sync) {
    /// Multiplications in a task, so that taking it from the queue costs little beside it.
    const TASK: usize = 1 << 16;
    let each = (TASK / work.max(1)).max(1);
    if groups <= each {
        (0..groups).for_each(body);
    } else {
        (0..groups).into_par_iter().with_min_len(each).for_each(body);
    }
}

pub(crate) mod tests {
    use super::{Lanes, interleaved, separated};
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case("lanes/unit/matrices_come_back_from_lanes", matrices_come_back_from_lanes),
            unit_case("lanes/unit/lanes_compare_one_by_one", lanes_compare_one_by_one),
        ]
    }

    fn matrices_come_back_from_lanes() {
        let stack: Vec<f64> = (0..5 * 6).map(f64::from).collect();
        let mut lanes = vec![Lanes::<f64, 4>::splat(0.0); 6];
        interleaved(&stack, 6, 2, &mut lanes);
        assert_eq!(lanes[1].0, [13.0, 19.0, 25.0, 25.0]);
        let mut back = vec![0.0; 18];
        separated(&lanes, &mut back);
        assert_eq!(back, stack[12..]);
    }

    fn lanes_compare_one_by_one() {
        let (x, one) = (Lanes([2.0f32, f32::NAN, 0.5, 1.0]), Lanes::splat(1.0));
        assert_eq!(x.if_greater(one, one, Lanes::splat(0.0)).0, [1.0, 0.0, 0.0, 0.0]);
        assert!(x.any_greater(one) && !Lanes::splat(f32::NAN).any_greater(one));
        assert_eq!(x.minus_product(one, one).0[2], -0.5);
    }
}
