//! Attention.

pub mod sdpa;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [sdpa::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [sdpa::bench::benches()].into_iter().flatten().collect()
}
