use super::js_divergence;
use crate::loss::Reduction;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // Distillation over the vocabulary of Llama 2.
    vec![divergence("js_divergence/128x32000", 128, 32_000)]
}

/// Three exponentials and a logarithm of 16 operations, and ten more; both arguments read.
fn divergence(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    bench(name, 74.0 * values, 8.0 * values, move |device| {
        let tensor = |name: &str| {
            Tensor::new(device, &[rows, width], uniform(name, width).repeat(rows))
                .expect("a value for each place")
        };
        let (log_p, log_q) = (tensor("log_p"), tensor("log_q"));
        Box::new(move || {
            let loss = js_divergence(&log_p, &log_q, Reduction::BatchMean);
            drop(std::hint::black_box(loss.expect("valid arguments")));
        })
    })
}
