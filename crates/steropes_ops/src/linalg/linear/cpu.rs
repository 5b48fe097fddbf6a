//! The register tile of [`crate::cpu`] on the rows of a matrix.

use super::{Activation, Weight};
use crate::cpu::pack::{Matrix, PackedWeights};
use crate::cpu::product::{Epilogue, Residual, product, product_into};
use crate::error::values;
use steropes_tensor::{DType, Tensor};

#[derive(Debug)]
pub(super) struct Packed {
    weights: PackedWeights,
    bias: Option<Vec<f32>>,
}

impl Packed {
    /// `[outputs, inputs]` in f32, bf16, int8, blocks or groups.
    pub(super) fn new(weight: Weight<'_>, bias: Option<&Tensor>, [outputs, inputs]: [usize; 2]) -> Self {
        let weights = match weight {
            Weight::Blocks(matrix) => PackedWeights::from_blocks(matrix),
            Weight::Groups(matrix) => PackedWeights::from_groups(matrix),
            Weight::Int8(weight) => PackedWeights::int8_from_rows(values(weight), outputs, inputs),
            Weight::Values(weight) if weight.dtype() == DType::BF16 => {
                PackedWeights::from_bf16_rows(values(weight), outputs, inputs)
            }
            Weight::Values(weight) => PackedWeights::from_rows(&Matrix::new(values(weight), outputs, inputs)),
        };
        Self { weights, bias: bias.map(|bias| values(bias).to_vec()) }
    }

    pub(super) fn rounds_rows(&self) -> bool {
        self.weights.unit().is_some() || self.weights.takes_int8()
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
