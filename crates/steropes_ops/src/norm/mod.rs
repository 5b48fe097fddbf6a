//! Normalisations.

pub mod layer_norm;
pub mod rms_norm;
mod rows;
pub mod softmax;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [layer_norm::tests::cases(), rms_norm::tests::cases(), softmax::tests::cases()]
        .into_iter()
        .flatten()
        .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [layer_norm::bench::benches(), rms_norm::bench::benches(), softmax::bench::benches()]
        .into_iter()
        .flatten()
        .collect()
}
