//! Matrices for cases, and plain f64 arithmetic on them.

use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::Verdict;
use steropes_testkit::inputs::normal;

/// Sizes around those where kernels change.
pub(crate) const SIZES: [usize; 17] = [1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 63, 64, 65, 100];

/// Enough matrices for more than one group of lanes where they are small.
pub(crate) fn count_for(n: usize) -> usize {
    if n <= 17 { 19 } else { 2 }
}

/// The dtypes that a device computes with, each with its rounding.
pub(crate) fn precisions(device: &Device) -> Vec<(DType, f64)> {
    let single = (DType::F32, f64::from(f32::EPSILON));
    if device.gpu().is_some() { vec![single] } else { vec![single, (DType::F64, f64::EPSILON)] }
}

/// A tensor of values rounded to `dtype`, and the values as it holds them.
pub(crate) fn tensor(device: &Device, dtype: DType, shape: &[usize], values: &[f64]) -> (Tensor, Vec<f64>) {
    let fits = "a test's shape fits its values";
    if dtype == DType::F64 {
        return (Tensor::new(device, shape, values.to_vec()).expect(fits), values.to_vec());
    }
    let rounded: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    let held = rounded.iter().map(|&v| f64::from(v)).collect();
    (Tensor::new(device, shape, rounded).expect(fits), held)
}

/// The values of an f32 or f64 tensor.
pub(crate) fn read(tensor: &Tensor) -> Result<Vec<f64>, String> {
    match tensor.dtype() {
        DType::F64 => tensor.read::<f64>(),
        _ => tensor.read::<f32>().map(|v| v.into_iter().map(f64::from).collect()),
    }
    .map_err(|e| e.to_string())
}

/// Standard normal values.
pub(crate) fn random(name: &str, len: usize) -> Vec<f64> {
    normal(name, len).into_iter().map(f64::from).collect()
}

/// Positive definite matrices with eigenvalues of about 0.3 to 4.
pub(crate) fn positive(name: &str, count: usize, n: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for g in random(name, count * n * n).chunks_exact((n * n).max(1)) {
        let mut a = product(g, &transposed(g, n, n), [n, n, n]);
        for (i, value) in a.iter_mut().enumerate() {
            *value = *value / n as f64 + if i / n == i % n { 0.3 } else { 0.0 };
        }
        out.extend(a);
    }
    out
}

/// `a b` of extents `[m, n, k]`.
pub(crate) fn product(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for i in 0..m {
        for l in 0..k {
            let factor = a[i * k + l];
            for (c, b) in c[i * n..][..n].iter_mut().zip(&b[l * n..][..n]) {
                *c += factor * b;
            }
        }
    }
    c
}

/// The transposed `[rows, columns]` matrix.
pub(crate) fn transposed(a: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|e| a[e % rows * columns + e / rows]).collect()
}

/// Magnitudes.
pub(crate) fn magnitudes(a: &[f64]) -> Vec<f64> {
    a.iter().map(|v| v.abs()).collect()
}

/// Checks that values are as wanted within bounds of their own; what is not a number is wrong.
pub(crate) fn check_within(what: &str, got: &[f64], want: &[f64], bounds: impl Fn(usize) -> f64) -> Verdict {
    if got.len() != want.len() {
        return Err(format!("{what}: {} values, expected {}", got.len(), want.len()));
    }
    for (i, (&got, &want)) in got.iter().zip(want).enumerate() {
        let (error, bound) = ((got - want).abs(), bounds(i));
        if error.is_nan() || error > bound {
            return Err(format!(
                "{what}, element {i}: got {got:e}, want {want:e}, error {error:.3e} > {bound:.3e}"
            ));
        }
    }
    Ok(())
}

/// One triangle of square matrices, `other` everywhere else.
pub(crate) fn triangle_of(a: &[f64], n: usize, upper: bool, other: f64) -> Vec<f64> {
    let inside = |i: usize, j: usize| if upper { i <= j } else { j <= i };
    a.iter().enumerate().map(|(e, &v)| if inside(e / n % n, e % n) { v } else { other }).collect()
}

/// A checked result as a message.
pub(crate) fn done<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

/// Checks that `run` gives the same bits on one thread and on five.
pub(crate) fn same_on_any_threads(run: impl Fn() -> Result<Vec<f64>, String> + Send + Sync) -> Verdict {
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
        pool.install(&run)
    };
    let (one, five) = (on(1)?, on(5)?);
    match one.iter().zip(&five).position(|(a, b)| a.to_bits() != b.to_bits()) {
        None => Ok(()),
        Some(i) => Err(format!("element {i} is {:e} on one thread, {:e} on five", one[i], five[i])),
    }
}

/// Central differences of `f`, a sum of products with a gradient, with respect to every element of `x`.
pub(crate) fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    (0..x.len())
        .map(|i| {
            let step = 1e-5 * (1.0 + x[i].abs());
            let at = |by: f64| {
                let mut moved = x.to_vec();
                moved[i] += by;
                f(&moved)
            };
            (at(step) - at(-step)) / (2.0 * step)
        })
        .collect()
}

/// Checks a gradient against differences of the oracle: to within rounding, and what differences leave.
pub(crate) fn check_gradient(what: &str, got: &Tensor, want: &[f64], eps: f64) -> Verdict {
    let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    check_within(what, &read(got)?, want, |_| (2e3 * eps + 1e-7) * largest.max(1e-3))
}

/// A scalar product.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
