//! Descriptor matching.

pub mod nearest_neighbors;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [nearest_neighbors::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [nearest_neighbors::bench::benches()].into_iter().flatten().collect()
}
