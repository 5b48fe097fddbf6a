//! The register tile of [`crate::cpu`] on the rows of a matrix.

use super::Activation;
use crate::cpu::pack::{Matrix, PackedWeights};
use crate::cpu::product::{Epilogue, Residual, product, product_into};

#[derive(Debug)]
pub(super) struct Packed {
    weights: PackedWeights,
    bias: Option<Vec<f32>>,
}

impl Packed {
    pub(super) fn new(weight: &[f32], bias: Option<&[f32]>, outputs: usize, inputs: usize) -> Self {
        let weights = PackedWeights::from_rows(&Matrix::new(weight, outputs, inputs));
        Self { weights, bias: bias.map(<[f32]>::to_vec) }
    }
}

pub(super) fn linear(x: &[f32], rows: usize, w: &Packed, activation: Activation) -> Vec<f32> {
    let epilogue = Epilogue { activation, ..Epilogue::bias(w.bias.as_deref()) };
    product(&Matrix::new(x, rows, w.weights.depth()), &w.weights, epilogue)
}

pub(super) fn linear_add(y: &mut [f32], x: &[f32], rows: usize, w: &Packed) {
    let epilogue = Epilogue { residual: Residual::Output, ..Epilogue::bias(w.bias.as_deref()) };
    product_into(&Matrix::new(x, rows, w.weights.depth()), &w.weights, epilogue, y);
}
