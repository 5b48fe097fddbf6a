//! Plain form, to be replaced by the register tile.

use super::Activation;
use rayon::prelude::*;

#[derive(Debug)]
pub(super) struct Packed {
    weight: Vec<f32>,
    bias: Vec<f32>,
    inputs: usize,
    outputs: usize,
}

impl Packed {
    pub(super) fn new(weight: &[f32], bias: Option<&[f32]>, outputs: usize, inputs: usize) -> Self {
        let bias = bias.map_or_else(|| vec![0.0; outputs], <[f32]>::to_vec);
        Self { weight: weight.to_vec(), bias, inputs, outputs }
    }
}

pub(super) fn linear(x: &[f32], w: &Packed, activation: Activation) -> Vec<f32> {
    let rows = x.len() / w.inputs.max(1);
    let mut y = vec![0.0; rows * w.outputs];
    accumulate(&mut y, x, w);
    match activation {
        Activation::Identity => {}
        Activation::Relu => y.par_iter_mut().for_each(|v| *v = v.max(0.0)),
        Activation::Gelu => y.par_iter_mut().for_each(|v| *v = gelu(*v)),
    }
    y
}

pub(super) fn linear_add(y: &mut [f32], x: &[f32], w: &Packed) {
    accumulate(y, x, w);
}

fn accumulate(y: &mut [f32], x: &[f32], w: &Packed) {
    if w.outputs == 0 {
        return;
    }
    y.par_chunks_mut(w.outputs).zip(x.par_chunks(w.inputs)).for_each(|(y, x)| {
        for (o, y) in y.iter_mut().enumerate() {
            let row = &w.weight[o * w.inputs..][..w.inputs];
            *y += w.bias[o] + row.iter().zip(x).map(|(a, b)| a * b).sum::<f32>();
        }
    });
}

fn gelu(x: f32) -> f32 {
    // Abramowitz and Stegun 7.1.26 in f64 is too rough; a series in f64 is exact enough for now.
    let z = f64::from(x) / std::f64::consts::SQRT_2;
    (f64::from(x) / 2.0 * (1.0 + erf(z))) as f32
}

fn erf(z: f64) -> f64 {
    let a = z.abs();
    if a > 6.0 {
        return z.signum();
    }
    let mut term = a;
    let mut sum = a;
    for n in 1..200 {
        term *= -a * a / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    z.signum() * sum * 2.0 / std::f64::consts::PI.sqrt()
}
