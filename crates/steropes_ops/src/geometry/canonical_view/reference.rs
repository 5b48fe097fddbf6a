//! The formulas over all pairs at once, in f64.

use super::RelativeDepth;

/// Points, relative depth and confidence of `pairs` pointmaps `[pairs, height, width, 3]`.
pub(super) fn canonical_view(
    points: &[f32],
    confidence: &[f32],
    [pairs, height, width]: [usize; 3],
    subsample: usize,
    mode: RelativeDepth,
) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let weight = |v: usize, i: usize| f64::from(confidence[v * height * width + i]) - 0.999;
    let coordinate = |v: usize, i: usize, c: usize| f64::from(points[3 * (v * height * width + i) + c]);
    let mean = |i: usize, value: &dyn Fn(usize) -> f64| {
        let total: f64 = (0..pairs).map(|v| weight(v, i)).sum();
        (0..pairs).map(|v| weight(v, i) * value(v)).sum::<f64>() / total
    };
    let (mut canon, mut relative, mut conf) = (Vec::new(), Vec::new(), Vec::new());
    for y in 0..height {
        for x in 0..width {
            let i = y * width + x;
            let block = |t: usize| t / subsample * subsample + subsample / 2;
            let anchor = block(y) * width + block(x);
            canon.extend((0..3).map(|c| mean(i, &|v| coordinate(v, i, c))));
            conf.push(mean(i, &|v| weight(v, i)));
            let z = |v: usize| coordinate(v, anchor, 2).max(f64::from(f32::EPSILON));
            let across = |v: usize| {
                let d = |c: usize| coordinate(v, i, c) - coordinate(v, anchor, c);
                d(0).hypot(d(1)).max(1e-8)
            };
            relative.push(match mode {
                RelativeDepth::AverageRatio => mean(i, &|v| coordinate(v, i, 2) / z(v)),
                RelativeDepth::AverageAngle => {
                    let angle = mean(i, &|v| ((coordinate(v, i, 2) - z(v)) / across(v)).atan());
                    let r = (0..pairs).map(across).sum::<f64>() / pairs as f64;
                    1.0 + r * angle.tan() / mean(anchor, &|v| coordinate(v, anchor, 2))
                }
            });
        }
    }
    (canon, relative, conf)
}
