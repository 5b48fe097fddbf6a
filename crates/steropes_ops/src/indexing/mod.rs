//! Elements and rows by their numbers, and sums over equal numbers.
//!
//! On the CPU a number out of its range is refused. On a GPU nothing waits for numbers: what would be read with such a one is not a
//! number, what would be added is left out, and no kernel reads or writes outside its arrays.

pub mod embedding_bag;
pub mod gather;
pub mod index_select;
mod integers;
mod places;
pub mod scatter_add;

pub(crate) use integers::{check_below, integers};

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        embedding_bag::tests::cases(),
        gather::tests::cases(),
        index_select::tests::cases(),
        scatter_add::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        embedding_bag::bench::benches(),
        gather::bench::benches(),
        index_select::bench::benches(),
        scatter_add::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
