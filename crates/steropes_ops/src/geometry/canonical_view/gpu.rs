//! Launches. Rows of blocks are bound together, because a pixel reads the anchor of its block.

use super::{CanonicalSums, NO_WEIGHT, OP, RelativeDepth};
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;

/// Words of a pixel: the seven sums of the CPU and flags of what was wrong with it.
const SUMS: usize = 8;

/// Words of a pixel of the finished view: point, relative depth, confidence, flags.
const VIEW: usize = 6;

/// Sums of no pairs for `pixels` pixels.
pub(super) fn zeros(gpu: &Gpu, pixels: usize) -> Result<Tensor, OpError> {
    let sums = Tensor::on_gpu(gpu, OP, DType::F32, &[pixels, SUMS])?;
    gpu.clear(sums.gpu_memory().expect("made on a GPU"))?;
    Ok(sums)
}

pub(super) fn add(
    gpu: &Gpu,
    view: &CanonicalSums,
    sums: &Tensor,
    pointmap: &Tensor,
    confidence: &Tensor,
) -> Result<(), OpError> {
    let header = header(view.mode).element(pointmap.dtype()).count("NO_WEIGHT", NO_WEIGHT.to_bits());
    let kernel = Kernel::new("canonical_view_add", &header, include_str!("add.wgsl"));
    let (row, size) = (view.width * view.subsample, pointmap.dtype().size_bytes());
    let row_bytes = [4 * SUMS * row, 3 * size * row, size * row];
    for rows in row_ranges(OP, gpu, view.height / view.subsample, &row_bytes)? {
        let tensors = [sums, pointmap, confidence];
        let [s, p, c] = std::array::from_fn(|i| window(tensors[i], row_bytes[i], &rows));
        let count = rows.len() * row;
        let sizes = [count, view.width, view.subsample, 0].map(|n| n as u32);
        let params = [&sizes[..], &[s.shift(16), p.shift(size), c.shift(size)]].concat();
        let groups = spread(count.div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &[p.binding, c.binding, s.binding], &params, groups)?;
    }
    Ok(())
}

/// Points, relative depths and confidences.
pub(super) fn finish(
    gpu: &Gpu,
    view: &CanonicalSums,
    sums: &Tensor,
) -> Result<(Vec<f32>, Vec<f32>, Vec<f32>), OpError> {
    let kernel = Kernel::new("canonical_view_finish", &header(view.mode), include_str!("finish.wgsl"));
    let pixels = view.width * view.height;
    let words = Tensor::on_gpu(gpu, OP, DType::F32, &[pixels, VIEW])?;
    let row = view.width * view.subsample;
    let row_bytes = [4 * SUMS * row, 4 * VIEW * row];
    for rows in row_ranges(OP, gpu, view.height / view.subsample, &row_bytes)? {
        let (s, v) = (window(sums, row_bytes[0], &rows), window(&words, row_bytes[1], &rows));
        let count = rows.len() * row;
        let sizes = [count, view.width, view.subsample, 0].map(|n| n as u32);
        let params = [&sizes[..], &[(view.pairs as f32).to_bits(), s.shift(16), v.shift(4)]].concat();
        let groups = spread(count.div_ceil(THREADS as usize) as u64);
        gpu.launch(&kernel, &[s.binding, v.binding], &params, groups)?;
    }
    let words = words.read::<f32>()?;
    let pixels = words.chunks_exact(VIEW);
    let wrong = |flag: u32| pixels.clone().filter(|w| w[5] as u32 & flag != 0).count();
    for (argument, expected, wrong) in
        [("pointmap", "finite", wrong(1)), ("confidence", "finite and above 0.999", wrong(2))]
    {
        if wrong > 0 {
            return Err(OpError::value(OP, argument, expected, format!("{wrong} pixels where it is not")));
        }
    }
    let points = pixels.clone().flat_map(|w| [w[0], w[1], w[2]]).collect();
    Ok((points, pixels.clone().map(|w| w[3]).collect(), pixels.map(|w| w[4]).collect()))
}

fn header(mode: RelativeDepth) -> Header {
    Header::new()
        .count("THREADS", THREADS)
        .flag("AVERAGE_ANGLE", mode == RelativeDepth::AverageAngle)
        .text(include_str!("angle.wgsl"))
}
