//! Products of matrices and dense linear algebra.
//!
//! Names, order and signs of results are those of `torch.linalg`.

pub mod eigh;
pub mod linear;
pub mod matrix_exp;
pub mod quantize;
mod squares;
mod stack;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [eigh::tests::cases(), linear::tests::cases(), matrix_exp::tests::cases(), quantize::tests::cases()]
        .into_iter()
        .flatten()
        .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [eigh::bench::benches(), linear::bench::benches(), matrix_exp::bench::benches()]
        .into_iter()
        .flatten()
        .collect()
}
