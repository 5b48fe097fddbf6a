//! f64 oracle, from the formula.

/// The extents and the factor of a layer.
#[derive(Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) rank: usize,
    pub(crate) scale: f64,
}

/// `x Wᵀ + bias + scale (x Aᵀ) Bᵀ` for rows of `x`.
pub(crate) fn lora_linear(
    layer: Layer,
    x: &[f64],
    w: &[f64],
    bias: &[f64],
    a: &[f64],
    b: &[f64],
) -> Vec<f64> {
    let Layer { inputs, outputs, rank, scale } = layer;
    let mut y = Vec::new();
    for row in x.chunks_exact(inputs) {
        let dot = |weights: &[f64]| row.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>();
        let low: Vec<f64> = (0..rank).map(|r| dot(&a[r * inputs..][..inputs])).collect();
        for o in 0..outputs {
            let correction: f64 = (0..rank).map(|r| low[r] * b[o * rank + r]).sum();
            y.push(dot(&w[o * inputs..][..inputs]) + bias[o] + scale * correction);
        }
    }
    y
}
