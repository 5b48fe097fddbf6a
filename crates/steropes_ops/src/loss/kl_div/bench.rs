use super::{KlTarget, kl_div};
use crate::loss::Reduction;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // Distillation over the vocabulary of Llama 2.
    vec![divergence("kl_div/128x32000", 128, 32_000)]
}

/// An exponential of 16 operations, a difference, a product and a sum; both arguments read.
fn divergence(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    bench(name, 19.0 * values, 8.0 * values, move |device| {
        let tensor = |name: &str| {
            Tensor::new(device, &[rows, width], uniform(name, width).repeat(rows))
                .expect("a value for each place")
        };
        let (input, target) = (tensor("input"), tensor("target"));
        Box::new(move || {
            let loss = kl_div(&input, &target, KlTarget::Logarithms, Reduction::BatchMean);
            drop(std::hint::black_box(loss.expect("valid arguments")));
        })
    })
}
