use super::{inv_ex, solve_ex};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        systems("solve/100x16x16", 100, 16),
        systems("solve/500x16x16", 500, 16),
        systems("solve/100x32x32", 100, 32),
        systems("solve/200x48x48", 200, 48),
        systems("solve/1x1024x1024", 1, 1024),
        inverses("inv/100000x3x3", 100_000, 3),
        inverses("inv/500x16x16", 500, 16),
    ]
}

/// One right side: 2 n^3 / 3 + 2 n^2 operations for each matrix; matrix and right side are read, the solution written.
fn systems(name: &'static str, count: usize, n: usize) -> Bench {
    let (matrices, rows) = (count as f64, n as f64);
    let flops = matrices * (2.0 * rows.powi(3) / 3.0 + 2.0 * rows * rows);
    bench(name, flops, matrices * (4.0 * rows * rows + 8.0 * rows), move |device| {
        let a = tensor(device, &[count, n, n], uniform("a", count * n * n));
        let b = tensor(device, &[count, n], uniform("b", count * n));
        Box::new(move || {
            std::hint::black_box(solve_ex(&a, &b).expect("valid arguments"));
        })
    })
}

/// 2 n^3 operations for each matrix; one read and one write.
fn inverses(name: &'static str, count: usize, n: usize) -> Bench {
    let (matrices, rows) = (count as f64, n as f64);
    bench(name, 2.0 * matrices * rows.powi(3), 8.0 * matrices * rows * rows, move |device| {
        let a = tensor(device, &[count, n, n], uniform("a", count * n * n));
        Box::new(move || {
            std::hint::black_box(inv_ex(&a).expect("valid arguments"));
        })
    })
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a bench's shape fits its values")
}
