//! Descriptor matching.

pub mod gather_rows;
pub mod lookup_table;
pub mod nearest_neighbors;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [gather_rows::tests::cases(), lookup_table::tests::cases(), nearest_neighbors::tests::cases()]
        .into_iter()
        .flatten()
        .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [gather_rows::bench::benches(), lookup_table::bench::benches(), nearest_neighbors::bench::benches()]
        .into_iter()
        .flatten()
        .collect()
}
