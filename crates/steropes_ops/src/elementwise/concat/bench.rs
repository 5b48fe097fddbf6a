use super::concat;
use half::f16;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // Encoder and decoder tokens before the local features of MASt3R ViT-L at 512 x 384.
        rows("concat/mast3r_local_features", 768, [1024, 768]),
        // The same of the embedded network.
        rows("concat/tiny_local_features", 432, [256, 192]),
        f16_rows("concat/f16/mast3r_local_features", 768, [1024, 768]),
    ]
}

/// No operations; every value is read and written once.
fn rows(name: &'static str, rows: usize, [m, n]: [usize; 2]) -> Bench {
    bench(name, 0.0, 8.0 * (rows * (m + n)) as f64, move |device| {
        let tensor = |name: &str, width: usize| {
            Tensor::new(device, &[rows, width], uniform(name, rows * width))
                .expect("as many values as the shape has")
        };
        let (x, y) = (tensor("x", m), tensor("y", n));
        Box::new(move || {
            std::hint::black_box(concat(&x, &y).expect("valid arguments"));
        })
    })
}

/// As [`rows`], with half the bytes.
fn f16_rows(name: &'static str, rows: usize, [m, n]: [usize; 2]) -> Bench {
    f16_bench(name, 0.0, 4.0 * (rows * (m + n)) as f64, move |device| {
        let tensor = |name: &str, width: usize| {
            let values = uniform(name, rows * width).into_iter().map(f16::from_f32).collect();
            Tensor::new(device, &[rows, width], values).expect("a value for each place")
        };
        let (x, y) = (tensor("x", m), tensor("y", n));
        Box::new(move || {
            std::hint::black_box(concat(&x, &y).expect("valid arguments"));
        })
    })
}
