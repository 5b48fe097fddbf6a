use super::{det, slogdet};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // Rotations of a reconstruction.
        written_out("det/100000x3x3", 100_000),
        factored("slogdet/200x48x48", 200, 48),
    ]
}

/// 9 products and 5 sums for each matrix; one read, one value written.
fn written_out(name: &'static str, count: usize) -> Bench {
    bench(name, 14.0 * count as f64, 40.0 * count as f64, move |device| {
        let a = tensor(device, &[count, 3, 3], uniform("a", count * 9));
        Box::new(move || {
            std::hint::black_box(det(&a).expect("valid arguments"));
        })
    })
}

/// 2 n^3 / 3 operations for each matrix; one read, two values written.
fn factored(name: &'static str, count: usize, n: usize) -> Bench {
    let (matrices, rows) = (count as f64, n as f64);
    bench(name, 2.0 * matrices * rows.powi(3) / 3.0, matrices * (4.0 * rows * rows + 8.0), move |device| {
        let a = tensor(device, &[count, n, n], uniform("a", count * n * n));
        Box::new(move || {
            std::hint::black_box(slogdet(&a).expect("valid arguments"));
        })
    })
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a bench's shape fits its values")
}
