use super::unproject;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    // A depth map of the models. Two differences, divisions and products a pixel; 4 bytes read, 12 written.
    let (height, width) = (384usize, 512usize);
    let pixels = (height * width) as f64;
    vec![bench("unproject/512x384", 6.0 * pixels, 16.0 * pixels, move |device| {
        let depth = uniform("depth", height * width).into_iter().map(|v| 3.0 + v).collect();
        let depth = Tensor::new::<f32>(device, &[1, height, width], depth).expect("a depth a pixel");
        let intrinsics = vec![450.0f32, 450.0, 256.0, 192.0];
        let intrinsics = Tensor::new(device, &[1, 4], intrinsics).expect("four numbers");
        Box::new(move || {
            std::hint::black_box(unproject(&depth, &intrinsics).expect("valid arguments"));
        })
    })]
}
