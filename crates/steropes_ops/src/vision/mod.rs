//! Image-shaped ops; images are channels last, `[batch, height, width, channels]`.

pub mod conv2d;
pub mod conv_transpose2d;
pub mod crop;
pub mod descriptors;
pub mod pixel_shuffle;
pub mod pointmap;
pub mod resize_bilinear;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        conv2d::tests::cases(),
        conv_transpose2d::tests::cases(),
        resize_bilinear::tests::cases(),
        crop::tests::cases(),
        pixel_shuffle::tests::cases(),
        pointmap::tests::cases(),
        descriptors::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        conv2d::bench::benches(),
        conv_transpose2d::bench::benches(),
        resize_bilinear::bench::benches(),
        crop::bench::benches(),
        pixel_shuffle::bench::benches(),
        pointmap::bench::benches(),
        descriptors::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
