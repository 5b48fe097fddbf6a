//! Attention.

pub mod masked_sdpa;
mod matrices;
mod rows;
pub mod sdpa;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [masked_sdpa::tests::cases(), sdpa::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [masked_sdpa::bench::benches(), sdpa::bench::benches()].into_iter().flatten().collect()
}
