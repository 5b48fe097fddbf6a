//! Ops on one element at a time.

pub mod add;
pub mod concat;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [add::tests::cases(), concat::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [add::bench::benches(), concat::bench::benches()].into_iter().flatten().collect()
}
