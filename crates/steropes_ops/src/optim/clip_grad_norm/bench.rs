use super::clip_grad_norm;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![gradients("clip_grad_norm/16.8M", 1, 1 << 24), gradients("clip_grad_norm/100x1024", 100, 1024)]
}

/// Three operations for each element, which is read twice and written once.
fn gradients(name: &'static str, count: usize, len: usize) -> Bench {
    let elements = (count * len) as f64;
    bench(name, 3.0 * elements, 12.0 * elements, move |device| {
        let row = uniform("gradient", len);
        let tensor = |_| Tensor::new(device, &[len], row.clone()).expect("a value for each place");
        let mut gradients: Vec<Tensor> = (0..count).map(tensor).collect();
        Box::new(move || {
            std::hint::black_box(clip_grad_norm(&mut gradients, 1e6).expect("valid arguments"));
        })
    })
}
