//! The filter with AVX-512 VNNI: 14 x 2 sums of 16 lanes, 2 vectors of queries and 1 broadcast of 32 registers.

use super::Pass;
use super::filter::{self, ByteLanes, Rows, State};
use std::arch::x86_64::{
    __m512i, _mm512_cmpge_epi32_mask, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_max_epi32,
    _mm512_set1_epi32,
};

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

/// [`filter::filtered`].
///
/// # Safety
/// The CPU must have AVX-512F, AVX-512 VNNI and FMA.
#[target_feature(enable = "avx512f,avx512vnni,fma")]
pub(super) unsafe fn filtered<'a>(rows: &Rows, pass: &'a Pass<'a>, may_give_up: bool) -> State<'a> {
    // SAFETY: this function's contract.
    unsafe { filter::filtered::<I8x64, 14, 2>(rows, pass, may_give_up) }
}
