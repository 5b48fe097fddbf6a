//! The machinery under the CPU kernels: the one place where SIMD lives.
//!
//! A kernel is written once, generic over `simd::Simd`, and `Isa::run` instantiates it for the
//! instruction set that was found when the program started:
//!
//! | instruction set | lanes | register tile |
//! |---|---|---|
//! | AVX-512 | 16 | 14 x 32 |
//! | AVX2 and FMA | 8 | 6 x 16 |
//! | NEON | 4 | 8 x 12 |
//! | none (plain Rust) | 4 | 4 x 8 |
//!
//! Every matrix product goes through one register tile:
//!
//! | module | content |
//! |---|---|
//! | `isa` | which instruction set runs, and how a test asks for another |
//! | `simd` | what a kernel may use of a vector, the register tile |
//! | `x86`, `neon`, `plain` | the instruction sets |
//! | `pack` | weights packed once, rows packed block by block from any row source |
//! | `blocks` | weights in blocks of small integers, widened panel by panel |
//! | `groups` | weights in groups of small integers with a range, widened likewise |
//! | `tiles` | products of groups of 32 bits by the instructions that multiply them: AMX, AVX-512 |
//! | `pairs` | their groups of two bf16, and f32 as three of them |
//! | `quads` | their groups of four int8, and how rows and weights become those |
//! | `product` | blocking, fused epilogues, threads |
//! | `lanes` | small matrices side by side, one in each lane, in f32 or f64 |
//! | `math` | exponentials, GELU |
//! | `peak` | what the machine can do at most, to judge the kernels by |
//!
//! The unit of packing is a group of 32 bits: one f32, two bf16 or four int8. Weights in bf16 are multiplied in pairs where the CPU can, and
//! are widened panel by panel to f32 where it cannot. Weights in blocks are widened panel by panel to one or the other.

mod blocks;
mod groups;
mod isa;
pub(crate) mod lanes;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod pack;
pub(crate) mod pairs;
mod peak;
mod plain;
pub(crate) mod product;
pub(crate) mod quads;
pub(crate) mod simd;
pub(crate) mod tiles;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use isa::Kind;
pub use isa::{Isa, with_isa};
pub use peak::{Peak, peak};
pub use product::Activation;

/// The cases of what only the inside of this module can see.
pub(crate) fn cases() -> Vec<steropes_testkit::Case> {
    [
        isa::tests::cases(),
        lanes::tests::cases(),
        math::tests::cases(),
        peak::tests::cases(),
        product::tests::cases(),
        quads::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
