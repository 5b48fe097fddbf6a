//! What a kernel may use of a vector, and the register tile that all products share.
//!
//! Everything here and everything that a kernel calls with a token is `#[inline(always)]`: the code takes on the
//! target features of the one function that [`super::Isa::run`] enters. A closure or an ordinary function in
//! between would be compiled without them and call every instruction as a function.

use std::ops::{Add, Mul, Sub};

/// More rows than any tile has.
pub(crate) const MAX_TILE_ROWS: usize = 16;

/// A vector of f32. Only a token ([`Simd`]) makes one, so holding one proves that the CPU can work with it.
pub(crate) trait Lane: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// `self * factor + addend`, rounded once where the hardware can.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// `self * factor + addend`, rounded once everywhere, for results that must not depend on the instruction set.
    #[inline(always)]
    fn fused_mul_add(self, factor: Self, addend: Self) -> Self {
        self.mul_add(factor, addend)
    }
    /// The larger of each pair. A NaN in `other` comes through.
    fn max(self, other: Self) -> Self;
    /// The smaller of each pair. A NaN in `other` comes through.
    fn min(self, other: Self) -> Self;
    /// Magnitudes.
    fn abs(self) -> Self;
    /// The nearest whole numbers, for magnitudes below 2^22.
    fn round(self) -> Self;
    /// `self * 2^exponent` for whole exponents up to 127; 0 or a denormal below -126.
    fn times_power_of_two(self, exponent: Self) -> Self;
    /// `then` where `self < bound`, `otherwise` elsewhere and where one is NaN.
    fn if_less(self, bound: Self, then: Self, otherwise: Self) -> Self;
    /// The sum of the lanes, in a fixed order.
    fn sum(self) -> f32;
    /// The largest lane.
    fn largest(self) -> f32;
}

/// A token that proves that an instruction set may be used.
pub(crate) trait Simd: Copy {
    /// Its vector.
    type F: Lane;
    /// f32 values in a vector, at most 16.
    const LANES: usize;
    /// Rows of the register tile, at most [`MAX_TILE_ROWS`].
    const TILE_ROWS: usize;
    /// Columns of the register tile, a multiple of [`Simd::LANES`].
    const TILE_COLUMNS: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;

    /// The values at `p`.
    ///
    /// # Safety
    /// `p` must be readable for a vector.
    unsafe fn load(self, p: *const f32) -> Self::F;

    /// Writes a vector to `p`.
    ///
    /// # Safety
    /// `p` must be writable for a vector.
    unsafe fn store(self, p: *mut f32, x: Self::F);

    /// The first `count` values at `p`, at most a vector, then `fill`. As fast as [`Simd::load`] for a whole vector.
    ///
    /// # Safety
    /// `p` must be readable for `count` values.
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, count: usize, fill: f32) -> Self::F {
        // SAFETY: the caller vouches for `p`; a vector has at most 16 lanes.
        unsafe {
            if count >= Self::LANES {
                return self.load(p);
            }
            let mut lanes = [fill; 16];
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), count);
            self.load(lanes.as_ptr())
        }
    }

    /// Writes the first `count` lanes, at most all, to `p`. As fast as [`Simd::store`] for a whole vector.
    ///
    /// # Safety
    /// `p` must be writable for `count` values.
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, count: usize, x: Self::F) {
        // SAFETY: a vector has at most 16 lanes; the caller vouches for `p`.
        unsafe {
            if count >= Self::LANES {
                return self.store(p, x);
            }
            let mut lanes = [0.0; 16];
            self.store(lanes.as_mut_ptr(), x);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count);
        }
    }

    /// Transposes [`Simd::LANES`] rows of `count` (at most a vector) values: `dst[g * stride ..]` receives value `g` of
    /// every row. Values below `floor` become `floor`; a null row gives zeros.
    ///
    /// # Safety
    /// `rows` must hold a vector's number of pointers, each null or readable for `count` values; `dst` must be
    /// writable for `(count - 1) * stride` values and a vector.
    unsafe fn transpose(self, rows: &[*const f32], count: usize, floor: f32, dst: *mut f32, stride: usize);

    /// The register tile for rows packed as `[depth][TILE_ROWS]` and columns packed as `[depth][TILE_COLUMNS]`.
    ///
    /// # Safety
    /// As [`tile`].
    unsafe fn tile_packed(self, depth: usize, a: *const f32, b: *const f32, out: Place);

    /// The register tile for rows that lie `STRIDE` values apart, each contiguous, and packed columns.
    ///
    /// # Safety
    /// As [`tile`].
    unsafe fn tile_strided<const STRIDE: usize>(self, depth: usize, a: *const f32, b: *const f32, out: Place);

    /// `iterations` of as many independent multiply-adds as hide their latency, on registers alone. Returns
    /// how many floating-point operations that were and a sum that keeps them from being removed.
    fn multiply_adds(self, iterations: usize) -> (f64, f32);
}

/// Where a tile goes.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// Its first value.
    pub(crate) start: *mut f32,
    /// Values from row to row.
    pub(crate) stride: usize,
    /// Whether the tile is added to what is there.
    pub(crate) accumulate: bool,
}

/// Code that is written once and compiled for each instruction set.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// The work. The implementation must be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// The register tile: `out[r][c] (+)= Σ_g a[r * ROW + g * STEP] b[g * columns + c]` for `ROWS` rows and `VECTORS` vectors
/// of columns, all sums in registers.
///
/// Each step of depth loads `VECTORS` vectors and broadcasts `ROWS` values for `ROWS * VECTORS` multiply-adds, so the
/// multipliers are the only limit once both operands are in the inner caches.
///
/// # Safety
/// `a`, `b` and `out` must cover the tile.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "index loops with constant bounds are what becomes registers")]
pub(super) unsafe fn tile<
    S: Simd,
    const ROWS: usize,
    const VECTORS: usize,
    const ROW: usize,
    const STEP: usize,
>(
    s: S,
    depth: usize,
    a: *const f32,
    b: *const f32,
    out: Place,
) {
    let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
    for g in 0..depth {
        let mut columns = [s.splat(0.0); VECTORS];
        for v in 0..VECTORS {
            // SAFETY: the caller vouches for `b`.
            columns[v] = unsafe { s.load(b.add((g * VECTORS + v) * S::LANES)) };
        }
        for r in 0..ROWS {
            // SAFETY: the caller vouches for `a`.
            let x = s.splat(unsafe { *a.add(r * ROW + g * STEP) });
            for v in 0..VECTORS {
                sums[r][v] = x.mul_add(columns[v], sums[r][v]);
            }
        }
    }
    for r in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: the caller vouches for `out`.
            unsafe {
                let p = out.start.add(r * out.stride + v * S::LANES);
                let sum = if out.accumulate { s.load(p) + sums[r][v] } else { sums[r][v] };
                s.store(p, sum);
            }
        }
    }
}

/// The loop behind [`Simd::multiply_adds`]; `CHAINS` sums must fit the registers beside one operand.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "index loops with constant bounds are what becomes registers")]
pub(super) fn multiply_adds<S: Simd, const CHAINS: usize>(s: S, iterations: usize) -> (f64, f32) {
    let x = s.splat(std::hint::black_box(1e-3));
    // Different starts, so that no two chains are the same sum.
    let start = s.splat(std::hint::black_box(1.0));
    let mut sums = [start; CHAINS];
    for c in 1..CHAINS {
        sums[c] = sums[c - 1] + start;
    }
    for _ in 0..iterations {
        for c in 0..CHAINS {
            sums[c] = x.mul_add(x, sums[c]);
        }
    }
    let mut total = s.splat(0.0);
    for c in 0..CHAINS {
        total = total + sums[c];
    }
    ((iterations * CHAINS * S::LANES * 2) as f64, total.sum())
}
