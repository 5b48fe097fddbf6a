use super::cast;
use steropes_tensor::{DType, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // The weights of the first layer of a perceptron of MASt3R ViT-L.
        both("cast/mast3r_fc1_to_f16", DType::F32, DType::F16),
        both("cast/mast3r_fc1_to_f32", DType::F16, DType::F32),
    ]
}

fn both(name: &'static str, from: DType, to: DType) -> Bench {
    f16_bench(name, 0.0, 6.0 * 4096.0 * 1024.0, move |device| {
        let x =
            Tensor::new(device, &[4096, 1024], uniform("x", 4096 * 1024)).expect("a value for each place");
        let x = cast(&x, from).expect("a device with f16");
        Box::new(move || drop(std::hint::black_box(cast(&x, to).expect("a device with f16"))))
    })
}
