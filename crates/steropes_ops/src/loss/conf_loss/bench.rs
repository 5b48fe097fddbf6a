use super::conf_loss;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // Pixels of one view of eight pairs at 512 x 384.
    vec![places("conf_loss/8x512x384", 8 * 512 * 384)]
}

/// A logarithm of 16 operations, two products and two sums; losses, confidences and bytes read.
fn places(name: &'static str, count: usize) -> Bench {
    bench(name, 20.0 * count as f64, 9.0 * count as f64, move |device| {
        let tensor = |name: &str| {
            let values = uniform(name, count).into_iter().map(|v| v.abs() + 1.0).collect();
            Tensor::new(device, &[count], values).expect("a value for each place")
        };
        let (loss, confidence) = (tensor("loss"), tensor("confidence"));
        let mask = Tensor::new(device, &[count], vec![1u8; count]).expect("a byte for each place");
        Box::new(move || {
            drop(std::hint::black_box(conf_loss(&loss, &confidence, &mask, 0.2).expect("valid arguments")));
        })
    })
}
