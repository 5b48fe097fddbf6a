use super::gather;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![elements("gather/1e7_1e6", 10_000_000, 1_000_000)]
}

/// Numbers and elements read, elements written.
fn elements(name: &'static str, extent: usize, count: usize) -> Bench {
    bench(name, 0.0, 16.0 * count as f64, move |device| {
        let x = Tensor::new(device, &[extent], uniform("x", extent)).expect("a value for each place");
        let index = (0..count).map(|i| (i * 7_919_993 % extent) as i64).collect();
        let index = Tensor::new(device, &[count], index).expect("a number for each element");
        Box::new(move || drop(std::hint::black_box(gather(&x, 0, &index).expect("valid arguments"))))
    })
}
