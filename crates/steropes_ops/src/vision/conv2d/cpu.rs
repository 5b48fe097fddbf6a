//! Plain form, to be replaced by the register tile and Winograd.

use super::Geometry;
use rayon::prelude::*;

#[derive(Debug)]
pub(super) struct Packed {
    weight: Vec<f32>, // [kernel, kernel, inputs, outputs]
    bias: Vec<f32>,
    geometry: Geometry,
}

pub(super) struct Fused<'a> {
    pub(super) relu_input: bool,
    pub(super) relu_output: bool,
    pub(super) residual: Option<&'a [f32]>,
}

impl Packed {
    pub(super) fn new(weight: &[f32], bias: Option<&[f32]>, g: Geometry) -> Self {
        let taps = g.kernel * g.kernel;
        let mut packed = vec![0.0; weight.len()];
        for o in 0..g.outputs {
            for i in 0..g.inputs {
                for t in 0..taps {
                    packed[(t * g.inputs + i) * g.outputs + o] = weight[(o * g.inputs + i) * taps + t];
                }
            }
        }
        let bias = bias.map_or_else(|| vec![0.0; g.outputs], <[f32]>::to_vec);
        Self { weight: packed, bias, geometry: g }
    }
}

pub(super) fn conv2d(
    x: &[f32],
    [_, height, width]: [usize; 3],
    shape: [usize; 4],
    packed: &Packed,
    fused: &Fused<'_>,
) -> Vec<f32> {
    let g = packed.geometry;
    let [_, out_h, out_w, _] = shape;
    let mut y = vec![0.0; shape.iter().product()];
    y.par_chunks_mut(g.outputs.max(1)).enumerate().for_each(|(pixel, y)| {
        let (b, r, c) = (pixel / (out_h * out_w), pixel / out_w % out_h, pixel % out_w);
        y.copy_from_slice(&packed.bias);
        for tap in 0..g.kernel * g.kernel {
            let row = (r * g.stride + tap / g.kernel).wrapping_sub(g.padding);
            let col = (c * g.stride + tap % g.kernel).wrapping_sub(g.padding);
            if row >= height || col >= width {
                continue;
            }
            let source = &x[((b * height + row) * width + col) * g.inputs..][..g.inputs];
            for (i, &v) in source.iter().enumerate() {
                let v = if fused.relu_input { v.max(0.0) } else { v };
                let w = &packed.weight[(tap * g.inputs + i) * g.outputs..][..g.outputs];
                y.iter_mut().zip(w).for_each(|(y, w)| *y += v * w);
            }
        }
        if fused.relu_output {
            y.iter_mut().for_each(|y| *y = y.max(0.0));
        }
        if let Some(residual) = fused.residual {
            y.iter_mut().zip(&residual[pixel * g.outputs..]).for_each(|(y, r)| *y += r);
        }
    });
    y
}
