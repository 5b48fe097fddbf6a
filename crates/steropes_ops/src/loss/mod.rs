//! Losses and their gradients.
//!
//! Losses of single rows or points are tensors of their shape; sums and means are tensors without axes, so that nothing waits for
//! a device. A backward takes the gradient of what its forward returns.

pub mod conf_loss;
pub mod conf_matching_loss;
pub mod cross_entropy;
pub mod info_nce;
pub mod js_divergence;
pub mod kl_div;
pub mod linear_cross_entropy;
mod pointwise;
mod reduction;
pub mod regr3d;
mod tests_support;

pub use reduction::Reduction;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        conf_loss::tests::cases(),
        conf_matching_loss::tests::cases(),
        cross_entropy::tests::cases(),
        info_nce::tests::cases(),
        js_divergence::tests::cases(),
        kl_div::tests::cases(),
        linear_cross_entropy::tests::cases(),
        regr3d::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        conf_loss::bench::benches(),
        conf_matching_loss::bench::benches(),
        cross_entropy::bench::benches(),
        info_nce::bench::benches(),
        js_divergence::bench::benches(),
        kl_div::bench::benches(),
        linear_cross_entropy::bench::benches(),
        regr3d::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
