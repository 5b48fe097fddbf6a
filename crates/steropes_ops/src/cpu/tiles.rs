//! Tiles of products whose factors lie in groups of 32 bits: pairs of bf16, rounded values or the parts of f32 ([`super::pairs`]), or
//! four int8 ([`super::quads`]).
//!
//! What the instructions do with a group is all that differs: the panels, the order of the loops and the places of the sums, f32 or
//! i32, are the same.
//!
//! | registers | rows at a time | one instruction |
//! |---|---|---|
//! | AMX | 32 | 16 x 16 sums of 16 groups each, in tile registers |
//! | AVX-512 | 14 | 16 sums of a group |

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(
        unused_variables,
        dead_code,
        unreachable_code,
        reason = "a unit is a type without values on other CPUs"
    )
)]

use super::isa::Isa;
use super::pack::AlignedVec;
use rayon::prelude::*;
use std::ops::Range;
#[cfg(target_arch = "x86_64")]
use {
    super::pack::interleave,
    super::simd::{Kernel, MAX_TILE_ROWS, Simd},
    std::cell::Cell,
};

/// Columns of a panel.
pub(crate) const COLUMNS: usize = 32;
/// Groups that one AMX instruction sums: a depth is padded with zeros to a multiple.
pub(super) const STEP_GROUPS: usize = 16;
/// Groups of a piece: 32 KB of a panel.
const PIECE_GROUPS: usize = 16 * STEP_GROUPS;

/// What a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factors {
    /// Two bf16; sums are f32.
    Bf16,
    /// As that, three times: the parts of f32. Only AMX is fast enough to gain by it.
    Split,
    /// Four int8, of which AVX-512 takes those of rows without a sign; sums are i32.
    Int8,
}

impl Factors {
    /// How often a step of the depth is there.
    fn parts(self) -> usize {
        if self == Self::Split { 3 } else { 1 }
    }
}

/// Where sums are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registers {
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Registers {
    /// All there are, the best first.
    pub(super) const ALL: &[Self] = &[
        #[cfg(target_arch = "x86_64")]
        Self::Amx,
        #[cfg(target_arch = "x86_64")]
        Self::Avx512,
    ];
}

/// An instruction that multiplies groups. A value exists only for what was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileUnit {
    registers: Registers,
    factors: Factors,
}

impl TileUnit {
    /// The unit, if this CPU has it beside AVX-512.
    pub(super) fn detect(registers: Registers, factors: Factors) -> Option<Self> {
        let is_there: bool = match registers {
            #[cfg(target_arch = "x86_64")]
            Registers::Amx => {
                let beside = if factors == Factors::Split { Factors::Bf16 } else { factors };
                Self::detect(Registers::Avx512, beside).is_some() && x86::amx_is_allowed(factors)
            }
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => match factors {
                Factors::Bf16 => {
                    is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw")
                }
                Factors::Split => false,
                Factors::Int8 => is_x86_feature_detected!("avx512vnni"),
            },
        };
        is_there.then_some(Self { registers, factors })
    }

    /// Where it keeps sums.
    pub(super) fn registers(self) -> Registers {
        self.registers
    }

    /// How often a step of the depth is there.
    pub(super) fn parts(self) -> usize {
        self.factors.parts()
    }

    /// Rows that are multiplied together.
    pub(crate) fn tile_rows(self) -> usize {
        match self.registers {
            #[cfg(target_arch = "x86_64")]
            Registers::Amx => 32,
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => 14,
        }
    }

    /// Rows of a task: more would leave no room for weights in L2. Fewer than the least would read the weights too often for
    /// what is computed with them.
    pub(crate) fn block_rows(self) -> [usize; 2] {
        match self.registers {
            #[cfg(target_arch = "x86_64")]
            Registers::Amx if self.factors == Factors::Split => [96; 2],
            #[cfg(target_arch = "x86_64")]
            Registers::Amx => [192, 384],
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => [98, 196],
        }
    }

    /// `rows` rows of `groups` groups laid out for [`TileUnit::block_times_panel`], on all threads or one. `fill(first, stride, out)`
    /// writes rows from `first` on, as many as there are and fit, `stride` groups from row to row.
    pub(super) fn pack_rows<'m>(
        self,
        isa: Isa,
        rows: usize,
        groups: usize,
        is_parallel: bool,
        memory: &'m mut AlignedVec,
        fill: impl Fn(usize, usize, &mut [f32]) + Sync,
    ) -> PackedRows<'m> {
        match self.registers {
            #[cfg(target_arch = "x86_64")]
            registers => {
                let tile_rows = self.tile_rows();
                // The last vector of a tile of AVX-512 reaches behind it.
                let tile = tile_rows * groups + 16;
                let values = memory.reserve_len(rows.div_ceil(tile_rows) * tile);
                each_chunk(values, tile, is_parallel, |i, out| {
                    let mut memory = ROWS.take();
                    // No power of two from row to row: rows would share the sets of a cache.
                    let stride = groups + 16;
                    let rows = memory.reserve_len(tile_rows * stride);
                    fill(i * tile_rows, stride, rows);
                    match registers {
                        Registers::Amx => steps_of_rows(rows, stride, out),
                        Registers::Avx512 => isa.run(Interleaved { rows, stride, out }),
                    }
                    ROWS.set(memory);
                });
                PackedRows { values, tile, groups, fits: true }
            }
        }
    }

    /// Packed rows, of which the first begins a tile, against one panel of 32 columns: groups `depth` of each row and `[depth][32]`.
    /// Both ends of `depth` are whole steps. The sums go to `sums`, `stride` values from row to row, for `rows` rounded up to whole
    /// tiles, and are added to what is there if `accumulate`. Those of int8 are the bits of an i32.
    pub(crate) fn block_times_panel(
        self,
        rows: Range<usize>,
        packed: &PackedRows<'_>,
        depth: Range<usize>,
        panel: &[f32],
        Sums { values: sums, stride, accumulate }: Sums<'_>,
    ) {
        let (tile_rows, step) = (self.tile_rows(), STEP_GROUPS * self.parts());
        assert!(rows.start.is_multiple_of(tile_rows), "rows from the start of a tile");
        let tiles = rows.start / tile_rows..rows.end.div_ceil(tile_rows);
        assert!(packed.values.len() >= tiles.end * packed.tile, "all packed rows");
        assert!(depth.end <= packed.groups && panel.len() >= depth.len() * COLUMNS, "a whole panel");
        assert!(depth.start.is_multiple_of(step) && depth.end.is_multiple_of(step), "whole steps");
        let stored = tiles.len() * tile_rows;
        assert!(stored == 0 || sums.len() >= (stored - 1) * stride + COLUMNS, "room for the sums");
        assert!(stride >= COLUMNS, "rows beside each other");
        // Pieces of a panel that stay in L1 while all rows pass; equal ones, of whole steps. Parts are multiplied several times, for
        // which L2 is fast enough.
        let steps = depth.len() / step;
        let pieces = if self.parts() > 1 { 1 } else { steps.div_ceil(PIECE_GROUPS / step).max(1) };
        let piece = steps.div_ceil(pieces).max(1) * step;
        for at in depth.clone().step_by(piece) {
            let sums = Sums { values: &mut *sums, stride, accumulate: accumulate || at > depth.start };
            let panel = &panel[(at - depth.start) * COLUMNS..];
            let (tiles, depth) = (tiles.clone(), at..depth.end.min(at + piece));
            // SAFETY: the lengths were checked, and a unit exists only if the CPU has it.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                match (self.registers, self.factors) {
                    (Registers::Amx, factors) => x86::amx_tiles(factors, tiles, depth, packed, panel, sums),
                    (Registers::Avx512, Factors::Bf16) => x86::bf16_tiles(tiles, depth, packed, panel, sums),
                    (Registers::Avx512, Factors::Split) => unreachable!("no such unit is detected"),
                    (Registers::Avx512, Factors::Int8) => x86::int8_tiles(tiles, depth, packed, panel, sums),
                }
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

/// `body` for each chunk of `len` values and its number.
pub(super) fn each_chunk(
    values: &mut [f32],
    len: usize,
    is_parallel: bool,
    body: impl Fn(usize, &mut [f32]) + Sync,
) {
    if is_parallel {
        values.par_chunks_exact_mut(len).enumerate().for_each(|(i, chunk)| body(i, chunk));
    } else {
        values.chunks_exact_mut(len).enumerate().for_each(|(i, chunk)| body(i, chunk));
    }
}

/// Rows of groups, as their unit wants them. The bits of a group are held as those of an f32.
pub(crate) struct PackedRows<'a> {
    values: &'a [f32],
    /// From tile to tile, of which each is `[groups / 16][32][16]` for AMX, `[groups][14]` else.
    tile: usize,
    /// In a row.
    groups: usize,
    /// Whether the values are what the groups stand for.
    pub(super) fits: bool,
}

impl PackedRows<'_> {
    /// Groups in a row.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Whether the groups stand for the values; those of f32 in parts do not if some are out of range ([`super::pairs`]).
    pub(crate) fn fits(&self) -> bool {
        self.fits
    }
}

/// A tile of rows, `stride` groups each, as `[groups / 16][32][16]`: what a tile register takes lies together, so that it is fetched ahead.
#[cfg(target_arch = "x86_64")]
fn steps_of_rows(rows: &[f32], stride: usize, out: &mut [f32]) {
    for (step, out) in out.chunks_exact_mut(32 * STEP_GROUPS).enumerate() {
        let (to, _) = out.as_chunks_mut::<STEP_GROUPS>();
        for (row, to) in rows.chunks_exact(stride).zip(to) {
            to.copy_from_slice(&row[step * STEP_GROUPS..][..STEP_GROUPS]);
        }
    }
}

/// A tile of rows, `stride` groups each, as `[groups][14]`.
#[cfg(target_arch = "x86_64")]
struct Interleaved<'a> {
    rows: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
}

#[cfg(target_arch = "x86_64")]
impl Kernel for Interleaved<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, stride, out } = self;
        let groups = out.len() / 14 - 1;
        assert!(S::TILE_ROWS == 14 && stride >= groups, "room for a tile of AVX-512");
        let mut starts = [std::ptr::null(); MAX_TILE_ROWS];
        let rows = rows.chunks_exact(stride);
        starts.iter_mut().zip(rows).for_each(|(start, row)| *start = row.as_ptr());
        // SAFETY: 14 rows have `groups` groups, and there is room behind the tile. The bits of a group pass as those of an f32
        // would: nothing is below the floor.
        unsafe { interleave(s, &starts, groups, f32::NEG_INFINITY, out.as_mut_ptr()) };
    }
}

#[cfg(target_arch = "x86_64")]
thread_local! {
    /// A tile of rows before its groups lie together.
    static ROWS: Cell<AlignedVec> = Cell::default();
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Factors, PackedRows, STEP_GROUPS, Sums};
    use std::arch::asm;
    #[allow(clippy::wildcard_imports, reason = "a dozen instructions, all with their own prefix")]
    use std::arch::x86_64::*;
    use std::ops::Range;

    /// Whether the CPU has AMX for these factors and the system lets this process use its registers.
    pub(super) fn amx_is_allowed(factors: Factors) -> bool {
        // SAFETY: every x86-64 CPU has CPUID.
        let leaf = __cpuid_count(7, 0);
        let has = |bit: u32| leaf.edx >> bit & 1 == 1;
        let multiplies = match factors {
            Factors::Bf16 | Factors::Split => has(22),
            Factors::Int8 => has(25),
        };
        multiplies && has(24) && tile_registers_are_allowed()
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

    /// A function for tiles of 14 rows and 32 columns, all sums in registers: `sums[r][c] (+)= Σ_g a[g][r] · b[g][c]`. `$dot` adds the
    /// products of a group to a sum, all as bits of f32.
    macro_rules! vector_tiles {
        ($name:ident, $features:literal, |$sum:ident, $a:ident, $b:ident| $dot:expr) => {
            /// # Safety
            /// The CPU must have the features named here; the slices must cover the tiles, `panel` from the start of `depth` on.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(
                tiles: Range<usize>,
                depth: Range<usize>,
                packed: &PackedRows<'_>,
                panel: &[f32],
                to: Sums<'_>,
            ) {
                for (at, tile) in tiles.enumerate() {
                    let out = to.values[at * 14 * to.stride..].as_mut_ptr();
                    let mut sums = [[_mm512_setzero_ps(); 2]; 14];
                    // SAFETY: the caller vouches for the slices; all vectors are 512 bits.
                    unsafe {
                        let rows = packed.values.as_ptr().add(tile * packed.tile);
                        if to.accumulate {
                            for r in 0..14 {
                                for v in 0..2 {
                                    sums[r][v] = _mm512_loadu_ps(out.add(r * to.stride + v * 16));
                                }
                            }
                        }
                        for (i, g) in depth.clone().enumerate() {
                            let columns =
                                [0, 1].map(|v| _mm512_loadu_ps(panel.as_ptr().add(i * 32 + v * 16)));
                            for r in 0..14 {
                                let $a = _mm512_set1_ps(*rows.add(g * 14 + r));
                                for v in 0..2 {
                                    let ($sum, $b) = (sums[r][v], columns[v]);
                                    sums[r][v] = $dot;
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
        };
    }

    vector_tiles!(bf16_tiles, "avx512f,avx512bw,avx512bf16", |sum, a, b| {
        let [a, b] = [a, b].map(|x| std::mem::transmute::<__m512, __m512bh>(x));
        _mm512_dpbf16_ps(sum, a, b)
    });

    vector_tiles!(int8_tiles, "avx512f,avx512vnni", |sum, a, b| {
        let [sum, a, b] = [sum, a, b].map(|x| _mm512_castps_si512(x));
        _mm512_castsi512_ps(_mm512_dpbusd_epi32(sum, a, b))
    });

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
    /// AMX must be allowed for the factors, `depth` must hold whole steps and not be empty, and the slices must cover the tiles,
    /// `panel` from the start of `depth` on.
    pub(super) unsafe fn amx_tiles(
        factors: Factors,
        tiles: Range<usize>,
        depth: Range<usize>,
        packed: &PackedRows<'_>,
        panel: &[f32],
        to: Sums<'_>,
    ) {
        // SAFETY: the configuration lives as long as the program.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack)) };
        for (at, tile) in tiles.enumerate() {
            let out = to.values[at * 32 * to.stride..].as_mut_ptr();
            let a = packed.values[tile * packed.tile + depth.start * 32..].as_ptr();
            // One step of the depth after the other; `$step` multiplies one, of so many bytes in a tile of rows as in the panel.
            macro_rules! multiply {
                ($bytes:literal, $($step:expr),+ $(,)?) => {
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
                        $($step,)+
                        concat!("add {a}, ", $bytes),
                        concat!("add {b}, ", $bytes),
                        "dec {steps}",
                        "jnz 2b",
                        "tilestored [{out} + {across}], tmm0",
                        "tilestored [{out} + {across} + 64], tmm1",
                        "tilestored [{under} + {across}], tmm2",
                        "tilestored [{under} + {across} + 64], tmm3",
                        a = inout(reg) a => _,
                        b = inout(reg) panel.as_ptr() => _,
                        steps = inout(reg) depth.len() / (STEP_GROUPS * factors.parts()) => _,
                        out = in(reg) out,
                        under = in(reg) out.wrapping_add(16 * to.stride),
                        adds = in(reg) u32::from(to.accumulate),
                        across = in(reg) to.stride * 4,
                        // A step of a row, and a group of 32 columns.
                        row = in(reg) 64usize,
                        group = in(reg) 128usize,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    )
                };
            }
            // All four products of what lies at these bytes of a step.
            macro_rules! rows_and_columns {
                ($dot:literal, $rows:literal, $columns:literal) => {
                    concat!(
                        "tileloadd tmm6, [{b} + {group} + ",
                        $columns,
                        "]\n",
                        "tileloadd tmm4, [{a} + {row} + ",
                        $rows,
                        "]\n",
                        $dot,
                        " tmm0, tmm4, tmm6\n",
                        "tileloadd tmm7, [{b} + {group} + ",
                        $columns,
                        " + 64]\n",
                        $dot,
                        " tmm1, tmm4, tmm7\n",
                        "tileloadd tmm5, [{a} + {row} + ",
                        $rows,
                        " + 1024]\n",
                        $dot,
                        " tmm2, tmm5, tmm6\n",
                        $dot,
                        " tmm3, tmm5, tmm7",
                    )
                };
            }
            // With other rows of the same columns, or other columns of the same rows.
            macro_rules! other_rows {
                ($rows:literal) => {
                    concat!(
                        "tileloadd tmm4, [{a} + {row} + ",
                        $rows,
                        "]\n",
                        "tdpbf16ps tmm0, tmm4, tmm6\n",
                        "tdpbf16ps tmm1, tmm4, tmm7\n",
                        "tileloadd tmm5, [{a} + {row} + ",
                        $rows,
                        " + 1024]\n",
                        "tdpbf16ps tmm2, tmm5, tmm6\n",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                    )
                };
            }
            macro_rules! other_columns {
                ($columns:literal) => {
                    concat!(
                        "tileloadd tmm6, [{b} + {group} + ",
                        $columns,
                        "]\n",
                        "tdpbf16ps tmm0, tmm4, tmm6\n",
                        "tdpbf16ps tmm2, tmm5, tmm6\n",
                        "tileloadd tmm7, [{b} + {group} + ",
                        $columns,
                        " + 64]\n",
                        "tdpbf16ps tmm1, tmm4, tmm7\n",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                    )
                };
            }
            // SAFETY: the caller vouches for the slices. Nobody else uses tile registers on this thread: they are released
            // below, and a compiler leaves them alone.
            unsafe {
                match factors {
                    Factors::Bf16 => multiply!("2048", rows_and_columns!("tdpbf16ps", "0", "0")),
                    Factors::Int8 => multiply!("2048", rows_and_columns!("tdpbssd", "0", "0")),
                    // Parts 0 to 2 of the rows times parts 0 to 2 of the columns, those whose numbers make 2 at most; each
                    // is beside one that shares an operand with it.
                    Factors::Split => multiply!(
                        "6144",
                        rows_and_columns!("tdpbf16ps", "0", "4096"),
                        other_columns!("2048"),
                        other_rows!("2048"),
                        other_columns!("0"),
                        other_rows!("4096"),
                        other_rows!("0"),
                    ),
                }
            }
        }
        // SAFETY: as above. A thread that holds tiles costs the system 8 KB at every switch.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}
