//! Products of matrices and dense linear algebra.
//!
//! Names, order and signs of results are those of `torch.linalg`.

pub mod linear;
pub mod lstsq;
pub mod qr;
pub mod quantize;
mod stack;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [linear::tests::cases(), lstsq::tests::cases(), qr::tests::cases(), quantize::tests::cases()]
        .into_iter()
        .flatten()
        .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [linear::bench::benches(), lstsq::bench::benches(), qr::bench::benches()].into_iter().flatten().collect()
}
