use super::{PointView, Regr3dOptions, regr3d};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // Four pairs at 512 x 384.
    vec![pairs("regr3d/4x512x384", 4, 512 * 384)]
}

/// Two norms of 10 operations and a distance of 20; points and bytes read twice, losses written.
fn pairs(name: &'static str, items: usize, points: usize) -> Bench {
    let count = (2 * items * points) as f64;
    bench(name, 40.0 * count, (2.0 * 25.0 + 4.0) * count, move |device| {
        let shape = [items, points, 3];
        let tensor = |name: &str| {
            Tensor::new(device, &shape, uniform(name, 3 * items * points)).expect("a value for each place")
        };
        let (prediction, truth) = (tensor("prediction"), tensor("truth"));
        let valid =
            Tensor::new(device, &shape[..2], vec![1u8; items * points]).expect("a byte for each point");
        Box::new(move || {
            let view = PointView { prediction: &prediction, truth: &truth, valid: &valid, sky: None };
            let losses = regr3d(&[view, view], None, &Regr3dOptions::default());
            drop(std::hint::black_box(losses.expect("valid arguments")));
        })
    })
}
