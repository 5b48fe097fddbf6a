use super::{Uplo, eigh, eigvalsh};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::normal;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        stack("eigh/1000000x3x3", 1_000_000, 3),
        stack("eigh/100x32x32", 100, 32),
        stack("eigh/100x64x64", 100, 64),
        stack("eigh/50x128x128", 50, 128),
        stack("eigh/10x256x256", 10, 256),
        stack("eigh/512x512", 1, 512),
        stack("eigh/1024x1024", 1, 1024),
        values_of("eigvalsh/100x64x64", 100, 64),
        values_of("eigvalsh/1024x1024", 1, 1024),
    ]
}

/// Nine operations for each three indices, as tridiagonal forms with vectors need; a matrix is read, and one and a row are written.
fn stack(name: &'static str, count: usize, n: usize) -> Bench {
    let entries = (count * n * n) as f64;
    bench(name, 9.0 * entries * n as f64, 8.0 * entries + 4.0 * (count * n) as f64, move |device| {
        let a =
            Tensor::new(device, &[count, n, n], normal(name, count * n * n)).expect("a value for each place");
        Box::new(move || {
            std::hint::black_box(eigh(&a, Uplo::Lower).expect("valid arguments"));
        })
    })
}

/// Without vectors 4/3 operations.
fn values_of(name: &'static str, count: usize, n: usize) -> Bench {
    let entries = (count * n * n) as f64;
    bench(name, 4.0 / 3.0 * entries * n as f64, 4.0 * entries + 4.0 * (count * n) as f64, move |device| {
        let a =
            Tensor::new(device, &[count, n, n], normal(name, count * n * n)).expect("a value for each place");
        Box::new(move || {
            std::hint::black_box(eigvalsh(&a, Uplo::Lower).expect("valid arguments"));
        })
    })
}
