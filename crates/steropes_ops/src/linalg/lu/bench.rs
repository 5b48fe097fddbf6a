use super::{lu_factor_backward, lu_factor_ex};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        factors("lu_factor/500x16x16", 500, 16),
        factors("lu_factor/200x48x48", 200, 48),
        factors("lu_factor/100000x4x4", 100_000, 4),
        factors("lu_factor/1x1024x1024", 1, 1024),
        backward("lu_factor_backward/200x48x48", 200, 48),
    ]
}

/// 2 n^3 / 3 operations for each matrix; one read and one write.
fn factors(name: &'static str, count: usize, n: usize) -> Bench {
    let (matrices, rows) = (count as f64, n as f64);
    bench(name, 2.0 * matrices * rows.powi(3) / 3.0, 8.0 * matrices * rows * rows, move |device| {
        let a = tensor(device, &[count, n, n], uniform("a", count * n * n));
        Box::new(move || {
            std::hint::black_box(lu_factor_ex(&a).expect("valid arguments"));
        })
    })
}

/// Two products, two systems and a permutation of `2 n^3`, `n^3` and `2 n^3` operations; three matrices are read or written.
fn backward(name: &'static str, count: usize, n: usize) -> Bench {
    let (matrices, rows) = (count as f64, n as f64);
    bench(name, 8.0 * matrices * rows.powi(3), 12.0 * matrices * rows * rows, move |device| {
        let a = tensor(device, &[count, n, n], uniform("a", count * n * n));
        let (factors, pivots, _) = lu_factor_ex(&a).expect("valid arguments");
        Box::new(move || {
            std::hint::black_box(lu_factor_backward(&a, &factors, &pivots).expect("valid arguments"));
        })
    })
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a bench's shape fits its values")
}
