//! f64 oracle, from the formula.

/// The losses of rows of `classes` values; 0 for ignored ones.
pub(crate) fn losses(
    logits: &[f64],
    targets: &[i64],
    classes: usize,
    ignore: i64,
    smoothing: f64,
) -> Vec<f64> {
    let row = |(row, &target): (&[f64], &i64)| {
        if target == ignore {
            return 0.0;
        }
        let top = row.iter().copied().fold(f64::MIN, f64::max);
        let log_sum = top + row.iter().map(|x| (x - top).exp()).sum::<f64>().ln();
        let mut loss = 0.0;
        for (c, x) in row.iter().enumerate() {
            let share = smoothing / classes as f64 + if c as i64 == target { 1.0 - smoothing } else { 0.0 };
            if share > 0.0 {
                loss -= share * (x - log_sum);
            }
        }
        loss
    };
    logits.chunks_exact(classes).zip(targets).map(row).collect()
}

/// Their mean over the rows that are not ignored.
pub(crate) fn mean(losses: &[f64], targets: &[i64], ignore: i64) -> f64 {
    losses.iter().sum::<f64>() / targets.iter().filter(|&&t| t != ignore).count() as f64
}

/// The gradient of the losses times `scale` of each row.
pub(crate) fn gradient(
    logits: &[f64],
    targets: &[i64],
    classes: usize,
    ignore: i64,
    smoothing: f64,
    scale: impl Fn(usize) -> f64,
) -> Vec<f64> {
    let mut gradient = Vec::new();
    for (i, (row, &target)) in logits.chunks_exact(classes).zip(targets).enumerate() {
        let top = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|x| (x - top).exp()).sum();
        for (c, x) in row.iter().enumerate() {
            let share = smoothing / classes as f64 + if c as i64 == target { 1.0 - smoothing } else { 0.0 };
            gradient.push(if target == ignore { 0.0 } else { scale(i) * ((x - top).exp() / sum - share) });
        }
    }
    gradient
}
