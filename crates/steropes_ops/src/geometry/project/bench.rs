use super::project;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // The pointmap of one image of the models. Two divisions, products and sums a point; 12 bytes read, 8 written.
    let points = 512usize * 384;
    vec![bench("project/512x384", 6.0 * points as f64, 20.0 * points as f64, move |device| {
        let place = uniform("points", 3 * points);
        let place = place.chunks_exact(3).flat_map(|p| [p[0], p[1], 3.0 + p[2]]).collect();
        let points = Tensor::new::<f32>(device, &[1, points, 3], place).expect("three values a point");
        let intrinsics = vec![450.0f32, 450.0, 256.0, 192.0];
        let intrinsics = Tensor::new(device, &[1, 4], intrinsics).expect("four numbers");
        Box::new(move || {
            std::hint::black_box(project(&points, &intrinsics).expect("valid arguments"));
        })
    })]
}
