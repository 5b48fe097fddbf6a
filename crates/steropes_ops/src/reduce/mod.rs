//! Reductions over axes.

pub mod sum;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [sum::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [sum::bench::benches()].into_iter().flatten().collect()
}
