use super::sum;
use std::ops::Range;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // Gradient of a bias, and of a loss.
        over("sum/4096x4096/rows", [4096, 4096], 1..2),
        over("sum/4096x4096/columns", [4096, 4096], 0..1),
        over("sum/4096x4096/all", [4096, 4096], 0..2),
    ]
}

/// An addition for every value, each read once.
fn over(name: &'static str, shape: [usize; 2], axes: Range<usize>) -> Bench {
    let values = shape.iter().product::<usize>();
    bench(name, values as f64, 4.0 * values as f64, move |device| {
        let x = Tensor::new(device, &shape, uniform("x", values)).expect("as many values as the shape has");
        let axes = axes.clone();
        Box::new(move || {
            std::hint::black_box(sum(&x, axes.clone()).expect("valid arguments"));
        })
    })
}
