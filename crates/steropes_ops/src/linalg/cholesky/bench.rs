use super::{cholesky_backward, cholesky_ex};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        factors("cholesky/100x16x16", 100, 16),
        factors("cholesky/500x16x16", 500, 16),
        factors("cholesky/100x32x32", 100, 32),
        factors("cholesky/200x48x48", 200, 48),
        factors("cholesky/100x64x64", 100, 64),
        factors("cholesky/100000x4x4", 100_000, 4),
        factors("cholesky/1x1024x1024", 1, 1024),
        backward("cholesky_backward/200x48x48", 200, 48),
    ]
}

/// n^3 / 3 operations for each matrix; one read and one write.
fn factors(name: &'static str, count: usize, n: usize) -> Bench {
    let (matrices, rows) = (count as f64, n as f64);
    bench(name, matrices * rows.powi(3) / 3.0, 8.0 * matrices * rows * rows, move |device| {
        let a = tensor(device, &[count, n, n], positive(count, n));
        Box::new(move || {
            std::hint::black_box(cholesky_ex(&a, false).expect("valid arguments"));
        })
    })
}

/// 2 n^3 for the product and n^3 for each of two systems; two reads and one write.
fn backward(name: &'static str, count: usize, n: usize) -> Bench {
    let (matrices, rows) = (count as f64, n as f64);
    bench(name, 4.0 * matrices * rows.powi(3), 12.0 * matrices * rows * rows, move |device| {
        let (factor, _) =
            cholesky_ex(&tensor(device, &[count, n, n], positive(count, n)), false).expect("valid arguments");
        let grad = tensor(device, &[count, n, n], uniform("grad", count * n * n));
        Box::new(move || {
            std::hint::black_box(cholesky_backward(&grad, &factor, false).expect("valid arguments"));
        })
    })
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a bench's shape fits its values")
}

/// Positive definite: a heavy diagonal.
fn positive(count: usize, n: usize) -> Vec<f32> {
    let mut a = uniform("a", count * n * n);
    for matrix in a.chunks_exact_mut(n * n) {
        matrix.iter_mut().step_by(n + 1).for_each(|v| *v = n as f32);
    }
    a
}
