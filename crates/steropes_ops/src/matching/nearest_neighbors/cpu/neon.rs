//! The filter with NEON's dot product: 8 x 3 sums of 4 lanes, 3 vectors of queries and 1 broadcast of 32 registers.

use super::Pass;
use super::filter::{self, ByteLanes, Rows, State};
use std::arch::aarch64::{
    int32x4_t, vaddvq_u32, vandq_u32, vcgeq_s32, vdupq_n_s32, vld1q_s32, vld1q_u32, vmaxq_s32,
};

#[derive(Clone, Copy)]
struct I8x16(int32x4_t);

impl ByteLanes for I8x16 {
    const COUNT: usize = 4;
    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        // SAFETY: the trait's contract; so for every method here.
        Self(unsafe { vdupq_n_s32(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { vld1q_s32(p) })
    }
    #[inline(always)]
    unsafe fn add_products(self, row: Self, query: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { dot(self.0, row.0, query.0) })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { vmaxq_s32(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn reached(self, limit: *const i32) -> u32 {
        // SAFETY: the trait's contract.
        unsafe {
            let reached = vcgeq_s32(self.0, vld1q_s32(limit));
            const BITS: [u32; 4] = [1, 2, 4, 8];
            vaddvq_u32(vandq_u32(reached, vld1q_u32(BITS.as_ptr())))
        }
    }
    #[inline(always)]
    unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize) {
        // SAFETY: the trait's contract.
        unsafe { evaluate(state, i, start, end) }
    }
}

/// SDOT; its intrinsic is not stable.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn dot(sum: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: one instruction on registers, which the function's features allow.
    unsafe {
        std::arch::asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

/// [`filter::evaluate`], out of the way of the kernel's registers.
///
/// # Safety
/// The CPU must have NEON.
#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize) {
    // SAFETY: this function's contract.
    unsafe { filter::evaluate(state, i, start, end) }
}

/// [`filter::filtered`].
///
/// # Safety
/// The CPU must have NEON with the dot product extension.
#[target_feature(enable = "neon,dotprod")]
pub(super) unsafe fn filtered<'a>(rows: &Rows, pass: &'a Pass<'a>, may_give_up: bool) -> State<'a> {
    // SAFETY: this function's contract.
    unsafe { filter::filtered::<I8x16, 8, 3>(rows, pass, may_give_up) }
}
