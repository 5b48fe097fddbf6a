use super::matrix_exp;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::normal;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        stack("matrix_exp/100000x3x3", 100_000, 3),
        stack("matrix_exp/100x32x32", 100, 32),
        stack("matrix_exp/512x512", 1, 512),
    ]
}

/// Four products for the series and as many squarings as the norm, about `n`, asks for; a matrix is read and one is written.
fn stack(name: &'static str, count: usize, n: usize) -> Bench {
    let entries = (count * n * n) as f64;
    let products = 4.0 + (2.0 * n as f64).log2().ceil();
    bench(name, 2.0 * products * entries * n as f64, 8.0 * entries, move |device| {
        let a =
            Tensor::new(device, &[count, n, n], normal(name, count * n * n)).expect("a value for each place");
        Box::new(move || {
            std::hint::black_box(matrix_exp(&a).expect("valid arguments"));
        })
    })
}
