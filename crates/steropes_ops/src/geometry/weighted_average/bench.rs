use super::weighted_average;
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    let pixels = 512usize * 384;
    let average = move |name, views: usize, channels: usize| {
        let values = (views * pixels * channels) as f64;
        // A product and a sum for each value, a sum for each weight, a division for each average; all once through memory.
        let out = (pixels * channels) as f64;
        let flops = 2.0 * values + (views * pixels) as f64 + out;
        let bytes = 4.0 * (values + ((views + 1) * pixels) as f64 + out);
        bench(name, flops, bytes, move |device| {
            let x = uniform("x", views * pixels * channels);
            let weights = uniform("weights", views * pixels).into_iter().map(|v| 2.0 + v).collect();
            let x = Tensor::new(device, &[views, pixels, channels], x).expect("as many as the shape has");
            let weights = Tensor::new::<f32>(device, &[views, pixels], weights).expect("one a pixel");
            Box::new(move || {
                std::hint::black_box(weighted_average(&x, &weights, 0.0).expect("valid arguments"));
            })
        })
    };
    vec![
        average("weighted_average/8_pointmaps_512x384", 8, 3),
        average("weighted_average/8_depths_512x384", 8, 1),
    ]
}
