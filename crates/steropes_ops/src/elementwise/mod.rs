//! Ops on one element at a time.

pub mod add;
pub mod arithmetic;
pub mod cast;
pub mod concat;
pub mod copy;
pub mod gelu;
pub mod transpose;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        add::tests::cases(),
        arithmetic::tests::cases(),
        cast::tests::cases(),
        concat::tests::cases(),
        copy::tests::cases(),
        gelu::tests::cases(),
        transpose::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        add::bench::benches(),
        arithmetic::bench::benches(),
        cast::bench::benches(),
        concat::bench::benches(),
        copy::bench::benches(),
        gelu::bench::benches(),
        transpose::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
