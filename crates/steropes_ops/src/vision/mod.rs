//! Image-shaped ops; images are channels last, `[batch, height, width, channels]`.

pub mod conv2d;
pub mod conv_transpose2d;
pub mod crop;
pub mod descriptors;
pub mod pixel_shuffle;
pub mod pointmap;
pub mod resize_bilinear;

use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Bench, Case, inputs};

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

/// The input that cases and benches share: roughly standard normal values that depend on `name` alone.
fn normal(device: &Device, name: &str, shape: &[usize]) -> Tensor {
    let values = inputs::normal(name, shape.iter().product());
    Tensor::new(device, shape, values).expect("as many values as the shape has elements")
}

/// [`normal`] as f16, for devices that have it.
fn normal_f16(device: &Device, name: &str, shape: &[usize]) -> Tensor {
    let values = inputs::normal(name, shape.iter().product());
    steropes_testkit::f16_tensor(device, shape, &values).0
}

/// A tensor of bytes, which every op of this family refuses.
fn bytes(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::zeros::<u8>(device, shape)
}
