use super::softmax;
use half::f16;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // A row of scores for each token and head of MASt3R ViT-L at 512 x 384.
        rows("softmax/mast3r_scores", 768, 768),
        f16_rows("softmax/f16/mast3r_scores", 16 * 768, 768),
        f16_rows("softmax/f16/65536x1024", 65536, 1024),
        f16_rows("softmax/f16/8192x8192", 8192, 8192),
    ]
}

/// Operations: a comparison, a difference, an exponential of 16, a sum, a product.
const OPERATIONS: f64 = 20.0;

fn rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    bench(name, OPERATIONS * values, 8.0 * values, move |device| {
        let x =
            Tensor::new(device, &[rows, width], uniform("x", rows * width)).expect("a value for each place");
        Box::new(move || drop(std::hint::black_box(softmax(&x).expect("valid arguments"))))
    })
}

fn f16_rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    f16_bench(name, OPERATIONS * values, 4.0 * values, move |device| {
        let row: Vec<f16> = uniform("x", width).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, &[rows, width], row.repeat(rows)).expect("a value for each place");
        Box::new(move || drop(std::hint::black_box(softmax(&x).expect("valid arguments"))))
    })
}
