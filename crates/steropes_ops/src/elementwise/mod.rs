//! Ops on one element at a time.

pub mod activation;
pub mod add;
pub mod arithmetic;
pub mod bias_activation;
pub mod cast;
pub mod concat;
pub mod copy;
pub mod gated;
pub mod gelu;
pub mod transpose;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        activation::tests::cases(),
        add::tests::cases(),
        arithmetic::tests::cases(),
        bias_activation::tests::cases(),
        cast::tests::cases(),
        concat::tests::cases(),
        copy::tests::cases(),
        gated::tests::cases(),
        gelu::tests::cases(),
        transpose::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        activation::bench::benches(),
        add::bench::benches(),
        arithmetic::bench::benches(),
        bias_activation::bench::benches(),
        cast::bench::benches(),
        concat::bench::benches(),
        copy::bench::benches(),
        gated::bench::benches(),
        gelu::bench::benches(),
        transpose::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
