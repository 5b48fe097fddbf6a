//! The form for any CPU: plain Rust on four values, which compilers turn into whatever vectors there are.

use super::simd::{Lane, Place, Simd, multiply_adds, tile};
use std::ops::{Add, Mul, Sub};

/// The token. Plain code runs everywhere, so anybody may make one.
#[derive(Clone, Copy)]
pub(crate) struct Plain;

#[derive(Clone, Copy)]
pub(crate) struct F32x4([f32; 4]);

macro_rules! each {
    (|$i:ident| $value:expr) => {{
        let mut out = [0.0f32; 4];
        for $i in 0..4 {
            out[$i] = $value;
        }
        F32x4(out)
    }};
}

impl Add for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        each!(|i| self.0[i] + other.0[i])
    }
}

impl Sub for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        each!(|i| self.0[i] - other.0[i])
    }
}

impl Mul for F32x4 {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        each!(|i| self.0[i] * other.0[i])
    }
}

impl Lane for F32x4 {
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        // `f32::mul_add` is a library call on a CPU that is not known to have the instruction.
        self * factor + addend
    }
    #[inline(always)]
    fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        each!(|i| self.0[i].mul_add(factor.0[i], addend.0[i]))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        each!(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] })
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        each!(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] })
    }
    #[inline(always)]
    fn abs(self) -> Self {
        each!(|i| self.0[i].abs())
    }
    #[inline(always)]
    fn round(self) -> Self {
        // Adding 1.5 * 2^23 leaves no bits below 1; without it, rounding is a library call on SSE2.
        const SHIFT: f32 = 12_582_912.0;
        each!(|i| (self.0[i] + SHIFT) - SHIFT)
    }
    #[inline(always)]
    fn times_power_of_two(self, exponent: Self) -> Self {
        let e = exponent.max(each!(|_i| -127.0));
        // `e` is a whole number from -127 to 127, or NaN; the cast makes 0 of that and `self` is NaN already.
        each!(|i| self.0[i] * f32::from_bits(((e.0[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn if_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        each!(|i| if self.0[i] < bound.0[i] { then.0[i] } else { otherwise.0[i] })
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        (self.0[0] + self.0[2]) + (self.0[1] + self.0[3])
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        self.0[0].max(self.0[1]).max(self.0[2].max(self.0[3]))
    }
}

impl Simd for Plain {
    type F = F32x4;
    const LANES: usize = 4;
    const TILE_ROWS: usize = 4;
    const TILE_COLUMNS: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x4 {
        F32x4([x; 4])
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F32x4 {
        // SAFETY: the caller vouches for four values.
        F32x4(unsafe { p.cast::<[f32; 4]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: F32x4) {
        // SAFETY: the caller vouches for four values.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(x.0) };
    }
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const f32], count: usize, floor: f32, dst: *mut f32, stride: usize) {
        for (r, row) in rows.iter().enumerate().take(4) {
            for g in 0..count {
                // SAFETY: the caller vouches for the rows and for `dst`.
                unsafe {
                    let x = if row.is_null() { 0.0 } else { *row.add(g) };
                    *dst.add(g * stride + r) = if x < floor { floor } else { x };
                }
            }
        }
    }
    #[inline(always)]
    unsafe fn tile_packed(self, depth: usize, a: *const f32, b: *const f32, out: Place) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 4, 2, 1, 4>(self, depth, a, b, out) }
    }
    #[inline(always)]
    unsafe fn tile_strided<const STRIDE: usize>(
        self,
        depth: usize,
        a: *const f32,
        b: *const f32,
        out: Place,
    ) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 4, 2, STRIDE, 1>(self, depth, a, b, out) }
    }
    #[inline(always)]
    fn multiply_adds(self, iterations: usize) -> (f64, f32) {
        multiply_adds::<Self, 8>(self, iterations)
    }
}
