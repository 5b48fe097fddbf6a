//! NEON (8 x 12 tile: 24 sums, 3 vectors of columns, the rest for broadcasts of 32 registers).

use super::simd::{Kernel, Lane, Place, Simd, multiply_adds, tile};
#[expect(clippy::wildcard_imports, reason = "some twenty instructions, all with their own prefix")]
use std::arch::aarch64::*;
use std::ops::{Add, Mul, Sub};

/// The token; the field keeps others from making one.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

/// Runs `kernel` with NEON.
///
/// # Safety
/// The CPU must have it.
#[target_feature(enable = "neon")]
pub(super) unsafe fn run_neon<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Neon(()))
}

#[derive(Clone, Copy)]
pub(crate) struct F32x4(float32x4_t);

/// Instructions on registers only.
macro_rules! on_registers {
    ($value:expr) => {
        // SAFETY: a vector comes from a token and a token from `run_neon`, so the CPU has the instruction; it
        // touches no memory.
        unsafe { $value }
    };
}

macro_rules! operator {
    ($trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for F32x4 {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(on_registers!($instruction(self.0, other.0)))
            }
        }
    };
}
operator!(Add, add, vaddq_f32);
operator!(Sub, sub, vsubq_f32);
operator!(Mul, mul, vmulq_f32);

impl Lane for F32x4 {
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(on_registers!(vfmaq_f32(addend.0, self.0, factor.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(on_registers!(vmaxq_f32(self.0, other.0)))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(on_registers!(vminq_f32(self.0, other.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(on_registers!(vabsq_f32(self.0)))
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(on_registers!(vrndnq_f32(self.0)))
    }
    #[inline(always)]
    fn times_power_of_two(self, exponent: Self) -> Self {
        Self(on_registers!({
            let exponent = vmaxq_f32(exponent.0, vdupq_n_f32(-127.0));
            let biased = vaddq_s32(vcvtq_s32_f32(exponent), vdupq_n_s32(127));
            vmulq_f32(self.0, vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased)))
        }))
    }
    #[inline(always)]
    fn if_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        Self(on_registers!(vbslq_f32(vcltq_f32(self.0, bound.0), then.0, otherwise.0)))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        on_registers!(vaddvq_f32(self.0))
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        on_registers!(vmaxvq_f32(self.0))
    }
}

impl Simd for Neon {
    type F = F32x4;
    const LANES: usize = 4;
    const TILE_ROWS: usize = 8;
    const TILE_COLUMNS: usize = 12;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x4 {
        F32x4(on_registers!(vdupq_n_f32(x)))
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F32x4 {
        // SAFETY: the token, and the caller vouches for `p`.
        F32x4(unsafe { vld1q_f32(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: F32x4) {
        // SAFETY: the token, and the caller vouches for `p`.
        unsafe { vst1q_f32(p, x.0) }
    }
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "index loops with constant bounds are what becomes registers"
    )]
    unsafe fn transpose(self, rows: &[*const f32], count: usize, floor: f32, dst: *mut f32, stride: usize) {
        // SAFETY: the token, and the caller vouches for the rows and for `dst`.
        unsafe {
            let floor = self.splat(floor);
            let mut block = [vdupq_n_f32(0.0); 4];
            for r in 0..4 {
                if !rows[r].is_null() {
                    block[r] = floor.max(self.load_part(rows[r], count, 0.0)).0;
                }
            }
            let columns = transposed_4(block);
            for g in 0..count.min(4) {
                vst1q_f32(dst.add(g * stride), columns[g]);
            }
        }
    }
    #[inline(always)]
    unsafe fn tile_packed(self, depth: usize, a: *const f32, b: *const f32, out: Place) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 8, 3, 1, 8>(self, depth, a, b, out) }
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
        unsafe { tile::<Self, 8, 3, STRIDE, 1>(self, depth, a, b, out) }
    }
    #[inline(always)]
    fn multiply_adds(self, iterations: usize) -> (f64, f32) {
        multiply_adds::<Self, 24>(self, iterations)
    }
}

/// A 4 x 4 block turned over.
#[inline(always)]
fn transposed_4(rows: [float32x4_t; 4]) -> [float32x4_t; 4] {
    on_registers!({
        let (even_top, odd_top) = (vtrn1q_f32(rows[0], rows[1]), vtrn2q_f32(rows[0], rows[1]));
        let (even_low, odd_low) = (vtrn1q_f32(rows[2], rows[3]), vtrn2q_f32(rows[2], rows[3]));
        let joined = |top, low, upper: bool| {
            let (top, low) = (vreinterpretq_f64_f32(top), vreinterpretq_f64_f32(low));
            vreinterpretq_f32_f64(if upper { vtrn2q_f64(top, low) } else { vtrn1q_f64(top, low) })
        };
        [
            joined(even_top, even_low, false),
            joined(odd_top, odd_low, false),
            joined(even_top, even_low, true),
            joined(odd_top, odd_low, true),
        ]
    })
}
