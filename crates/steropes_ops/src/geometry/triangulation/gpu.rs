//! Launches.

use super::{MATCHES, MIN_DIAGONAL_RATIO, MatchedPoints, OP};
use crate::error::OpError;
use crate::gpu::{parts, row_ranges};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;
/// Bytes of a triangle with its right side.
const TRIANGLE: usize = 48;

pub(super) fn triangulate(gpu: &Gpu, pixels: &Tensor, projections: &Tensor) -> Result<Tensor, OpError> {
    let &[batch, cameras, points, _] = pixels.shape() else { unreachable!("the shape was checked") };
    let kernel = Kernel::new("triangulation", &header(), include_str!("triangulation.wgsl"));
    let found = Tensor::on_gpu(gpu, OP, DType::F32, &[batch, points, 3])?;
    let item_bytes = [cameras * points * 8, cameras * 48, points * 12];
    let parts = parts(OP, gpu, [batch, cameras, points], &item_bytes, &[8, 12, TRIANGLE])?;
    // The triangles of the points of one part at a time, where others follow.
    let waiting = parts.iter().filter(|part| !part.is_last()).map(|part| part.results()).max();
    let triangles = gpu.allocate(OP, (waiting.unwrap_or(1) * TRIANGLE) as u64)?;
    for part in &parts {
        let (seen, to) = (part.of_views(pixels, 8), part.of_results(&found, 12));
        let cameras = part.of_table(projections, 48);
        let counts =
            [part.results(), part.views(), part.rows(), part.is_first().into(), part.is_last().into()];
        let shifts = [seen.shift(8), cameras.shift(16), to.shift(4), f32::NAN.to_bits()];
        let bindings = [seen.binding, cameras.binding, to.binding, (&triangles).into()];
        let groups = spread(part.results().div_ceil(THREADS as usize) as u64);
        gpu.launch(
            &kernel,
            &bindings,
            &[counts.map(|n: usize| n as u32).as_slice(), &shifts].concat(),
            groups,
        )?;
    }
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
    let kernel = Kernel::new("points_from_matches", &header(), include_str!("points_from_matches.wgsl"));
    let points = Tensor::on_gpu(gpu, MATCHES, DType::F32, &[batch, height, width, 3])?;
    let depth = Tensor::on_gpu(gpu, MATCHES, DType::F32, &[batch, height, width])?;
    let confidence = Tensor::on_gpu(gpu, MATCHES, DType::F32, &[batch, height, width])?;
    let (pixels, camera_bytes) = (height * width, [36, 48].map(|bytes| (views + 1) * bytes));
    // Whatever else is split, the cameras of an item are not.
    row_ranges(MATCHES, gpu, batch, &camera_bytes)?;
    let item_bytes = [views * pixels * 20, pixels * 12, camera_bytes[1]];
    for part in parts(MATCHES, gpu, [batch, views, pixels], &item_bytes, &[20, 12])? {
        let found = part.of_views(matches, 20);
        let (k, pose) = (part.of_items(intrinsics, camera_bytes[0]), part.of_items(poses, camera_bytes[1]));
        let to = [(&points, 12), (&depth, 4), (&confidence, 4)].map(|(t, bytes)| part.of_results(t, bytes));
        let counts = [
            part.results(),
            views,
            part.first_view(),
            part.views(),
            part.rows(),
            too_few,
            part.is_last().into(),
        ];
        let shifts =
            [k.shift(4), pose.shift(16), found.shift(4), to[0].shift(4), to[1].shift(4), f32::NAN.to_bits()];
        let bindings = [k.binding, pose.binding, found.binding, to[0].binding, to[1].binding, to[2].binding];
        let groups = spread(part.results().div_ceil(THREADS as usize) as u64);
        gpu.launch(
            &kernel,
            &bindings,
            &[counts.map(|n: usize| n as u32).as_slice(), &shifts].concat(),
            groups,
        )?;
    }
    Ok(MatchedPoints { points, depth, confidence })
}

fn header() -> Header {
    Header::new()
        .count("THREADS", THREADS)
        .number("MIN_DIAGONAL_RATIO", MIN_DIAGONAL_RATIO)
        .text(include_str!("triangle.wgsl"))
}
