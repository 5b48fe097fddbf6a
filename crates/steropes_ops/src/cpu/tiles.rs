//! Tiles of products whose factors lie in groups of 32 bits: pairs of bf16 ([`super::pairs`]) or four int8 ([`super::quads`]).
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
/// Steps of a piece: 32 KB of a panel.
const PIECE_STEPS: usize = 16;

/// What a group holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factors {
    /// Two bf16; sums are f32.
    Bf16,
    /// Four int8, of which AVX-512 takes those of rows without a sign; sums are i32.
    Int8,
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
                Self::detect(Registers::Avx512, factors).is_some() && x86::amx_is_allowed(factors)
            }
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => match factors {
                Factors::Bf16 => {
                    is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw")
                }
                Factors::Int8 => is_x86_feature_detected!("avx512vnni"),
            },
        };
        is_there.then_some(Self { registers, factors })
    }

    /// Where it keeps sums.
    pub(super) fn registers(self) -> Registers {
        self.registers
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
            Registers::Amx => {
                // No power of two from row to row: rows would share the sets of a cache.
                let stride = groups + 16;
                let tile = 32 * stride;
                let values = memory.reserve_len(rows.div_ceil(32) * tile);
                each_chunk(values, tile, is_parallel, |i, out| fill(i * 32, stride, out));
                PackedRows { values, tile, row: stride, groups }
            }
            #[cfg(target_arch = "x86_64")]
            Registers::Avx512 => {
                // The last vector of a panel reaches behind it.
                let tile = 14 * groups + 16;
                let values = memory.reserve_len(rows.div_ceil(14) * tile);
                each_chunk(values, tile, is_parallel, |i, out| {
                    let mut memory = ROWS.take();
                    let rows = memory.reserve_len(14 * groups);
                    fill(i * 14, groups, rows);
                    isa.run(Interleaved { rows, groups, out });
                    ROWS.set(memory);
                });
                PackedRows { values, tile, row: 14, groups }
            }
        }
    }

    /// Packed rows `first .. first + rows`, where `first` begins a tile, against one panel of 32 columns, `[groups][32]`. The sums go
    /// to `sums`, `stride` values from row to row, for `rows` rounded up to whole tiles, and are added to what is there if
    /// `accumulate`. Those of int8 are the bits of an i32.
    pub(crate) fn block_times_panel(
        self,
        rows: Range<usize>,
        packed: &PackedRows<'_>,
        panel: &[f32],
        Sums { values: sums, stride, accumulate }: Sums<'_>,
    ) {
        let (tile_rows, groups) = (self.tile_rows(), packed.groups);
        assert!(rows.start.is_multiple_of(tile_rows), "rows from the start of a tile");
        let tiles = rows.start / tile_rows..rows.end.div_ceil(tile_rows);
        assert!(packed.values.len() >= tiles.end * packed.tile, "all packed rows");
        assert!(panel.len() >= groups * COLUMNS, "a whole panel");
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
            let tiles = tiles.clone();
            // SAFETY: the lengths were checked, and a unit exists only if the CPU has it.
            #[cfg(target_arch = "x86_64")]
            unsafe {
                match (self.registers, self.factors) {
                    (Registers::Amx, factors) => x86::amx_tiles(factors, tiles, depth, packed, panel, sums),
                    (Registers::Avx512, Factors::Bf16) => x86::bf16_tiles(tiles, depth, packed, panel, sums),
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
    /// From tile to tile.
    tile: usize,
    /// From row to row of a tile, or from group to group.
    row: usize,
    /// In a row.
    groups: usize,
}

/// A tile of rows as `[groups][14]`.
#[cfg(target_arch = "x86_64")]
struct Interleaved<'a> {
    rows: &'a [f32],
    groups: usize,
    out: &'a mut [f32],
}

#[cfg(target_arch = "x86_64")]
impl Kernel for Interleaved<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, groups, out } = self;
        assert!(S::TILE_ROWS == 14 && out.len() >= 14 * groups + 16, "room for a tile of AVX-512");
        let mut starts = [std::ptr::null(); MAX_TILE_ROWS];
        let rows = rows.chunks_exact(groups);
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
            Factors::Bf16 => has(22),
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
            /// The CPU must have the features named here; the slices must cover the tiles.
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
                        for g in depth.clone() {
                            let columns =
                                [0, 1].map(|v| _mm512_loadu_ps(panel.as_ptr().add(g * 32 + v * 16)));
                            for r in 0..14 {
                                let $a = _mm512_set1_ps(*rows.add(g * packed.row + r));
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
    /// AMX must be allowed for the factors, `depth` must hold whole steps and not be empty, and the slices must cover the tiles.
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
            let a = packed.values[tile * packed.tile + depth.start..].as_ptr();
            macro_rules! multiply {
                ($dot:literal) => {
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
                        concat!($dot, " tmm0, tmm4, tmm6"),
                        "tileloadd tmm7, [{b} + {group} + 64]",
                        concat!($dot, " tmm1, tmm4, tmm7"),
                        "tileloadd tmm5, [{lower} + {row}]",
                        concat!($dot, " tmm2, tmm5, tmm6"),
                        concat!($dot, " tmm3, tmm5, tmm7"),
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
                    )
                };
            }
            // SAFETY: the caller vouches for the slices. Nobody else uses tile registers on this thread: they are released
            // below, and a compiler leaves them alone.
            unsafe {
                match factors {
                    Factors::Bf16 => multiply!("tdpbf16ps"),
                    Factors::Int8 => multiply!("tdpbssd"),
                }
            }
        }
        // SAFETY: as above. A thread that holds tiles costs the system 8 KB at every switch.
        unsafe { asm!("tilerelease", options(nostack)) };
    }
}
