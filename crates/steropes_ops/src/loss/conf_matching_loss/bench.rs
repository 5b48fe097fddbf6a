use super::{ConfMatchingOptions, conf_matching_loss};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // The correspondences of four pairs in MASt3R's training.
    vec![rows("conf_matching_loss/4x8192", 4 * 8192)]
}

/// A logarithm of 16 operations and six more; losses, confidences and bytes read.
fn rows(name: &'static str, count: usize) -> Bench {
    bench(name, 22.0 * count as f64, 13.0 * count as f64, move |device| {
        let tensor = |name: &str| {
            let values = uniform(name, count).into_iter().map(|v| v.abs() + 1.0).collect();
            Tensor::new(device, &[count], values).expect("a value for each row")
        };
        let (loss, a, b) = (tensor("loss"), tensor("a"), tensor("b"));
        let valid = Tensor::new(device, &[count], vec![1u8; count]).expect("a byte for each row");
        Box::new(move || {
            let mean = conf_matching_loss(&loss, [&a, &b], &valid, &ConfMatchingOptions::default());
            drop(std::hint::black_box(mean.expect("valid arguments")));
        })
    })
}
