use super::{CanonicalSums, RelativeDepth};
use steropes_tensor::Tensor;
use steropes_testkit::{Bench, bench, inputs};

pub(crate) fn benches() -> Vec<Bench> {
    let (width, height) = (512usize, 384usize);
    let pixels = (width * height) as f64;
    // Read point and confidence, read and write seven sums.
    vec![bench("canonical_view/add_512x384", 40.0 * pixels, 72.0 * pixels, move |device| {
        let mut sums = CanonicalSums::new(width, height, 8, RelativeDepth::AverageAngle).expect("sizes fit");
        let points = inputs::uniform("points", 3 * width * height).iter().map(|v| v + 2.0).collect();
        let confidence = inputs::uniform("confidence", width * height).iter().map(|v| v + 3.0).collect();
        let points = Tensor::new(device, &[height, width, 3], points).expect("sizes fit");
        let confidence = Tensor::new(device, &[height, width], confidence).expect("sizes fit");
        Box::new(move || sums.add(&points, &confidence).expect("arguments fit"))
    })]
}
