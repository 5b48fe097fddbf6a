//! f64 oracles, from the formulas, over the middle axis of `[outer, len, inner]`.

/// The elements along the axis, one list of places for each of the others.
fn lines([outer, len, inner]: [usize; 3]) -> impl Iterator<Item = Vec<usize>> {
    let line = move |o: usize, i: usize| (0..len).map(|l| (o * len + l) * inner + i).collect();
    (0..outer).flat_map(move |o| (0..inner).map(move |i| line(o, i)))
}

/// `e^x / sum(e^x)`.
pub(crate) fn softmax(x: &[f64], shape: [usize; 3]) -> Vec<f64> {
    log_softmax(x, shape).into_iter().map(f64::exp).collect()
}

/// `x - log(sum(e^x))`.
pub(crate) fn log_softmax(x: &[f64], shape: [usize; 3]) -> Vec<f64> {
    let mut y = vec![0.0; x.len()];
    for line in lines(shape) {
        let largest = line.iter().fold(f64::MIN, |m, &i| m.max(x[i]));
        let sum: f64 = line.iter().map(|&i| (x[i] - largest).exp()).sum();
        line.iter().for_each(|&i| y[i] = x[i] - largest - sum.ln());
    }
    y
}

/// `y (grad - sum(grad y))`, and `y` times the largest magnitude of `grad` on each line.
pub(crate) fn softmax_backward(y: &[f64], grad: &[f64], shape: [usize; 3]) -> [Vec<f64>; 2] {
    let (mut grad_x, mut magnitudes) = (vec![0.0; y.len()], vec![0.0; y.len()]);
    for line in lines(shape) {
        let sum: f64 = line.iter().map(|&i| grad[i] * y[i]).sum();
        let largest = line.iter().fold(0.0f64, |m, &i| m.max(grad[i].abs()));
        for i in line {
            grad_x[i] = y[i] * (grad[i] - sum);
            magnitudes[i] = y[i] * largest;
        }
    }
    [grad_x, magnitudes]
}

/// `grad - e^y sum(grad)`, and the magnitude of `grad` plus `e^y` times their sum on each line.
pub(crate) fn log_softmax_backward(y: &[f64], grad: &[f64], shape: [usize; 3]) -> [Vec<f64>; 2] {
    let (mut grad_x, mut magnitudes) = (vec![0.0; y.len()], vec![0.0; y.len()]);
    for line in lines(shape) {
        let sum: f64 = line.iter().map(|&i| grad[i]).sum();
        let all: f64 = line.iter().map(|&i| grad[i].abs()).sum();
        for i in line {
            grad_x[i] = grad[i] - y[i].exp() * sum;
            magnitudes[i] = grad[i].abs() + y[i].exp() * all;
        }
    }
    [grad_x, magnitudes]
}
