//! AVX2 with FMA: 8 lanes; 6 x 2 accumulators, 2 vectors of queries and 1 broadcast of 16 registers.

use super::exact::{self, Lanes};
use super::filter::{self, ByteLanes, Rows, State};
use super::{Best, Pass};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
struct F32x8(__m256);

impl Lanes for F32x8 {
    const COUNT: usize = 8;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the trait's contract; so for every method here.
        Self(unsafe { _mm256_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn mul_sub(self, a: Self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm256_fnmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn max_number(self, other: Self) -> Self {
        // SAFETY: the trait's contract. `vmaxps` returns its second operand if one is NaN.
        Self(unsafe { _mm256_max_ps(other.0, self.0) })
    }
    #[inline(always)]
    unsafe fn keep_greater(self, best: *mut f32, chunk_of: *mut u32, chunk: u32) {
        // SAFETY: the trait's contract.
        unsafe {
            let greater = _mm256_cmp_ps::<_CMP_GT_OQ>(self.0, _mm256_loadu_ps(best));
            _mm256_maskstore_ps(best, _mm256_castps_si256(greater), self.0);
            let chunk = _mm256_set1_epi32(chunk as i32);
            _mm256_maskstore_epi32(chunk_of.cast(), _mm256_castps_si256(greater), chunk);
        }
    }
}

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

/// [`exact::best_rows`].
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn best_rows(pass: &Pass<'_>) -> Vec<Best> {
    // SAFETY: this function's contract.
    unsafe { exact::best_rows::<F32x8, 6, 2>(pass) }
}

/// [`filter::filtered`]. 5 rows, not 6: the products need two more registers.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn filtered<'a>(rows: &Rows, pass: &'a Pass<'a>, may_give_up: bool) -> State<'a> {
    // SAFETY: this function's contract.
    unsafe { filter::filtered::<I8x32, 5, 2>(rows, pass, may_give_up) }
}
