//! A launch for each tensor, with nothing between them that waits.

use super::{AdamW, Factors, Parameter};
use crate::elementwise::copy::copy;
use crate::error::OpError;
use crate::gpu::{flat_groups, flat_header, flat_ranges, window};
use steropes_tensor::{Binding, DType, Gpu, Header, Kernel, Tensor};

pub(super) fn adamw(
    gpu: &Gpu,
    options: &AdamW,
    parameters: &mut [Parameter],
    gradients: &[&Tensor],
) -> Result<(), OpError> {
    for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
        let Parameter { value, state } = parameter;
        let mut written = vec![value, &mut state.first, &mut state.second];
        written.extend(state.largest.as_mut().filter(|_| options.amsgrad));
        written.extend(state.master.as_mut());
        for tensor in written {
            if !tensor.is_unshared() {
                *tensor = copy(tensor)?;
            }
        }
        state.step += 1;
        update(gpu, options, parameter, gradient)?;
    }
    Ok(())
}

fn update(
    gpu: &Gpu,
    options: &AdamW,
    Parameter { value, state }: &Parameter,
    gradient: &Tensor,
) -> Result<(), OpError> {
    // Four elements at a time, so that no array has more of them than its binding, whatever its dtype.
    let quad = |tensor: &Tensor| 4 * tensor.dtype().size_bytes();
    let precise = state.master.as_ref().unwrap_or(value);
    let mut tensors = vec![precise, gradient, &state.first, &state.second];
    tensors.extend(state.largest.as_ref().filter(|_| options.amsgrad));
    tensors.extend(state.master.as_ref().map(|_| value));
    let arrays: Vec<(&Tensor, usize)> = tensors.into_iter().map(|tensor| (tensor, quad(tensor))).collect();
    let kernel = kernel(value.dtype(), options.amsgrad);
    let Factors { direction, keep, first, second, rate, root, eps } = options.factors(state.step);
    let factors = [direction, keep, first, second[0], second[1], rate, root, eps];
    for range in flat_ranges(gpu, value.len().div_ceil(4), &arrays) {
        let bindings: Vec<Binding<'_>> =
            arrays.iter().map(|&(tensor, bytes)| window(tensor, bytes, &range).binding).collect();
        let mut params = vec![range.len() as u32];
        params.extend(factors.map(f32::to_bits));
        gpu.launch(&kernel, &bindings, &params, flat_groups(range.len()))?;
    }
    Ok(())
}

fn kernel(dtype: DType, amsgrad: bool) -> Kernel {
    let header = flat_header(Header::new());
    let header = if amsgrad {
        header.text(
            "@group(0) @binding(4) var<storage, read_write> largest: array<vec4<f32>>;\n\
             fn largest_with(i: u32, v: vec4<f32>) -> vec4<f32> {\n    \
             let x = select(v, largest[i], v <= largest[i]);\n    largest[i] = x;\n    return x;\n}\n",
        )
    } else {
        header.text("fn largest_with(i: u32, v: vec4<f32>) -> vec4<f32> { return v; }\n")
    };
    let header = if dtype == DType::F32 {
        header.alias("Stored", "vec4<f32>").text(
            "fn gradient_at(i: u32) -> vec4<f32> { return gradient[i]; }\n\
             fn put_copy(i: u32, x: vec4<f32>) {}\n",
        )
    } else {
        header.alias("Stored", "vec2<u32>").text(&format!(
            "@group(0) @binding({}) var<storage, read_write> copies: array<Stored>;\n\
             fn gradient_at(i: u32) -> vec4<f32> {{\n    let x = gradient[i];\n    \
             return vec4<f32>(unpack2x16float(x.x), unpack2x16float(x.y));\n}}\n\
             fn put_copy(i: u32, x: vec4<f32>) {{\n    \
             copies[i] = vec2<u32>(pack2x16float(x.xy), pack2x16float(x.zw));\n}}\n",
            if amsgrad { 5 } else { 4 }
        ))
    };
    Kernel::new("adamw", &header, include_str!("adamw.wgsl"))
}
