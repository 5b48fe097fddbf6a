//! Position encodings.

pub mod rope2d;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [rope2d::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [rope2d::bench::benches()].into_iter().flatten().collect()
}
