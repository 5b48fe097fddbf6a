use super::linear_cross_entropy;
use crate::loss::cross_entropy::CrossEntropyOptions;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // The last layer of a small language model with the vocabulary of Llama 2.
    vec![loss("linear_cross_entropy/128x512x32000", 128, 512, 32_000)]
}

/// Three products; the arguments once, their gradients written.
fn loss(name: &'static str, rows: usize, width: usize, classes: usize) -> Bench {
    let flops = 6.0 * (rows * width * classes) as f64;
    bench(name, flops, 8.0 * ((rows + classes) * width) as f64, move |device| {
        let tensor = |name: &str, shape: [usize; 2]| {
            Tensor::new(device, &shape, uniform(name, shape[0] * shape[1])).expect("a value for each place")
        };
        let (x, weight) = (tensor("x", [rows, width]), tensor("weight", [classes, width]));
        let targets = (0..rows).map(|row| (row * 7919 % classes) as i64).collect();
        let t = Tensor::new(device, &[rows], targets).expect("a target for each row");
        let options = CrossEntropyOptions::default();
        Box::new(move || {
            let got = linear_cross_entropy(&x, &weight, &t, &options);
            drop(std::hint::black_box(got.expect("valid arguments")));
        })
    })
}
