use super::{lora_linear, lora_linear_backward};
use crate::linalg::linear::LinearWeights;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

const ROWS: usize = 128;
const WIDTH: usize = 4096;
const RANK: usize = 16;

pub(crate) fn benches() -> Vec<Bench> {
    let (layer, low) = ((ROWS * WIDTH * WIDTH) as f64, (ROWS * WIDTH * RANK) as f64);
    // Weights once, rows read and written.
    let bytes = 4.0 * (WIDTH * WIDTH + 2 * RANK * WIDTH + 2 * ROWS * WIDTH) as f64;
    vec![
        // A multiply-add for each row and weight, of the layer and of both small matrices.
        bench("lora/128x4096_rank16", 2.0 * (layer + 2.0 * low), bytes, |device| {
            let [x, a, b] = small(device);
            let frozen = LinearWeights::pack(&random(device, &[WIDTH, WIDTH]), None).expect("a valid layer");
            Box::new(move || {
                std::hint::black_box(lora_linear(&x, &frozen, &a, &b, 0.5).expect("valid arguments"));
            })
        }),
        // Back through the layer; both small matrices forward or back, and their two gradients.
        bench("lora/128x4096_rank16/backward", 2.0 * (layer + 5.0 * low), bytes, |device| {
            let [x, a, b] = small(device);
            let turned = LinearWeights::pack(&random(device, &[WIDTH, WIDTH]), None).expect("a valid layer");
            let gradient = x.clone();
            Box::new(move || {
                let all = lora_linear_backward(&gradient, &x, &turned, &a, &b, 0.5);
                std::hint::black_box(all.expect("valid arguments"));
            })
        }),
    ]
}

fn random(device: &Device, shape: &[usize]) -> Tensor {
    Tensor::new(device, shape, uniform("lora", shape.iter().product())).expect("as many values")
}

fn small(device: &Device) -> [Tensor; 3] {
    [[ROWS, WIDTH], [RANK, WIDTH], [WIDTH, RANK]].map(|shape| random(device, &shape))
}
