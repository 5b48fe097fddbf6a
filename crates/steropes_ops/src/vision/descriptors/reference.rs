//! The formula, pixel by pixel.

/// `v / |v|` over the first `dim` of `channels` values of every pixel, and the values after them.
pub(super) fn descriptors(raw: &[f32], dim: usize, channels: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut unit, mut rest) = (Vec::new(), Vec::new());
    for pixel in raw.chunks(channels) {
        let pixel: Vec<f64> = pixel.iter().map(|&v| f64::from(v)).collect();
        let mut squares = 0.0;
        for v in &pixel[..dim] {
            squares += v * v;
        }
        for v in &pixel[..dim] {
            unit.push(v / squares.sqrt());
        }
        rest.extend(&pixel[dim..]);
    }
    (unit, rest)
}
