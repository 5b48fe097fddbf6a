//! Launches.

use super::{MATCHES, MIN_DIAGONAL_RATIO, MatchedPoints, OP};
use crate::error::OpError;
use crate::geometry::check_binding;
use crate::gpu::bind;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;

pub(super) fn triangulate(gpu: &Gpu, pixels: &Tensor, projections: &Tensor) -> Result<Tensor, OpError> {
    let &[batch, cameras, points, _] = pixels.shape() else { unreachable!("the shape was checked") };
    check_binding(OP, gpu, "pixels", pixels)?;
    let kernel = Kernel::new("triangulation", &header(), include_str!("triangulation.wgsl"));
    let found = Tensor::on_gpu(gpu, OP, DType::F32, &[batch, points, 3])?;
    check_binding(OP, gpu, "found", &found)?;
    let count = batch * points;
    let params = [count as u32, cameras as u32, points as u32, f32::NAN.to_bits()];
    let bindings = [bind(pixels), bind(projections), bind(&found)];
    gpu.launch(&kernel, &bindings, &params, spread(count.div_ceil(THREADS as usize) as u64))?;
    Ok(found)
}

/// `tensors` are intrinsics, poses and matches.
pub(super) fn points_from_matches(
    gpu: &Gpu,
    tensors: [&Tensor; 3],
    too_few: usize,
) -> Result<MatchedPoints, OpError> {
    let [intrinsics, poses, matches] = tensors;
    let &[batch, views, height, width, _] = matches.shape() else { unreachable!("the shape was checked") };
    check_binding(MATCHES, gpu, "matches", matches)?;
    let kernel = Kernel::new("points_from_matches", &header(), include_str!("points_from_matches.wgsl"));
    let points = Tensor::on_gpu(gpu, MATCHES, DType::F32, &[batch, height, width, 3])?;
    let depth = Tensor::on_gpu(gpu, MATCHES, DType::F32, &[batch, height, width])?;
    let confidence = Tensor::on_gpu(gpu, MATCHES, DType::F32, &[batch, height, width])?;
    let count = batch * height * width;
    let params =
        [count, views, height * width, too_few].map(|n| n as u32).into_iter().chain([f32::NAN.to_bits()]);
    let bindings =
        [bind(intrinsics), bind(poses), bind(matches), bind(&points), bind(&depth), bind(&confidence)];
    let groups = spread(count.div_ceil(THREADS as usize) as u64);
    gpu.launch(&kernel, &bindings, &params.collect::<Vec<_>>(), groups)?;
    Ok(MatchedPoints { points, depth, confidence })
}

fn header() -> Header {
    Header::new()
        .count("THREADS", THREADS)
        .number("MIN_DIAGONAL_RATIO", MIN_DIAGONAL_RATIO)
        .text(include_str!("triangle.wgsl"))
}
