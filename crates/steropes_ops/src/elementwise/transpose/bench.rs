use super::transpose;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![matrices("transpose/4096x4096", &[4096, 4096]), matrices("transpose/500x32x32", &[500, 32, 32])]
}

/// No operation; one read and one write.
fn matrices(name: &'static str, shape: &'static [usize]) -> Bench {
    let values = shape.iter().product::<usize>();
    bench(name, 0.0, 8.0 * values as f64, move |device| {
        let x = Tensor::new(device, shape, uniform("x", values)).expect("as many values as the shape has");
        Box::new(move || {
            std::hint::black_box(transpose(&x).expect("valid arguments"));
        })
    })
}
