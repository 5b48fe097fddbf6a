//! Arithmetic on one register of f32 values, whatever its width.

use pulp::Simd;
use std::ops::{Add, Mul, Neg, Sub};

/// The values of one register.
pub(super) struct Lanes<S: Simd>(pub(super) S, pub(super) S::f32s);

impl<S: Simd> Clone for Lanes<S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<S: Simd> Copy for Lanes<S> {}

impl<S: Simd> Lanes<S> {
    #[inline(always)]
    pub(super) fn splat(simd: S, value: f32) -> Self {
        Self(simd, simd.splat_f32s(value))
    }

    /// `self * b + c`
    #[inline(always)]
    pub(super) fn fma(self, b: Self, c: Self) -> Self {
        Self(self.0, self.0.mul_add_e_f32s(self.1, b.1, c.1))
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Self {
        Self(self.0, self.0.sqrt_f32s(self.1))
    }

    #[inline(always)]
    pub(super) fn recip(self) -> Self {
        Self(self.0, self.0.div_f32s(self.0.splat_f32s(1.0), self.1))
    }

    #[inline(always)]
    pub(super) fn max(self, b: Self) -> Self {
        Self(self.0, self.0.max_f32s(self.1, b.1))
    }

    #[inline(always)]
    pub(super) fn min(self, b: Self) -> Self {
        Self(self.0, self.0.min_f32s(self.1, b.1))
    }

    /// `yes` where `self <= limit`, else `no`; `no` where `self` is not a number.
    #[inline(always)]
    pub(super) fn if_at_most(self, limit: Self, yes: Self, no: Self) -> Self {
        let mask = self.0.less_than_or_equal_f32s(self.1, limit.1);
        Self(self.0, self.0.select_f32s(mask, yes.1, no.1))
    }
}

impl<S: Simd> Add for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn add(self, b: Self) -> Self {
        Self(self.0, self.0.add_f32s(self.1, b.1))
    }
}

impl<S: Simd> Sub for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn sub(self, b: Self) -> Self {
        Self(self.0, self.0.sub_f32s(self.1, b.1))
    }
}

impl<S: Simd> Mul for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn mul(self, b: Self) -> Self {
        Self(self.0, self.0.mul_f32s(self.1, b.1))
    }
}

impl<S: Simd> Neg for Lanes<S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0, self.0.neg_f32s(self.1))
    }
}

/// `N` running sums: in registers over a few steps, then in f64.
pub(super) struct Sums<S: Simd, const N: usize> {
    near: [Lanes<S>; N],
    far: [f64; N],
    steps: usize,
}

/// Steps before the registers are emptied: keeps the error of the f32 sums near that of one product.
const STEPS: usize = 64;

impl<S: Simd, const N: usize> Sums<S, N> {
    #[inline(always)]
    pub(super) fn new(simd: S) -> Self {
        Self { near: [Lanes::splat(simd, 0.0); N], far: [0.0; N], steps: 0 }
    }

    /// Adds `a * b` to every sum.
    #[inline(always)]
    pub(super) fn add(&mut self, products: [(Lanes<S>, Lanes<S>); N]) {
        for (sum, (a, b)) in self.near.iter_mut().zip(products) {
            *sum = a.fma(b, *sum);
        }
        self.steps += 1;
        if self.steps == STEPS {
            self.empty();
        }
    }

    #[inline(always)]
    fn empty(&mut self) {
        for (near, far) in self.near.iter_mut().zip(&mut self.far) {
            *far += f64::from(near.0.reduce_sum_f32s(near.1));
            *near = Lanes::splat(near.0, 0.0);
        }
        self.steps = 0;
    }

    #[inline(always)]
    pub(super) fn finish(mut self) -> [f64; N] {
        self.empty();
        self.far
    }
}
