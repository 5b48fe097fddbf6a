//! Products of matrices and dense linear algebra.
//!
//! Names, order and signs of results are those of `torch.linalg`.

pub mod linear;
pub mod lora;
pub mod matmul;
pub mod quantize;
mod stack;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [linear::tests::cases(), lora::tests::cases(), matmul::tests::cases(), quantize::tests::cases()]
        .into_iter()
        .flatten()
        .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [linear::bench::benches(), lora::bench::benches(), matmul::bench::benches()]
        .into_iter()
        .flatten()
        .collect()
}
