//! What training does with gradients.

pub mod adamw;
pub mod clip_grad_norm;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [adamw::tests::cases(), clip_grad_norm::tests::cases()].into_iter().flatten().collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [adamw::bench::benches(), clip_grad_norm::bench::benches()].into_iter().flatten().collect()
}
