//! Products of bf16 by instructions that multiply pairs of them.
//!
//! A group of 32 bits holds the values `2g` (lower half) and `2g + 1` of the depth. Products of two bf16 are exact in f32; sums are
//! f32. Without such an instruction the weights are widened and everything is computed in f32 ([`super::product`]).
//!
//! | unit | rows at a time | one instruction |
//! |---|---|---|
//! | AMX | 32 | 16 x 16 sums of 16 pairs each, in tile registers |
//! | AVX-512 BF16 | 14 | 16 sums of a pair |

#![cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no other CPU has a unit yet"))]

#[cfg(target_arch = "x86_64")]
use super::pack::interleave;
use super::pack::{AlignedVec, RowSource};
use super::simd::Simd;

/// Depth is padded with zeros to a multiple of this: what one AMX instruction sums.
pub(crate) const DEPTH_STEP: usize = 32;

/// Pairs of a padded depth, one step at least.
pub(crate) fn groups(depth: usize) -> usize {
    depth.max(1).next_multiple_of(DEPTH_STEP) / 2
}

/// An instruction set that multiplies pairs of bf16. A value exists only for what was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PairUnit(Unit);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl PairUnit {
    /// All that this CPU has beside AVX-512, the best first.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn available() -> Vec<Self> {
        let mut found = Vec::new();
        if is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw") {
            if x86::amx_is_allowed() {
                found.push(Self(Unit::Amx));
            }
            found.push(Self(Unit::Avx512));
        }
        found
    }

    /// A name for reports.
    pub(super) fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => "amx",
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => "avx512bf16",
        }
    }

    /// Rows that are multiplied together.
    pub(crate) fn tile_rows(self) -> usize {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => 32,
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => 14,
        }
    }

    /// Rows `first .. first + rows` of `source`, rounded to bf16 and laid out for [`PairUnit::block_times_panel`].
    #[inline(always)]
    pub(crate) fn pack_rows<'m, S: Simd>(
        self,
        s: S,
        source: &dyn RowSource,
        first: usize,
        rows: usize,
        memory: &'m mut PairMemory,
    ) -> PackedPairs<'m> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => {
                let stride = round_rows(source, first, rows, 32, &mut memory.rounded);
                PackedPairs { values: memory.rounded.as_slice(), stride }
            }
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => {
                assert_eq!(S::TILE_ROWS, 14, "the unit belongs to AVX-512");
                let stride = round_rows(source, first, rows, 14, &mut memory.rounded);
                let groups = groups(source.segments() * source.segment_len());
                let panels = rows.div_ceil(S::TILE_ROWS);
                let turned = memory.turned.reserve_len(panels * S::TILE_ROWS * groups + 16);
                for panel in 0..panels {
                    let mut starts = [std::ptr::null(); super::simd::MAX_TILE_ROWS];
                    for (r, start) in starts.iter_mut().enumerate().take(S::TILE_ROWS) {
                        *start = memory.rounded.as_slice()[(panel * S::TILE_ROWS + r) * stride..].as_ptr();
                    }
                    // SAFETY: every row has `groups` groups, and there is room for a panel and a vector behind it. The
                    // bits of a pair pass as those of an f32 would: nothing is below the floor.
                    unsafe {
                        let out = turned.as_mut_ptr().add(panel * groups * S::TILE_ROWS);
                        interleave(s, &starts, groups, f32::NEG_INFINITY, out);
                    }
                }
                PackedPairs { values: turned, stride: groups }
            }
        }
    }

    /// All packed rows against one panel of 32 columns: `sums` becomes `[rows][32]`, for `rows` rounded up to whole tiles.
    #[inline(always)]
    pub(crate) fn block_times_panel(
        self,
        rows: usize,
        groups: usize,
        packed: &PackedPairs<'_>,
        panel: &[f32],
        sums: &mut [f32],
    ) {
        let tiles = rows.div_ceil(self.tile_rows());
        assert!(packed.values.len() >= tiles * self.tile_rows() * packed.stride, "all packed rows");
        assert!(panel.len() >= groups * 32, "a whole panel");
        assert!(sums.len() >= tiles * self.tile_rows() * 32, "room for the sums");
        match self.0 {
            // SAFETY: the lengths were checked, and a unit exists only if the CPU has it.
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => unsafe { x86::amx_block(tiles, groups, packed, panel.as_ptr(), sums.as_mut_ptr()) },
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => {
                for tile in 0..tiles {
                    // SAFETY: as above.
                    unsafe {
                        let a = packed.values.as_ptr().add(tile * 14 * groups);
                        x86::tile_14_x_32(groups, a, panel.as_ptr(), sums.as_mut_ptr().add(tile * 14 * 32));
                    }
                }
            }
        }
    }
}

/// Memory for packed rows that a thread keeps.
#[derive(Default)]
pub(crate) struct PairMemory {
    rounded: AlignedVec,
    turned: AlignedVec,
}

/// Rows of pairs, as their unit wants them. The bits of a pair are held as those of an f32.
pub(crate) struct PackedPairs<'a> {
    values: &'a [f32],
    /// Groups from row to row, where rows lie one behind the other.
    stride: usize,
}

/// Rows as bf16 one behind the other, zeros behind the depth and, up to a multiple of `multiple`, anything for further rows.
/// Returns the groups from row to row, which are no power of two: rows would share the sets of a cache.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn round_rows(
    source: &dyn RowSource,
    first: usize,
    rows: usize,
    multiple: usize,
    memory: &mut AlignedVec,
) -> usize {
    let (segments, len) = (source.segments(), source.segment_len());
    let groups = groups(segments * len);
    let stride = groups + 16;
    let out = memory.reserve_len(rows.next_multiple_of(multiple) * stride);
    for (r, row) in out.chunks_exact_mut(stride).enumerate().take(rows) {
        let halves: &mut [u16] = bytemuck::cast_slice_mut(row);
        for segment in 0..segments {
            let to = &mut halves[segment * len..][..len];
            match source.segment(first + r, segment) {
                // SAFETY: a unit exists only if the CPU has the instruction.
                Some(values) => unsafe { x86::round(values, source.floor(), to) },
                None => to.fill(0),
            }
        }
        halves[segments * len..2 * groups].fill(0);
    }
    stride
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::PackedPairs;
    #[allow(clippy::wildcard_imports, reason = "a dozen instructions, all with their own prefix")]
    use std::arch::x86_64::*;

    /// Whether the CPU has AMX for bf16 and the system lets this process use its registers.
    pub(super) fn amx_is_allowed() -> bool {
        // SAFETY: every x86-64 CPU has CPUID.
        let leaf = __cpuid_count(7, 0);
        let has = |bit: u32| leaf.edx >> bit & 1 == 1;
        has(22) && has(24) && tile_registers_are_allowed()
    }

    /// Linux saves the 8 KB of tile registers only for processes that ask.
    #[cfg(target_os = "linux")]
    fn tile_registers_are_allowed() -> bool {
        const REQUEST_PERMISSION: libc::c_long = 0x1023;
        const TILE_DATA: libc::c_long = 18;
        // SAFETY: the call takes two numbers and changes nothing but this process's permission.
        unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
    }

    #[cfg(not(target_os = "linux"))]
    fn tile_registers_are_allowed() -> bool {
        false
    }

    /// Rounds to the nearest bf16; values below `floor` count as `floor`.
    ///
    /// # Safety
    /// The CPU must have the features named here.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round(values: &[f32], floor: f32, to: &mut [u16]) {
        let floor = _mm512_set1_ps(floor);
        let (mut at, len) = (0, values.len().min(to.len()));
        while at < len {
            let left = (len - at).min(32);
            let mask = if left == 32 { u32::MAX } else { (1 << left) - 1 };
            // SAFETY: the mask leaves out what is behind the end.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask as u16, values.as_ptr().add(at));
                let high = _mm512_maskz_loadu_ps((mask >> 16) as u16, values.as_ptr().wrapping_add(at + 16));
                let pairs = _mm512_cvtne2ps_pbh(_mm512_max_ps(floor, high), _mm512_max_ps(floor, low));
                let bits = std::mem::transmute::<__m512bh, __m512i>(pairs);
                _mm512_mask_storeu_epi16(to.as_mut_ptr().add(at).cast(), mask, bits);
            }
            at += left;
        }
    }

    /// `out[r][c] = Σ_g a[g][r] · b[g][c]`, 14 rows and 32 columns, all sums in registers.
    ///
    /// # Safety
    /// The CPU must have the features named here; the pointers must cover the tile.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[expect(
        clippy::needless_range_loop,
        reason = "index loops with constant bounds are what becomes registers"
    )]
    pub(super) unsafe fn tile_14_x_32(groups: usize, a: *const f32, b: *const f32, out: *mut f32) {
        let mut sums = [[_mm512_setzero_ps(); 2]; 14];
        // SAFETY: the caller vouches for the pointers; all 512-bit types are bits.
        unsafe {
            let pair = |x: __m512| std::mem::transmute::<__m512, __m512bh>(x);
            for g in 0..groups {
                let columns = [0, 1].map(|v| pair(_mm512_loadu_ps(b.add(g * 32 + v * 16))));
                for r in 0..14 {
                    let x = pair(_mm512_set1_ps(*a.add(g * 14 + r)));
                    for v in 0..2 {
                        sums[r][v] = _mm512_dpbf16_ps(sums[r][v], x, columns[v]);
                    }
                }
            }
            for r in 0..14 {
                for v in 0..2 {
                    _mm512_storeu_ps(out.add(r * 32 + v * 16), sums[r][v]);
                }
            }
        }
    }

    /// What the tile registers hold: 16 rows of 64 bytes each.
    #[repr(C, align(64))]
    struct TileConfig {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    static CONFIG: TileConfig = TileConfig {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// `tiles` times 32 rows against a panel of 32 columns. Four tile registers hold the sums, two the rows, two the columns:
    /// each load serves two multiplications.
    ///
    /// # Safety
    /// AMX must be allowed, `groups` a multiple of 16 and above 0, and the pointers must cover all tiles.
    pub(super) unsafe fn amx_block(
        tiles: usize,
        groups: usize,
        packed: &PackedPairs<'_>,
        panel: *const f32,
        sums: *mut f32,
    ) {
        let row_bytes = packed.stride * 4;
        // SAFETY: the configuration lives as long as the program.
        unsafe { std::arch::asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack)) };
        for tile in 0..tiles {
            // SAFETY: the caller vouches for the pointers. Nobody else uses tile registers on this thread: they are
            // released below, and a compiler leaves them alone.
            unsafe {
                let a = packed.values.as_ptr().add(tile * 32 * packed.stride);
                std::arch::asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm4, [{upper} + {row}]",
                    "tileloadd tmm6, [{b} + {group}]",
                    "tileloadd tmm7, [{b} + {group} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{lower} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {upper}, 64",
                    "add {lower}, 64",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{out} + {group}], tmm0",
                    "tilestored [{out} + {group} + 64], tmm1",
                    "tilestored [{out} + {group} + 2048], tmm2",
                    "tilestored [{out} + {group} + 2112], tmm3",
                    upper = inout(reg) a => _,
                    lower = inout(reg) a.add(16 * packed.stride) => _,
                    b = inout(reg) panel => _,
                    steps = inout(reg) groups / 16 => _,
                    out = in(reg) sums.add(tile * 32 * 32),
                    row = in(reg) row_bytes,
                    // A group of 32 columns, and a row of 32 sums.
                    group = in(reg) 128usize,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
        // SAFETY: as above. A thread that holds tiles costs the system 8 KB at every switch.
        unsafe { std::arch::asm!("tilerelease", options(nostack)) };
    }
}
