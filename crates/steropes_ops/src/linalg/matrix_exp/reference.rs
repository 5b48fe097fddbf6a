//! f64 oracle: the series of a small matrix, squared.

/// `exp(a)` of one matrix.
pub(crate) fn matrix_exp(a: &[f64], n: usize) -> Vec<f64> {
    let product = |x: &[f64], y: &[f64]| -> Vec<f64> {
        (0..n * n).map(|t| (0..n).map(|k| x[t / n * n + k] * y[k * n + t % n]).sum()).collect()
    };
    let largest = a.iter().fold(0.0f64, |most, x| most.max(x.abs())) * n as f64;
    let halvings = if largest > 0.25 { (4.0 * largest).log2().ceil() as i32 } else { 0 };
    let small: Vec<f64> = a.iter().map(|x| x * 0.5f64.powi(halvings)).collect();
    let mut term: Vec<f64> = (0..n * n).map(|t| f64::from(u8::from(t % (n + 1) == 0))).collect();
    let mut sum = term.clone();
    for k in 1..20 {
        term = product(&term, &small).into_iter().map(|x| x / f64::from(k)).collect();
        sum.iter_mut().zip(&term).for_each(|(sum, x)| *sum += x);
    }
    for _ in 0..halvings {
        sum = product(&sum, &sum);
    }
    sum
}
