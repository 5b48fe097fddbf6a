//! AVX-512 (14 x 32 tile: 28 sums, 2 vectors of columns, 1 broadcast of 32 registers) and AVX2 with FMA (6 x 16 tile:
//! 12 sums, 2 vectors of columns, 1 broadcast of 16 registers).

use super::simd::{Kernel, Lane, Place, Simd, multiply_adds, tile};
#[allow(clippy::wildcard_imports, reason = "some sixty instructions, all with their own prefix")]
use std::arch::x86_64::*;
use std::ops::{Add, Mul, Sub};

/// The token for AVX-512; the field keeps others from making one.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

/// The token for AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

/// Runs `kernel` with AVX-512.
///
/// # Safety
/// The CPU must have the features named here.
#[target_feature(enable = "avx512f,avx512dq,avx2,fma")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512(()))
}

/// Runs `kernel` with AVX2 and FMA.
///
/// # Safety
/// The CPU must have the features named here.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

#[derive(Clone, Copy)]
pub(crate) struct F32x16(__m512);

#[derive(Clone, Copy)]
pub(crate) struct F32x8(__m256);

/// Instructions on registers only.
macro_rules! on_registers {
    ($value:expr) => {
        // SAFETY: a vector comes from a token and a token from `run_avx512` or `run_avx2`, so the CPU has
        // the instruction; it touches no memory.
        unsafe { $value }
    };
}

macro_rules! operator {
    ($vector:ident, $trait:ident, $method:ident, $instruction:ident) => {
        impl $trait for $vector {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self(on_registers!($instruction(self.0, other.0)))
            }
        }
    };
}
operator!(F32x16, Add, add, _mm512_add_ps);
operator!(F32x16, Sub, sub, _mm512_sub_ps);
operator!(F32x16, Mul, mul, _mm512_mul_ps);
operator!(F32x8, Add, add, _mm256_add_ps);
operator!(F32x8, Sub, sub, _mm256_sub_ps);
operator!(F32x8, Mul, mul, _mm256_mul_ps);

impl Lane for F32x16 {
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(on_registers!(_mm512_fmadd_ps(self.0, factor.0, addend.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(on_registers!(_mm512_max_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(on_registers!(_mm512_min_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(on_registers!(_mm512_abs_ps(self.0)))
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(on_registers!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)))
    }
    #[inline(always)]
    fn times_power_of_two(self, exponent: Self) -> Self {
        Self(on_registers!(_mm512_scalef_ps(self.0, exponent.0)))
    }
    #[inline(always)]
    fn if_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        Self(on_registers!({
            let less = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(self.0, bound.0);
            _mm512_mask_blend_ps(less, otherwise.0, then.0)
        }))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        on_registers!(_mm512_reduce_add_ps(self.0))
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        on_registers!(_mm512_reduce_max_ps(self.0))
    }
}

impl Lane for F32x8 {
    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(on_registers!(_mm256_fmadd_ps(self.0, factor.0, addend.0)))
    }
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        Self(on_registers!(_mm256_max_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        Self(on_registers!(_mm256_min_ps(self.0, other.0)))
    }
    #[inline(always)]
    fn abs(self) -> Self {
        Self(on_registers!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), self.0)))
    }
    #[inline(always)]
    fn round(self) -> Self {
        Self(on_registers!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)))
    }
    #[inline(always)]
    fn times_power_of_two(self, exponent: Self) -> Self {
        Self(on_registers!({
            let exponent = _mm256_max_ps(_mm256_set1_ps(-127.0), exponent.0);
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
            _mm256_mul_ps(self.0, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased)))
        }))
    }
    #[inline(always)]
    fn if_less(self, bound: Self, then: Self, otherwise: Self) -> Self {
        Self(on_registers!({
            let less = _mm256_cmp_ps::<_CMP_LT_OQ>(self.0, bound.0);
            _mm256_blendv_ps(otherwise.0, then.0, less)
        }))
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        on_registers!({
            let x = _mm_add_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
        })
    }
    #[inline(always)]
    fn largest(self) -> f32 {
        on_registers!({
            let x = _mm_max_ps(_mm256_castps256_ps128(self.0), _mm256_extractf128_ps::<1>(self.0));
            let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
            _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
        })
    }
}

impl Simd for Avx512 {
    type F = F32x16;
    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;
    const TILE_COLUMNS: usize = 32;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x16 {
        F32x16(on_registers!(_mm512_set1_ps(x)))
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F32x16 {
        // SAFETY: the token, and the caller vouches for `p`.
        F32x16(unsafe { _mm512_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: F32x16) {
        // SAFETY: the token, and the caller vouches for `p`.
        unsafe { _mm512_storeu_ps(p, x.0) }
    }
    #[inline(always)]
    #[expect(
        clippy::needless_range_loop,
        reason = "index loops with constant bounds are what becomes registers"
    )]
    unsafe fn transpose(self, rows: &[*const f32], count: usize, floor: f32, dst: *mut f32, stride: usize) {
        // SAFETY: the token; masked lanes are not touched, and the caller vouches for the rest.
        unsafe {
            let floor = _mm512_set1_ps(floor);
            let valid = if count >= 16 { 0xFFFF } else { (1u16 << count) - 1 };
            let mut block = [_mm512_setzero_ps(); 16];
            for r in 0..16 {
                if !rows[r].is_null() {
                    block[r] = _mm512_max_ps(floor, _mm512_maskz_loadu_ps(valid, rows[r]));
                }
            }
            let columns = transposed_16(block);
            for g in 0..count.min(16) {
                _mm512_storeu_ps(dst.add(g * stride), columns[g]);
            }
        }
    }
    #[inline(always)]
    unsafe fn tile_packed(self, depth: usize, a: *const f32, b: *const f32, out: Place) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 14, 2, 1, 14>(self, depth, a, b, out) }
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
        unsafe { tile::<Self, 14, 2, STRIDE, 1>(self, depth, a, b, out) }
    }
    #[inline(always)]
    fn multiply_adds(self, iterations: usize) -> (f64, f32) {
        multiply_adds::<Self, 24>(self, iterations)
    }
}

/// A 16 x 16 block turned over: pairs of rows, then pairs of pairs within each 128 bits, then the 128-bit quarters.
#[inline(always)]
fn transposed_16(rows: [__m512; 16]) -> [__m512; 16] {
    on_registers!({
        let (mut pairs, mut fours, mut out) = (rows, rows, rows);
        for i in 0..8 {
            pairs[2 * i] = _mm512_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
            pairs[2 * i + 1] = _mm512_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
        }
        for i in (0..16).step_by(4) {
            fours[i] = _mm512_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
            fours[i + 1] = _mm512_shuffle_ps::<0xEE>(pairs[i], pairs[i + 2]);
            fours[i + 2] = _mm512_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
            fours[i + 3] = _mm512_shuffle_ps::<0xEE>(pairs[i + 1], pairs[i + 3]);
        }
        // fours[i + j] holds, in each 128-bit quarter q, column 4 q + j of rows i..i + 4.
        for j in 0..4 {
            let even_top = _mm512_shuffle_f32x4::<0x88>(fours[j], fours[4 + j]);
            let even_low = _mm512_shuffle_f32x4::<0x88>(fours[8 + j], fours[12 + j]);
            let odd_top = _mm512_shuffle_f32x4::<0xDD>(fours[j], fours[4 + j]);
            let odd_low = _mm512_shuffle_f32x4::<0xDD>(fours[8 + j], fours[12 + j]);
            out[j] = _mm512_shuffle_f32x4::<0x88>(even_top, even_low);
            out[8 + j] = _mm512_shuffle_f32x4::<0xDD>(even_top, even_low);
            out[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd_top, odd_low);
            out[12 + j] = _mm512_shuffle_f32x4::<0xDD>(odd_top, odd_low);
        }
        out
    })
}

impl Simd for Avx2 {
    type F = F32x8;
    const LANES: usize = 8;
    const TILE_ROWS: usize = 6;
    const TILE_COLUMNS: usize = 16;

    #[inline(always)]
    fn splat(self, x: f32) -> F32x8 {
        F32x8(on_registers!(_mm256_set1_ps(x)))
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F32x8 {
        // SAFETY: the token, and the caller vouches for `p`.
        F32x8(unsafe { _mm256_loadu_ps(p) })
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, x: F32x8) {
        // SAFETY: the token, and the caller vouches for `p`.
        unsafe { _mm256_storeu_ps(p, x.0) }
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
            let mut block = [_mm256_setzero_ps(); 8];
            for r in 0..8 {
                if !rows[r].is_null() {
                    block[r] = floor.max(self.load_part(rows[r], count, 0.0)).0;
                }
            }
            let columns = transposed_8(block);
            for g in 0..count.min(8) {
                _mm256_storeu_ps(dst.add(g * stride), columns[g]);
            }
        }
    }
    #[inline(always)]
    unsafe fn tile_packed(self, depth: usize, a: *const f32, b: *const f32, out: Place) {
        // SAFETY: the caller's promise.
        unsafe { tile::<Self, 6, 2, 1, 6>(self, depth, a, b, out) }
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
        unsafe { tile::<Self, 6, 2, STRIDE, 1>(self, depth, a, b, out) }
    }
    #[inline(always)]
    fn multiply_adds(self, iterations: usize) -> (f64, f32) {
        multiply_adds::<Self, 12>(self, iterations)
    }
}

/// An 8 x 8 block turned over, in the same three steps as [`transposed_16`].
#[inline(always)]
fn transposed_8(rows: [__m256; 8]) -> [__m256; 8] {
    on_registers!({
        let (mut pairs, mut fours, mut out) = (rows, rows, rows);
        for i in 0..4 {
            pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
            pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
        }
        for i in (0..8).step_by(4) {
            fours[i] = _mm256_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
            fours[i + 1] = _mm256_shuffle_ps::<0xEE>(pairs[i], pairs[i + 2]);
            fours[i + 2] = _mm256_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
            fours[i + 3] = _mm256_shuffle_ps::<0xEE>(pairs[i + 1], pairs[i + 3]);
        }
        for j in 0..4 {
            out[j] = _mm256_permute2f128_ps::<0x20>(fours[j], fours[4 + j]);
            out[4 + j] = _mm256_permute2f128_ps::<0x31>(fours[j], fours[4 + j]);
        }
        out
    })
}
