//! AVX-512: 16 lanes; 14 x 2 accumulators, 2 vectors of queries and 1 broadcast fill 31 of the 32 registers.

use super::exact::{self, Lanes};
use super::filter::{self, ByteLanes, Rows, State};
use super::{Best, Pass};
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
struct F32x16(__m512);

impl Lanes for F32x16 {
    const COUNT: usize = 16;
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the trait's contract; so for every method here.
        Self(unsafe { _mm512_set1_ps(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn mul_sub(self, a: Self, b: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_fnmadd_ps(a.0, b.0, self.0) })
    }
    #[inline(always)]
    unsafe fn max_number(self, other: Self) -> Self {
        // SAFETY: the trait's contract. `vmaxps` returns its second operand if one is NaN.
        Self(unsafe { _mm512_max_ps(other.0, self.0) })
    }
    #[inline(always)]
    unsafe fn keep_greater(self, best: *mut f32, chunk_of: *mut u32, chunk: u32) {
        // SAFETY: the trait's contract.
        unsafe {
            let greater = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, _mm512_loadu_ps(best));
            _mm512_mask_storeu_ps(best, greater, self.0);
            _mm512_mask_storeu_epi32(chunk_of.cast(), greater, _mm512_set1_epi32(chunk as i32));
        }
    }
}

#[derive(Clone, Copy)]
struct I8x64(__m512i);

impl ByteLanes for I8x64 {
    const COUNT: usize = 16;
    #[inline(always)]
    unsafe fn splat(x: i32) -> Self {
        // SAFETY: the trait's contract; so for every method here.
        Self(unsafe { _mm512_set1_epi32(x) })
    }
    #[inline(always)]
    unsafe fn load(p: *const i32) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_loadu_si512(p.cast()) })
    }
    #[inline(always)]
    unsafe fn add_products(self, row: Self, query: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_dpbusd_epi32(self.0, row.0, query.0) })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the trait's contract.
        Self(unsafe { _mm512_max_epi32(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn reached(self, limit: *const i32) -> u32 {
        // SAFETY: the trait's contract.
        unsafe { u32::from(_mm512_cmpge_epi32_mask(self.0, _mm512_loadu_si512(limit.cast()))) }
    }
    #[inline(always)]
    unsafe fn evaluate(state: &mut State<'_>, i: usize, start: usize, end: usize) {
        // SAFETY: every CPU with AVX-512 has FMA.
        unsafe { super::avx2::evaluate(state, i, start, end) }
    }
}

/// [`exact::best_rows`].
///
/// # Safety
/// The CPU must have AVX-512F and FMA.
#[target_feature(enable = "avx512f,fma")]
pub(super) unsafe fn best_rows(pass: &Pass<'_>) -> Vec<Best> {
    // SAFETY: this function's contract.
    unsafe { exact::best_rows::<F32x16, 14, 2>(pass) }
}

/// [`filter::filtered`].
///
/// # Safety
/// The CPU must have AVX-512F, AVX-512 VNNI and FMA.
#[target_feature(enable = "avx512f,avx512vnni,fma")]
pub(super) unsafe fn filtered<'a>(rows: &Rows, pass: &'a Pass<'a>, may_give_up: bool) -> State<'a> {
    // SAFETY: this function's contract.
    unsafe { filter::filtered::<I8x64, 14, 2>(rows, pass, may_give_up) }
}
