use super::{InfoNceOptions, info_nce, info_nce_backward};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

const ROWS: usize = 8192;
const WIDTH: usize = 24;

pub(crate) fn benches() -> Vec<Bench> {
    // The correspondences of a pair in MASt3R's training.
    vec![forward("info_nce/8192x24"), backward("info_nce/backward/8192x24")]
}

/// A product of descriptors and an exponential of 16 operations for each pair.
const PAIR: f64 = 2.0 * WIDTH as f64 + 18.0;

fn tensors(device: &Device) -> [Tensor; 4] {
    let tensor = |name: &str| {
        Tensor::new(device, &[1, ROWS, WIDTH], uniform(name, ROWS * WIDTH)).expect("a value for each place")
    };
    let valid = Tensor::new(device, &[1, ROWS], vec![1u8; ROWS]).expect("a byte for each row");
    let grad = Tensor::new(device, &[1, ROWS], vec![1f32; ROWS]).expect("a value for each row");
    [tensor("a"), tensor("b"), valid, grad]
}

/// All pairs twice, for rows and for columns.
fn forward(name: &'static str) -> Bench {
    let pairs = (ROWS * ROWS) as f64;
    bench(name, 2.0 * PAIR * pairs, 4.0 * (2 * ROWS * WIDTH) as f64, |device| {
        let [a, b, valid, _] = tensors(device);
        let options = InfoNceOptions::default();
        Box::new(move || {
            drop(std::hint::black_box(info_nce([&a, &b], &valid, &options).expect("valid arguments")))
        })
    })
}

/// As the forward pass, and for both gradients once more with two exponentials and the weighted sum of descriptors.
fn backward(name: &'static str) -> Bench {
    let pairs = (ROWS * ROWS) as f64;
    let flops = 2.0 * PAIR * pairs + 2.0 * (PAIR + 18.0 + 2.0 * WIDTH as f64) * pairs;
    bench(name, flops, 4.0 * (4 * ROWS * WIDTH) as f64, |device| {
        let [a, b, valid, grad] = tensors(device);
        let options = InfoNceOptions::default();
        Box::new(move || {
            let gradients = info_nce_backward(&grad, [&a, &b], &valid, &options);
            drop(std::hint::black_box(gradients.expect("valid arguments")));
        })
    })
}
