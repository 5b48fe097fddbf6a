//! The filter with AVX2: 5 x 2 sums of 8 lanes, 2 vectors of queries, 1 broadcast and 2 for the products of 16 registers.

use super::Pass;
use super::filter::{self, ByteLanes, Rows, State};
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_castsi256_ps, _mm256_cmpgt_epi32, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_epi32, _mm256_movemask_ps, _mm256_set1_epi16,
    _mm256_set1_epi32,
};

#[derive(Clone, Copy)]
struct I8x32(__m256i);

impl ByteLanes for I8x32 {
    const COUNT: usize = 8;
    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        // SAFETY: the trait's contract; so for every method here.
        Self(unsafe { _mm256_set1_epi32(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_loadu_si256(p.cast()) })
    }
    #[inline(always)]
    unsafe fn add_products(self, row: Self, query: Self) -> Self {
        // SAFETY: the trait's contract. Pairs reach 2 * 127 * 127, so `vpmaddubsw` does not saturate.
        unsafe {
            let pairs = _mm256_maddubs_epi16(row.0, query.0);
            Self(_mm256_add_epi32(self.0, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))))
        }
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_max_epi32(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn reached(self, limit: *const i32) -> u32 {
        // SAFETY: the trait's contract.
        unsafe {
            let below = _mm256_cmpgt_epi32(_mm256_loadu_si256(limit.cast()), self.0);
            !_mm256_movemask_ps(_mm256_castsi256_ps(below)) as u32 & 0xff
        }
    }
    #[inline(always)]
    unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize) {
        // SAFETY: the trait's contract.
        unsafe { evaluate(state, i, start, end) }
    }
}

/// [`filter::evaluate`] with FMA.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
pub(super) unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize) {
    // SAFETY: this function's contract.
    unsafe { filter::evaluate(state, i, start, end) }
}

/// [`filter::filtered`].
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn filtered<'a>(rows: &Rows, pass: &'a Pass<'a>, may_give_up: bool) -> State<'a> {
    // SAFETY: this function's contract.
    unsafe { filter::filtered::<I8x32, 5, 2>(rows, pass, may_give_up) }
}
