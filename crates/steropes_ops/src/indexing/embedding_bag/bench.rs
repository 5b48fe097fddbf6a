use super::{BagMode, Bags, EmbeddingBagOptions, embedding_bag, embedding_bag_backward};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

const ROWS: usize = 32_000;
const WIDTH: usize = 4096;
const BAGS: usize = 16;
const EACH: usize = 100;

pub(crate) fn benches() -> Vec<Bench> {
    // The embeddings of Llama 2.
    vec![forward("embedding_bag/32000x4096_16x100"), backward("embedding_bag/backward/32000x4096_16x100")]
}

const SUM: EmbeddingBagOptions =
    EmbeddingBagOptions { mode: BagMode::Sum, padding_idx: None, include_last_offset: false };

fn tensors(device: &Device) -> [Tensor; 4] {
    let row = uniform("weight", WIDTH);
    let tensor =
        |shape: &[usize], values| Tensor::new(device, shape, values).expect("a value for each place");
    let numbers = |count: usize, of: fn(usize) -> i64| {
        Tensor::new(device, &[count], (0..count).map(of).collect()).expect("a number for each place")
    };
    [
        tensor(&[ROWS, WIDTH], row.repeat(ROWS)),
        numbers(BAGS * EACH, |i| (i * 7919 % ROWS) as i64),
        numbers(BAGS, |bag| (bag * EACH) as i64),
        tensor(&[BAGS, WIDTH], row.repeat(BAGS)),
    ]
}

/// An addition for each value of a row; rows read, sums written.
fn forward(name: &'static str) -> Bench {
    let values = (BAGS * EACH * WIDTH) as f64;
    bench(name, values, 4.0 * (values + (BAGS * WIDTH) as f64), |device| {
        let [weight, indices, offsets, _] = tensors(device);
        Box::new(move || {
            let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
            drop(std::hint::black_box(embedding_bag(&weight, &bags, &SUM).expect("valid arguments")));
        })
    })
}

/// The dense gradient is written twice where an entry is: as zeros and as sums.
fn backward(name: &'static str) -> Bench {
    let values = (BAGS * EACH * WIDTH) as f64;
    bench(name, values, 4.0 * (values + ((ROWS + BAGS) * WIDTH) as f64), |device| {
        let [weight, indices, offsets, grad] = tensors(device);
        Box::new(move || {
            let bags = Bags { indices: &indices, offsets: &offsets, per_sample_weights: None };
            let gradient = embedding_bag_backward(&grad, &weight, &bags, &SUM);
            drop(std::hint::black_box(gradient.expect("valid arguments")));
        })
    })
}
