use super::scatter_add;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![elements("scatter_add/1e7_1e6", 10_000_000, 1_000_000)]
}

/// The tensor copied; numbers, elements and their places read, places written.
fn elements(name: &'static str, extent: usize, count: usize) -> Bench {
    bench(name, count as f64, (8 * extent + 20 * count) as f64, move |device| {
        let x = Tensor::new(device, &[extent], uniform("x", extent)).expect("a value for each place");
        let index = (0..count).map(|i| (i * 7_919_993 % extent) as i64).collect();
        let index = Tensor::new(device, &[count], index).expect("a number for each element");
        let src = Tensor::new(device, &[count], uniform("src", count)).expect("a value for each number");
        Box::new(move || {
            drop(std::hint::black_box(scatter_add(&x, 0, &index, &src).expect("valid arguments")))
        })
    })
}
