//! Products of bf16 by instructions that multiply pairs of them.
//!
//! A group of 32 bits holds the values `2g` (lower half) and `2g + 1` of the depth. Products of two bf16 are exact in f32; sums are
//! f32. Without such an instruction the weights are widened and everything is computed in f32 ([`super::product`]).
//!
//! | unit | rows at a time | one instruction |
//! |---|---|---|
//! | AMX | 32 | 16 x 16 sums of 16 pairs each, in tile registers |
//! | AVX-512 BF16 | 14 | 16 sums of a pair |

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(unused_variables, dead_code, reason = "a unit is a type without values on other CPUs")
)]

use super::isa::Isa;
use super::pack::{AlignedVec, RowSource};
use rayon::prelude::*;
use std::ops::Range;
#[cfg(target_arch = "x86_64")]
use {
    super::pack::{Matrix, interleave, pack_column_panel},
    super::simd::{Kernel, MAX_TILE_ROWS, Simd},
    std::cell::Cell,
};

/// Depth is padded with zeros to a multiple of this: what one AMX instruction sums.
pub(crate) const DEPTH_STEP: usize = 32;
/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;

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

    /// Rows of a task: more would leave no room for weights in L2. Fewer than the least would read the weights too often for
    /// what is computed with them.
    pub(crate) fn block_rows(self) -> [usize; 2] {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => [192, 384],
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => [98, 196],
        }
    }

    /// All rows of `source`, rounded to bf16 and laid out for [`PairUnit::block_times_panel`], on `threads` threads or one.
    pub(crate) fn pack_rows<'m>(
        self,
        isa: Isa,
        source: &dyn RowSource,
        is_parallel: bool,
        memory: &'m mut AlignedVec,
    ) -> PackedPairs<'m> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Unit::Amx => {
                // No power of two from row to row: rows would share the sets of a cache.
                let stride = groups(source.segments() * source.segment_len()) + 16;
                let tile = 32 * stride;
                let values = memory.reserve_len(source.rows().div_ceil(32) * tile);
                each_chunk(values, tile, is_parallel, |i, out| round_rows(source, i * 32, stride, out));
                PackedPairs { values, tile, row: stride }
            }
            #[cfg(target_arch = "x86_64")]
            Unit::Avx512 => {
                let groups = groups(source.segments() * source.segment_len());
                // The last vector of a panel reaches behind it.
                let tile = 14 * groups + 16;
                let values = memory.reserve_len(source.rows().div_ceil(14) * tile);
                each_chunk(values, tile, is_parallel, |i, out| {
                    isa.run(RoundedPanel { source, first: i * 14, groups, out });
                });
                PackedPairs { values, tile, row: 14 }
            }
        }
    }

    /// The rows of `source` as columns, rounded to bf16: panels `[rows / 32][groups][32]`, with zeros behind the last row.
    pub(crate) fn pack_columns<'m>(
        self,
        isa: Isa,
        source: &dyn RowSource,
        memory: &'m mut AlignedVec,
    ) -> &'m [f32] {
        let (groups, panels) =
            (groups(source.segments() * source.segment_len()), source.rows().div_ceil(COLUMNS));
        let packed = memory.reserve_len(panels * groups * COLUMNS);
        #[cfg(target_arch = "x86_64")]
        for (panel, out) in packed.chunks_exact_mut(groups * COLUMNS).enumerate() {
            isa.run(RoundedColumns { source, first: panel * COLUMNS, groups, out });
        }
        packed
    }

    /// The rows of `source` as depth, rounded to bf16: panels `[columns / 32][groups of rows][32]`, padded with zeros.
    pub(crate) fn pack_depth<'m>(self, source: &dyn RowSource, memory: &'m mut AlignedVec) -> &'m [f32] {
        let (rows, columns) = (source.rows(), source.segment_len());
        assert_eq!(source.segments(), 1, "a row is one segment");
        let panel = groups(rows) * COLUMNS;
        let packed = memory.reserve_len(columns.div_ceil(COLUMNS) * panel);
        for g in 0..groups(rows) {
            let row = |i: usize| if i < rows { source.segment(i, 0).unwrap_or_default() } else { &[] };
            let pair = [row(2 * g), row(2 * g + 1)];
            for c in (0..columns).step_by(COLUMNS) {
                let part = pair.map(|row| &row[c.min(row.len())..(c + COLUMNS).min(row.len())]);
                let out = &mut packed[c / COLUMNS * panel + g * COLUMNS..][..COLUMNS];
                match self.0 {
                    // SAFETY: a unit exists only if the CPU has the instruction.
                    #[cfg(target_arch = "x86_64")]
                    _ => unsafe { x86::round_pair(part, out) },
                }
            }
        }
        packed
    }

    /// Packed rows `first .. first + rows`, where `first` begins a tile, against one panel of 32 columns. The sums go to `sums`,
    /// `stride` values from row to row, for `rows` rounded up to whole tiles, and are added to what is there if `accumulate`.
    pub(crate) fn block_times_panel(
        self,
        rows: Range<usize>,
        groups: usize,
        packed: &PackedPairs<'_>,
        panel: &[f32],
        Sums { values: sums, stride, accumulate }: Sums<'_>,
    ) {
        let tile_rows = self.tile_rows();
        assert!(rows.start.is_multiple_of(tile_rows), "rows from the start of a tile");
        let tiles = rows.start / tile_rows..rows.end.div_ceil(tile_rows);
        assert!(packed.values.len() >= tiles.end * packed.tile, "all packed rows");
        assert!(panel.len() >= groups * 32, "a whole panel");
        let stored = tiles.len() * tile_rows;
        assert!(stored == 0 || sums.len() >= (stored - 1) * stride + COLUMNS, "room for the sums");
        assert!(stride >= COLUMNS, "rows beside each other");
        // Pieces of a panel that stay in L1 while all rows pass; equal ones, of whole steps.
        let steps = groups / STEP_GROUPS;
        let pieces = steps.div_ceil(PIECE_STEPS);
        let piece = steps.div_ceil(pieces) * STEP_GROUPS;
        for at in (0..groups).step_by(piece) {
            let depth = at..groups.min(at + piece);
            let sums = Sums { values: &mut *sums, stride, accumulate: accumulate || at > 0 };
            match self.0 {
                // SAFETY: the lengths were checked, and a unit exists only if the CPU has it.
                #[cfg(target_arch = "x86_64")]
                Unit::Amx => unsafe { x86::amx_tiles(tiles.clone(), depth, packed, panel, sums) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Unit::Avx512 => unsafe { x86::vector_tiles(tiles.clone(), depth, packed, panel, sums) },
            }
        }
    }
}

/// Where the sums of tiles go.
pub(crate) struct Sums<'a> {
    /// From the first one on.
    pub(crate) values: &'a mut [f32],
    /// Values from row to row.
    pub(crate) stride: usize,
    /// Whether they are added to what is there.
    pub(crate) accumulate: bool,
}

/// Groups of a [`DEPTH_STEP`].
const STEP_GROUPS: usize = DEPTH_STEP / 2;
/// Steps of a piece: 16 KB of a panel.
const PIECE_STEPS: usize = 16;

/// `body` for each chunk of `len` values and its number.
fn each_chunk(values: &mut [f32], len: usize, is_parallel: bool, body: impl Fn(usize, &mut [f32]) + Sync) {
    if is_parallel {
        values.par_chunks_exact_mut(len).enumerate().for_each(|(i, chunk)| body(i, chunk));
    } else {
        values.chunks_exact_mut(len).enumerate().for_each(|(i, chunk)| body(i, chunk));
    }
}

/// Rows of pairs, as their unit wants them. The bits of a pair are held as those of an f32.
pub(crate) struct PackedPairs<'a> {
    values: &'a [f32],
    /// From tile to tile.
    tile: usize,
    /// From row to row of a tile, or from group to group.
    row: usize,
}

/// Rows from `first` on as bf16, `stride` groups from row to row, with zeros behind the depth; anything for rows behind the last.
#[cfg(target_arch = "x86_64")]
fn round_rows(source: &dyn RowSource, first: usize, stride: usize, out: &mut [f32]) {
    let (segments, len) = (source.segments(), source.segment_len());
    let rows = source.rows().saturating_sub(first);
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
        halves[segments * len..2 * groups(segments * len)].fill(0);
    }
}

/// A tile of rows as `[groups][14]`.
#[cfg(target_arch = "x86_64")]
struct RoundedPanel<'a> {
    source: &'a dyn RowSource,
    first: usize,
    groups: usize,
    out: &'a mut [f32],
}

#[cfg(target_arch = "x86_64")]
impl Kernel for RoundedPanel<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { source, first, groups, out } = self;
        assert!(S::TILE_ROWS == 14 && out.len() >= 14 * groups + 16, "room for a tile of AVX-512");
        let mut memory = ROUNDED.take();
        let rounded = memory.reserve_len(14 * groups);
        round_rows(source, first, groups, rounded);
        let mut starts = [std::ptr::null(); MAX_TILE_ROWS];
        let rows = rounded.chunks_exact(groups);
        starts.iter_mut().zip(rows).for_each(|(start, row)| *start = row.as_ptr());
        // SAFETY: 14 rows have `groups` groups, and there is room behind the tile. The bits of a pair pass as those of an f32
        // would: nothing is below the floor.
        unsafe { interleave(s, &starts, groups, f32::NEG_INFINITY, out.as_mut_ptr()) };
        ROUNDED.set(memory);
    }
}

/// Rows `first ..` as a panel of columns, `[groups][32]`.
#[cfg(target_arch = "x86_64")]
struct RoundedColumns<'a> {
    source: &'a dyn RowSource,
    first: usize,
    groups: usize,
    out: &'a mut [f32],
}

#[cfg(target_arch = "x86_64")]
impl Kernel for RoundedColumns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { source, first, groups, out } = self;
        assert_eq!(S::TILE_COLUMNS, COLUMNS, "panels of AVX-512");
        let mut memory = ROUNDED.take();
        let rounded = memory.reserve_len(COLUMNS * groups);
        round_rows(source, first, groups, rounded);
        let rows = COLUMNS.min(source.rows() - first);
        // The bits of a pair pass as those of an f32 would: nothing is below the floor.
        pack_column_panel(s, &Matrix::new(&rounded[..rows * groups], rows, groups), 0, out);
        ROUNDED.set(memory);
    }
}

#[cfg(target_arch = "x86_64")]
thread_local! {
    /// A tile of rows before its groups lie together.
    static ROUNDED: Cell<AlignedVec> = Cell::default();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{PackedPairs, STEP_GROUPS, Sums};
    use std::arch::asm;
    #[allow(clippy::wildcard_imports, reason = "a dozen instructions, all with their own prefix")]
    use std::arch::x86_64::*;
    use std::ops::Range;

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

    /// Rounds up to 32 values of two rows, of which one may be shorter or absent, to the nearest bf16: pairs of a column, the
    /// first row in the lower half, and zeros behind the end.
    ///
    /// # Safety
    /// The CPU must have the features named here.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) unsafe fn round_pair(rows: [&[f32]; 2], out: &mut [f32]) {
        for (i, out) in out.chunks_exact_mut(16).enumerate() {
            let [low, high] = rows.map(|row| {
                let left = &row[(i * 16).min(row.len())..];
                let mask = if left.len() >= 16 { u16::MAX } else { (1 << left.len()) - 1 };
                // SAFETY: the mask leaves out what is behind the end.
                let bits = unsafe { _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, left.as_ptr())) };
                // SAFETY: both types are 256 bits.
                _mm512_cvtepu16_epi32(unsafe { std::mem::transmute::<__m256bh, __m256i>(bits) })
            });
            let pairs = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
            // SAFETY: a chunk is a vector.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs) };
        }
    }

    /// `sums[r][c] (+)= Σ_g a[g][r] · b[g][c]` for tiles of 14 rows and 32 columns, all sums in registers.
    ///
    /// # Safety
    /// The CPU must have the features named here; the slices must cover the tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[expect(
        clippy::needless_range_loop,
        reason = "index loops with constant bounds are what becomes registers"
    )]
    pub(super) unsafe fn vector_tiles(
        tiles: Range<usize>,
        depth: Range<usize>,
        packed: &PackedPairs<'_>,
        panel: &[f32],
        to: Sums<'_>,
    ) {
        let pair = |x: __m512| {
            // SAFETY: both types are 512 bits.
            unsafe { std::mem::transmute::<__m512, __m512bh>(x) }
        };
        for (at, tile) in tiles.enumerate() {
            let out = to.values[at * 14 * to.stride..].as_mut_ptr();
            let mut sums = [[_mm512_setzero_ps(); 2]; 14];
            // SAFETY: the caller vouches for the slices.
            unsafe {
                let a = packed.values.as_ptr().add(tile * packed.tile);
                if to.accumulate {
                    for r in 0..14 {
                        for v in 0..2 {
                            sums[r][v] = _mm512_loadu_ps(out.add(r * to.stride + v * 16));
                        }
                    }
                }
                for g in depth.clone() {
                    let columns = [0, 1].map(|v| pair(_mm512_loadu_ps(panel.as_ptr().add(g * 32 + v * 16))));
                    for r in 0..14 {
                        let x = pair(_mm512_set1_ps(*a.add(g * packed.row + r)));
                        for v in 0..2 {
                            sums[r][v] = _mm512_dpbf16_ps(sums[r][v], x, columns[v]);
                        }
                    }
                }
                for r in 0..14 {
                    for v in 0..2 {
                        _mm512_storeu_ps(out.add(r * to.stride + v * 16), sums[r][v]);
                    }
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

    /// `sums[r][c] (+)= Σ_g a[r][g] · b[g][c]` for tiles of 32 rows and 32 columns.
    /// Four tile registers hold the sums, two the rows, two the columns: each load serves two multiplications.
    ///
    /// # Safety
    /// AMX must be allowed, `depth` must hold whole steps and not be empty, and the slices must cover the tiles.
    pub(super) unsafe fn amx_tiles(
        tiles: Range<usize>,
        depth: Range<usize>,
        packed: &PackedPairs<'_>,
        panel: &[f32],
        to: Sums<'_>,
    ) {
        // SAFETY: the configuration lives as long as the program.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack)) };
        for (at, tile) in tiles.enumerate() {
            let out = to.values[at * 32 * to.stride..].as_mut_ptr();
            let a = packed.values[tile * packed.tile + depth.start..].as_ptr();
            // SAFETY: the caller vouches for the slices. Nobody else uses tile registers on this thread: they are released
            // below, and a compiler leaves them alone.
            unsafe {
                asm!(
                    "test {adds:e}, {adds:e}",
                    "jz 3f",
                    "tileloadd tmm0, [{out} + {across}]",
                    "tileloadd tmm1, [{out} + {across} + 64]",
                    "tileloadd tmm2, [{under} + {across}]",
                    "tileloadd tmm3, [{under} + {across} + 64]",
                    "jmp 2f",
                    "3:",
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "tileloadd tmm6, [{b} + {group}]",
                    "tileloadd tmm4, [{upper} + {row}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b} + {group} + 64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{lower} + {row}]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {upper}, 64",
                    "add {lower}, 64",
                    "add {b}, 2048",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{out} + {across}], tmm0",
                    "tilestored [{out} + {across} + 64], tmm1",
                    "tilestored [{under} + {across}], tmm2",
                    "tilestored [{under} + {across} + 64], tmm3",
                    upper = inout(reg) a => _,
                    lower = inout(reg) a.add(16 * packed.row) => _,
                    b = inout(reg) panel.as_ptr().add(depth.start * 32) => _,
                    steps = inout(reg) depth.len() / STEP_GROUPS => _,
                    out = in(reg) out,
                    under = in(reg) out.wrapping_add(16 * to.stride),
                    adds = in(reg) u32::from(to.accumulate),
                    row = in(reg) packed.row * 4,
                    across = in(reg) to.stride * 4,
                    // A group of 32 columns.
                    group = in(reg) 128usize,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
        // SAFETY: as above. A thread that holds tiles costs the system 8 KB at every switch.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}
