//! The layers that a retrieval file may have between its two whitenings.

use steropes_nn::{LayerNorm, Linear, LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::elementwise::gelu::gelu;
use steropes_tensor::{Device, Tensor};

const NORM_EPS: f32 = 1e-5;

/// Linear layers with a norm and a GELU between each and the next.
#[derive(Debug)]
pub(super) struct Projector {
    device: Device,
    hidden: Vec<(Linear, LayerNorm)>,
    last: Linear,
    /// Extents of the layers' outputs.
    widths: Vec<usize>,
    /// Whether the input is added to the output.
    pub(super) is_residual: bool,
}

impl Projector {
    /// Reads the layers `0` (linear), `1` (norm), `3` (linear), .. below `weights`; `None` if there are none.
    pub(super) fn load(
        weights: &Weights<'_>,
        inputs: usize,
        is_residual: bool,
    ) -> Result<Option<Self>, LoadError> {
        let has_layer = |layer: usize| weights.at(3 * layer).has("weight");
        let count = (0..).take_while(|&layer| has_layer(layer)).count();
        let (mut hidden, mut widths, mut width) = (Vec::new(), Vec::new(), inputs);
        for layer in 0..count {
            let place = weights.at(3 * layer);
            let [outputs, _] = place.shape::<2>("weight")?;
            let linear = Linear::load(&place, width, outputs)?;
            widths.push(outputs);
            if layer + 1 == count {
                let device = weights.device().clone();
                return Ok(Some(Self { device, hidden, last: linear, widths, is_residual }));
            }
            hidden.push((linear, LayerNorm::load(&weights.at(3 * layer + 1), outputs, NORM_EPS)?));
            width = outputs;
        }
        Ok(None)
    }

    /// Extents of the layers' outputs.
    pub(super) fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// `[rows, inputs]` to `[rows, outputs]`, row by row.
    pub(super) fn forward(&self, rows: Vec<f32>, inputs: usize) -> Result<Vec<f32>, OpError> {
        let shape = [rows.len() / inputs, inputs];
        let mut x = Tensor::new(&self.device, &shape, rows).expect("whole rows on the CPU");
        let start = x.clone();
        for (linear, norm) in &self.hidden {
            x = gelu(norm.forward(&linear.forward(&x)?)?)?;
        }
        let y = if self.is_residual { self.last.forward_add(start, &x)? } else { self.last.forward(&x)? };
        Ok(y.into_vec::<f32>().expect("f32 on the CPU"))
    }
}
