use super::add;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // The residual stream of MASt3R ViT-L at 512 x 384.
        sum("add/mast3r_encoder", &[768, 1024]),
        // A fusion level of the dense head at 512 x 384.
        sum("add/mast3r_head_fusion", &[192, 256, 256]),
        // The residual stream of the embedded network.
        sum("add/tiny_encoder", &[432, 256]),
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
