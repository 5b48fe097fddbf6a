//! Products of matrices.

pub mod linear;
pub mod quantize;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [linear::tests::cases(), quantize::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [linear::bench::benches()].into_iter().flatten().collect()
}
