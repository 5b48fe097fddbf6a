use super::add;
use half::f16;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // The residual stream of MASt3R ViT-L at 512 x 384.
        sum("add/mast3r_encoder", &[768, 1024]),
        // A fusion level of the dense head at 512 x 384.
        sum("add/mast3r_head_fusion", &[192, 256, 256]),
        // The residual stream of the embedded network.
        sum("add/tiny_encoder", &[432, 256]),
        f16_sum("add/f16/mast3r_encoder", [768, 1024]),
        f16_sum("add/f16/mast3r_head_fusion", [192 * 256, 256]),
    ]
}

/// An addition for every value; two reads and a write.
fn sum(name: &'static str, shape: &'static [usize]) -> Bench {
    let values = shape.iter().product::<usize>() as f64;
    bench(name, values, 12.0 * values, move |device| {
        let tensor = |name: &str| {
            Tensor::new(device, shape, uniform(name, shape.iter().product()))
                .expect("as many values as the shape has")
        };
        let (mut x, y) = (Some(tensor("x")), tensor("y"));
        Box::new(move || {
            let before = x.take().expect("put back by the last launch");
            x = Some(add(before, &y).expect("valid arguments"));
        })
    })
}

/// As [`sum`], with half the bytes.
fn f16_sum(name: &'static str, [rows, width]: [usize; 2]) -> Bench {
    let values = (rows * width) as f64;
    f16_bench(name, values, 6.0 * values, move |device| {
        let tensor = |name: &str| {
            let row: Vec<f16> = uniform(name, width).into_iter().map(f16::from_f32).collect();
            Tensor::new(device, &[rows, width], row.repeat(rows)).expect("a value for each place")
        };
        let (mut x, y) = (Some(tensor("x")), tensor("y"));
        Box::new(move || {
            let before = x.take().expect("put back by the last launch");
            x = Some(add(before, &y).expect("valid arguments"));
        })
    })
}
