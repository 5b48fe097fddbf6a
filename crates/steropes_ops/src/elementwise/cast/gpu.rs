//! Launches.

use super::OP;
use crate::error::OpError;
use crate::gpu::{flat_header, launch_flat, unsupported};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor};

pub(super) fn cast(gpu: &Gpu, x: &Tensor, dtype: DType) -> Result<Tensor, OpError> {
    if !gpu.capabilities().f16 {
        return Err(unsupported(OP, gpu, "it has no f16".to_owned()));
    }
    let y = Tensor::on_gpu(gpu, OP, dtype, x.shape())?;
    // Four values at a time.
    let bytes = |tensor: &Tensor| 4 * tensor.dtype().size_bytes();
    launch_flat(gpu, &kernel(dtype), x.len().div_ceil(4), &[(x, bytes(x)), (&y, bytes(&y))])?;
    Ok(y)
}

fn kernel(dtype: DType) -> Kernel {
    let (from, to, text) = match dtype {
        DType::F16 => ("vec4<u32>", "vec2<u32>", include_str!("to_f16.wgsl")),
        _ => ("vec2<u32>", "vec4<u32>", include_str!("to_f32.wgsl")),
    };
    let header = flat_header(Header::new()).alias("From", from).alias("To", to).text(text);
    Kernel::new("cast", &header, include_str!("cast.wgsl"))
}
