use super::transform_points;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // The pointmap of one image of the models. Nine products and nine sums a point; it is read and written once.
    let points = 512 * 384;
    vec![bench("transform_points/512x384", 18.0 * points as f64, 24.0 * points as f64, move |device| {
        let tensor = |name: &str, shape: &[usize]| {
            let data = uniform(name, shape.iter().product());
            Tensor::new(device, shape, data).expect("as many values as the shape has")
        };
        let (points, transforms) = (tensor("points", &[1, points, 3]), tensor("transforms", &[1, 3, 4]));
        Box::new(move || {
            std::hint::black_box(transform_points(&points, &transforms).expect("valid arguments"));
        })
    })]
}
