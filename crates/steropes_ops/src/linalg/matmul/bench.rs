use super::{Transposed, matmul};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, cpu_bench, f16_bench, f16_tensor};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        stack("matmul/500x32x32", 500, 32),
        stack("matmul/64x256x256", 64, 256),
        stack("matmul/4096x4096", 1, 4096),
        // Four by four matrices, as transforms are.
        stack("matmul/100000x4x4", 100_000, 4),
        f16_stack("matmul/f16/64x256x256", 64, 256),
        f16_stack("matmul/f16/4096x4096", 1, 4096),
        f64_stack("matmul/f64/64x256x256", 64, 256),
    ]
}

/// A multiply-add for every row, column and step of the depth.
fn flops(batch: usize, side: usize) -> f64 {
    2.0 * (batch * side * side * side) as f64
}

/// Three matrices for each product.
fn values(batch: usize, side: usize) -> f64 {
    3.0 * (batch * side * side) as f64
}

fn stack(name: &'static str, batch: usize, side: usize) -> Bench {
    bench(name, flops(batch, side), 4.0 * values(batch, side), move |device| {
        let make = |name: &str| {
            Tensor::new(device, &[batch, side, side], uniform(name, batch * side * side)).expect("a cube")
        };
        launch(make("a"), make("b"))
    })
}

fn f16_stack(name: &'static str, batch: usize, side: usize) -> Bench {
    f16_bench(name, flops(batch, side), 2.0 * values(batch, side), move |device| {
        let make =
            |name: &str| f16_tensor(device, &[batch, side, side], &uniform(name, batch * side * side)).0;
        launch(make("a"), make("b"))
    })
}

fn f64_stack(name: &'static str, batch: usize, side: usize) -> Bench {
    cpu_bench(name, flops(batch, side), 8.0 * values(batch, side), move |device| {
        let make = |name: &str| {
            let values = uniform(name, batch * side * side).into_iter().map(f64::from).collect();
            Tensor::new(device, &[batch, side, side], values).expect("a cube")
        };
        launch(make("a"), make("b"))
    })
}

fn launch(a: Tensor, b: Tensor) -> Box<dyn FnMut()> {
    Box::new(move || {
        std::hint::black_box(matmul(&a, &b, Transposed::NONE).expect("valid arguments"));
    })
}
