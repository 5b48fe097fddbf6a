//! Ops of multi-view geometry: cameras and points, averages of pointmaps, visibility, surfaces of depth maps, and the
//! residuals of the sparse alignment.

pub mod alignment_loop;
pub mod canonical_view;
pub mod clean_pointcloud;
pub mod pixel_grid;
pub mod project;
pub mod sparse_alignment;
pub mod transform_points;
pub mod triangulation;
pub mod tsdf;
pub mod unproject;
pub mod weighted_average;

use crate::error::OpError;
use crate::gpu::{largest_binding, unsupported};
use steropes_tensor::{Device, Element, Gpu, Tensor, TensorError};
use steropes_testkit::{Bench, Case};

/// Fails if a tensor of a kernel that reads it at places far apart, so that no part of it could be bound alone, does not fit one binding.
fn check_binding(op: &'static str, gpu: &Gpu, argument: &str, tensor: &Tensor) -> Result<(), OpError> {
    let (bytes, most) = (tensor.len() * tensor.dtype().size_bytes(), largest_binding(gpu));
    if bytes <= most {
        return Ok(());
    }
    Err(unsupported(op, gpu, format!("`{argument}` has {bytes} bytes, a kernel can reach {most}")))
}

/// A list on a GPU.
fn uploaded<T: Element>(gpu: &Gpu, list: Vec<T>) -> Result<Tensor, OpError> {
    match Tensor::new(&Device::Gpu(gpu.clone()), &[list.len()], list) {
        Ok(tensor) => Ok(tensor),
        Err(TensorError::Device(error)) => Err(error.into()),
        Err(error) => unreachable!("a list has its own length: {error}"),
    }
}

pub(crate) fn cases() -> Vec<Case> {
    [
        alignment_loop::tests::cases(),
        canonical_view::tests::cases(),
        clean_pointcloud::tests::cases(),
        pixel_grid::tests::cases(),
        project::tests::cases(),
        sparse_alignment::tests::cases(),
        transform_points::tests::cases(),
        triangulation::tests::cases(),
        tsdf::tests::cases(),
        tsdf::random::tests::cases(),
        unproject::tests::cases(),
        weighted_average::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        alignment_loop::bench::benches(),
        canonical_view::bench::benches(),
        clean_pointcloud::bench::benches(),
        pixel_grid::bench::benches(),
        project::bench::benches(),
        sparse_alignment::bench::benches(),
        transform_points::bench::benches(),
        triangulation::bench::benches(),
        tsdf::bench::benches(),
        unproject::bench::benches(),
        weighted_average::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
