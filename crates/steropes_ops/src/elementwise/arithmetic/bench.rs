use super::{mul, scale};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

const SHAPE: [usize; 2] = [4096, 4096];

pub(crate) fn benches() -> Vec<Bench> {
    let values = SHAPE.iter().product::<usize>() as f64;
    vec![
        // An operation for every value; two reads and a write, or one.
        bench("mul/4096x4096", values, 12.0 * values, |device| {
            let (mut x, y) = (Some(tensor(device, &SHAPE)), tensor(device, &SHAPE));
            Box::new(move || {
                let before = x.take().expect("put back by the last launch");
                x = Some(mul(before, &y).expect("valid arguments"));
            })
        }),
        bench("scale/4096x4096", values, 8.0 * values, |device| {
            let mut x = Some(tensor(device, &SHAPE));
            Box::new(move || {
                let before = x.take().expect("put back by the last launch");
                x = Some(scale(before, 1.0).expect("valid arguments"));
            })
        }),
    ]
}

fn tensor(device: &steropes_tensor::Device, shape: &[usize]) -> Tensor {
    Tensor::new(device, shape, uniform("x", shape.iter().product())).expect("as many values as the shape has")
}
