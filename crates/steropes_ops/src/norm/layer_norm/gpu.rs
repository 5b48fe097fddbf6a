//! Pipeline choice and launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Rows, bind, bind_rows};
use steropes_tensor::{Capabilities, DType, Gpu, Header, Kernel, Tensor, row_slices, spread};

/// Values that an invocation keeps in registers; with 64 invocations a row this allows rows of 16384 elements.
const MAX_PER_THREAD: u32 = 64;

pub(super) fn layer_norm(
    gpu: &Gpu,
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
) -> Result<Tensor, OpError> {
    let width = weight.len();
    let rows = Rows::choose(gpu.capabilities());
    let kernel = kernel(gpu.capabilities(), x.dtype(), width)?;
    let y = Tensor::on_gpu(gpu, OP, x.dtype(), x.shape())?;
    let row_bytes = width * x.dtype().size_bytes();
    for slice in row_slices(gpu.capabilities(), x.len() / width, &[row_bytes]) {
        let bindings = [bind_rows(x, width, &slice), bind(weight), bind(bias), bind_rows(&y, width, &slice)];
        let params = [slice.len() as u32, eps.to_bits()];
        gpu.launch(&kernel, &bindings, &params, spread(slice.len().div_ceil(rows.rows as usize) as u64))?;
    }
    Ok(y)
}

fn kernel(gpu: &Capabilities, dtype: DType, width: usize) -> Result<Kernel, OpError> {
    let rows = Rows::choose(gpu);
    let vectors = width % 4 == 0;
    let per_row = if vectors { width / 4 } else { width };
    let per_thread = per_row.div_ceil(rows.threads as usize);
    if per_thread > MAX_PER_THREAD as usize {
        let why = format!("rows of {width} elements do not fit its registers");
        return Err(OpError::Unsupported { op: OP, device: gpu.name.clone(), why });
    }
    let header = Header::new().element(dtype);
    let header = if vectors {
        header
            .alias("Value", "Elem4")
            .alias("Acc", "vec4<f32>")
            .text("fn total(v: Acc) -> f32 { return (v.x + v.y) + (v.z + v.w); }\n")
    } else {
        header.alias("Value", "Elem").alias("Acc", "f32").text("fn total(v: Acc) -> f32 { return v; }\n")
    };
    let header = header
        .count("WIDTH", per_row as u32)
        .count("COUNT", width as u32)
        .count("PER_THREAD", per_thread as u32);
    Ok(Kernel::new("layer_norm", &rows.header(header), include_str!("layer_norm.wgsl")))
}
