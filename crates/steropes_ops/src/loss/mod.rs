//! Losses and their gradients.
//!
//! Losses of single rows or points are tensors of their shape; sums and means are tensors without axes, so that nothing waits for
//! a device. A backward takes the gradient of what its forward returns.

pub mod cross_entropy;
pub mod js_divergence;
pub mod kl_div;
pub mod linear_cross_entropy;
mod pointwise;
mod reduction;
mod tests_support;

pub use reduction::Reduction;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        cross_entropy::tests::cases(),
        js_divergence::tests::cases(),
        kl_div::tests::cases(),
        linear_cross_entropy::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        cross_entropy::bench::benches(),
        js_divergence::bench::benches(),
        kl_div::bench::benches(),
        linear_cross_entropy::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
