use super::{CrossEntropyOptions, cross_entropy, cross_entropy_backward};
use half::f16;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // The vocabularies of Llama 3 and Llama 2.
        forward("cross_entropy/512x128256", 512, 128_256),
        forward("cross_entropy/128x32000", 128, 32_000),
        backward("cross_entropy/backward/512x128256", 512, 128_256),
        backward("cross_entropy/backward/128x32000", 128, 32_000),
        f16_forward("cross_entropy/f16/512x128256", 512, 128_256),
    ]
}

/// Operations: a comparison, a difference, an exponential of 16, a sum.
const OPERATIONS: f64 = 19.0;

fn targets(device: &Device, rows: usize, classes: usize) -> Tensor {
    let targets = (0..rows).map(|row| (row * 7919 % classes) as i64).collect();
    Tensor::new(device, &[rows], targets).expect("a target for each row")
}

fn logits(device: &Device, rows: usize, classes: usize) -> Tensor {
    let row = uniform("x", classes);
    Tensor::new(device, &[rows, classes], row.repeat(rows)).expect("a value for each place")
}

fn forward(name: &'static str, rows: usize, classes: usize) -> Bench {
    let values = (rows * classes) as f64;
    bench(name, OPERATIONS * values, 4.0 * values, move |device| {
        let (x, t) = (logits(device, rows, classes), targets(device, rows, classes));
        let options = CrossEntropyOptions::default();
        Box::new(move || {
            drop(std::hint::black_box(cross_entropy(&x, &t, &options).expect("valid arguments")))
        })
    })
}

/// The exponentials twice, and the gradient written.
fn backward(name: &'static str, rows: usize, classes: usize) -> Bench {
    let values = (rows * classes) as f64;
    bench(name, 2.0 * OPERATIONS * values, 8.0 * values, move |device| {
        let (x, t) = (logits(device, rows, classes), targets(device, rows, classes));
        let grad = Tensor::new(device, &[], vec![1.0f32]).expect("one value");
        let options = CrossEntropyOptions::default();
        Box::new(move || {
            let gradient = cross_entropy_backward(&grad, &x, &t, &options);
            drop(std::hint::black_box(gradient.expect("valid arguments")));
        })
    })
}

fn f16_forward(name: &'static str, rows: usize, classes: usize) -> Bench {
    let values = (rows * classes) as f64;
    f16_bench(name, OPERATIONS * values, 2.0 * values, move |device| {
        let row: Vec<f16> = uniform("x", classes).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, &[rows, classes], row.repeat(rows)).expect("a value for each place");
        let t = targets(device, rows, classes);
        let options = CrossEntropyOptions::default();
        Box::new(move || {
            drop(std::hint::black_box(cross_entropy(&x, &t, &options).expect("valid arguments")))
        })
    })
}
