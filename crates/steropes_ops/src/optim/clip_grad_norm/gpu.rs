//! Launches: sums of squares of every tensor, one sum of those, then every tensor times the factor.

use super::{EPS, OP};
use crate::elementwise::copy::copy;
use crate::error::OpError;
use crate::gpu::{bind, flat_groups, flat_header, flat_ranges, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: usize = 256;

/// Vectors of four elements that an invocation adds up.
const VECTORS: usize = 16;

pub(super) fn clip_grad_norm(gpu: &Gpu, gradients: &mut [Tensor], max_norm: f32) -> Result<Tensor, OpError> {
    // A workgroup adds up one part of one range of one tensor.
    let mut parts = 0;
    let mut work = Vec::new();
    for (i, gradient) in gradients.iter().enumerate() {
        for range in flat_ranges(gpu, gradient.len().div_ceil(4), &[(gradient, quad(gradient))]) {
            let groups = range.len().div_ceil(THREADS * VECTORS);
            work.push((i, range, parts, groups));
            parts += groups;
        }
    }
    let sums = Tensor::on_gpu(gpu, OP, DType::F32, &[parts])?;
    for (i, range, first_part, groups) in &work {
        let gradient = &gradients[*i];
        let bindings = [window(gradient, quad(gradient), range).binding, bind(&sums)];
        let elements = (4 * range.len()).min(gradient.len() - 4 * range.start);
        let params = [elements as u32, *first_part as u32, *groups as u32];
        gpu.launch(&sums_kernel(gradient.dtype()), &bindings, &params, spread(*groups as u64))?;
    }
    let norm = Tensor::on_gpu(gpu, OP, DType::F32, &[])?;
    let factor = Tensor::on_gpu(gpu, OP, DType::F32, &[])?;
    let header = Header::new().count("THREADS", THREADS as u32).text(include_str!("tree.wgsl"));
    let kernel = Kernel::new("clip_grad_norm", &header, include_str!("norm.wgsl"));
    let params = [parts as u32, max_norm.to_bits(), EPS.to_bits()];
    gpu.launch(&kernel, &[bind(&sums), bind(&norm), bind(&factor)], &params, [1, 1, 1])?;
    for (i, range, ..) in &work {
        let gradient = &mut gradients[*i];
        if !gradient.is_unshared() {
            *gradient = copy(gradient)?;
        }
        let kernel =
            Kernel::new("clip_grad_norm", &flat_header(stored(gradient.dtype())), include_str!("scale.wgsl"));
        let bindings = [window(gradient, quad(gradient), range).binding, bind(&factor)];
        gpu.launch(&kernel, &bindings, &[range.len() as u32], flat_groups(range.len()))?;
    }
    Ok(norm)
}

/// Bytes of four elements, as kernels see them: no array has more of those than its binding, whatever its dtype.
fn quad(tensor: &Tensor) -> usize {
    4 * tensor.dtype().size_bytes()
}

/// `Stored` (four elements), `wide` and `narrow`.
fn stored(dtype: DType) -> Header {
    if dtype == DType::F32 {
        Header::new().alias("Stored", "vec4<f32>").text(
            "fn wide(x: Stored) -> vec4<f32> { return x; }\nfn narrow(x: vec4<f32>) -> Stored { return x; }\n",
        )
    } else {
        Header::new().alias("Stored", "vec2<u32>").text(
            "fn wide(x: Stored) -> vec4<f32> { return vec4<f32>(unpack2x16float(x.x), unpack2x16float(x.y)); }\n\
             fn narrow(x: vec4<f32>) -> Stored { return Stored(pack2x16float(x.xy), pack2x16float(x.zw)); }\n",
        )
    }
}

fn sums_kernel(dtype: DType) -> Kernel {
    let header = stored(dtype)
        .count("THREADS", THREADS as u32)
        .count("VECTORS", VECTORS as u32)
        .text(include_str!("tree.wgsl"));
    Kernel::new("clip_grad_norm", &header, include_str!("sums.wgsl"))
}
