//! f64 oracle, from the definition.

use super::super::gather::reference::offsets;

/// `x` with `src` added at the places that `index`, of shape `shape`, names along `axis`.
pub(crate) fn scatter_add(
    (x, x_shape): (&[f32], &[usize]),
    shape: &[usize],
    axis: usize,
    index: &[i64],
    src: &[f32],
) -> Vec<f64> {
    let mut y: Vec<f64> = x.iter().map(|&v| v.into()).collect();
    for (at, &src) in offsets(x_shape, shape, axis, index).into_iter().zip(src) {
        y[at] += f64::from(src);
    }
    y
}
