use super::gelu;
use half::f16;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // The hidden layer of MASt3R ViT-L at 512 x 384.
        activation("gelu/mast3r_hidden", &[768, 4096]),
        f16_activation("gelu/f16/mast3r_hidden", &[768, 4096]),
        f16_activation("gelu/f16/65536x4096", &[65536, 4096]),
    ]
}

/// Operations: eight multiply-adds, an exponential of 4, four others.
const OPERATIONS: f64 = 24.0;

fn activation(name: &'static str, shape: &'static [usize]) -> Bench {
    let values = shape.iter().product::<usize>() as f64;
    bench(name, OPERATIONS * values, 8.0 * values, move |device| {
        let x =
            Tensor::new(device, shape, uniform("x", shape.iter().product())).expect("a value for each place");
        Box::new(move || drop(std::hint::black_box(gelu(x.clone()).expect("valid arguments"))))
    })
}

fn f16_activation(name: &'static str, shape: &'static [usize; 2]) -> Bench {
    let values = shape.iter().product::<usize>() as f64;
    f16_bench(name, OPERATIONS * values, 4.0 * values, move |device| {
        let row: Vec<f16> = uniform("x", shape[1]).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, shape, row.repeat(shape[0])).expect("a value for each place");
        Box::new(move || drop(std::hint::black_box(gelu(x.clone()).expect("valid arguments"))))
    })
}
