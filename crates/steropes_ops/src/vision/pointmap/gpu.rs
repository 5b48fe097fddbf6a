//! Launches.

use super::{CONFIDENCE, ConfidenceMode, DepthMode, OP};
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: usize = 256;

/// Values or pixels of an invocation.
const EACH: usize = 4;

/// Bytes of four f32.
const VECTOR: usize = 16;

pub(super) fn pointmap(
    gpu: &Gpu,
    raw: &Tensor,
    shapes: [&[usize]; 2],
    depth: DepthMode,
    mode: ConfidenceMode,
) -> Result<(Tensor, Tensor), OpError> {
    let points = Tensor::on_gpu(gpu, OP, DType::F32, shapes[0])?;
    let confidences = Tensor::on_gpu(gpu, OP, DType::F32, shapes[1])?;
    let header = header(raw.dtype(), mode)
        .flag("LINEAR", depth == DepthMode::Linear)
        .flag("SQUARE", depth == DepthMode::Square)
        .text(&shared_text());
    let kernel = Kernel::new("pointmap", &header, include_str!("pointmap.wgsl"));
    let pixels = confidences.len();
    let pixel_bytes = 4 * raw.dtype().size_bytes();
    // Groups of four pixels are three vectors of points and one of confidences.
    for groups in row_ranges(OP, gpu, pixels.div_ceil(EACH), &[EACH * pixel_bytes, 3 * VECTOR, VECTOR])? {
        let windows = [
            window(raw, EACH * pixel_bytes, &groups),
            window(&points, 3 * VECTOR, &groups),
            window(&confidences, VECTOR, &groups),
        ];
        let count = (groups.end * EACH).min(pixels) - groups.start * EACH;
        let [low, range] = bounds(mode);
        let shifts = [windows[0].shift(pixel_bytes), windows[1].shift(VECTOR), windows[2].shift(VECTOR)];
        let params = [count as u32, shifts[0], shifts[1], shifts[2], low.to_bits(), range.to_bits()];
        let workgroups = spread(groups.len().div_ceil(THREADS) as u64);
        gpu.launch(&kernel, &windows.map(|w| w.binding), &params, workgroups)?;
    }
    Ok((points, confidences))
}

pub(super) fn confidence(gpu: &Gpu, raw: &Tensor, mode: ConfidenceMode) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, CONFIDENCE, DType::F32, raw.shape())?;
    let header = header(raw.dtype(), mode).text(&shared_text());
    let kernel = Kernel::new("confidence", &header, include_str!("confidence.wgsl"));
    let vector = EACH * raw.dtype().size_bytes();
    for vectors in row_ranges(CONFIDENCE, gpu, raw.len().div_ceil(EACH), &[vector, VECTOR])? {
        let windows = [window(raw, vector, &vectors), window(&y, VECTOR, &vectors)];
        let [low, range] = bounds(mode);
        let shifts = [windows[0].shift(vector), windows[1].shift(VECTOR)];
        let params = [vectors.len() as u32, shifts[0], shifts[1], low.to_bits(), range.to_bits()];
        let workgroups = spread(vectors.len().div_ceil(THREADS) as u64);
        gpu.launch(&kernel, &windows.map(|w| w.binding), &params, workgroups)?;
    }
    Ok(y)
}

fn header(dtype: DType, mode: ConfidenceMode) -> Header {
    let header = Header::new().count("THREADS", THREADS as u32);
    let header = match dtype {
        DType::F16 => header.alias("Raw", "vec2<u32>").text(
            "fn raw_values(v: Raw) -> vec4<f32> { return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)); }\n",
        ),
        _ => header.alias("Raw", "vec4<f32>").text("fn raw_values(v: Raw) -> vec4<f32> { return v; }\n"),
    };
    let (sigmoid, capped) = match mode {
        ConfidenceMode::Exp { max, .. } => (false, max.is_finite()),
        ConfidenceMode::Sigmoid { .. } => (true, false),
    };
    header.flag("SIGMOID", sigmoid).flag("CAPPED", capped)
}

fn shared_text() -> String {
    [include_str!("exponential.wgsl"), include_str!("confidences.wgsl")].concat()
}

/// The lower bound, and the distance of the upper one: the largest number where there is none.
fn bounds(mode: ConfidenceMode) -> [f32; 2] {
    let (ConfidenceMode::Exp { min, max } | ConfidenceMode::Sigmoid { min, max }) = mode;
    [min, (max - min).min(f32::MAX)]
}
