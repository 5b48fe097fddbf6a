//! Products of matrices and dense linear algebra.
//!
//! Names, order and signs of results are those of `torch.linalg`.

pub mod linear;
pub mod pinv;
pub mod quantize;
mod stack;
pub mod svd;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [linear::tests::cases(), quantize::tests::cases(), svd::tests::cases(), pinv::tests::cases()]
        .into_iter()
        .flatten()
        .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [linear::bench::benches(), svd::bench::benches()].into_iter().flatten().collect()
}
