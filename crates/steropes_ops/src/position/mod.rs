//! Position encodings.

pub mod rope;
pub mod rope2d;
pub mod rope3d;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [rope::tests::cases(), rope2d::tests::cases(), rope3d::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [rope::bench::benches(), rope2d::bench::benches(), rope3d::bench::benches()]
        .into_iter()
        .flatten()
        .collect()
}
