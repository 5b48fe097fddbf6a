use super::{DepthMaps, Samples, View, refine_depth, tsdf};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    let (width, height, count, samples) = (512usize, 384usize, 2usize, 100usize);
    let pixels = (count * width * height) as f64;
    // A candidate in one map: 6 for the place, 2 divisions, 1 for the distance and 5 for the average. The random number
    // of a candidate takes about 50 operations on integers, which are not counted.
    let refine = 14.0 * pixels * (count * samples) as f64;
    // A point in one map: 18 for the place, the rest as above. 12 bytes of a point, 8 of the result.
    let points = 1usize << 18;
    let value = 26.0 * (points * count) as f64;
    vec![
        bench("tsdf/refine_2_views_512x384_100", refine, 12.0 * pixels, move |device| {
            let views = views(count, width, height);
            let (depth, confidence) = maps(device, count * width * height);
            Box::new(move || {
                let maps = DepthMaps { views: &views, depth: &depth, confidence: &confidence };
                let random = Samples::Random { count: samples, seed: 1 };
                std::hint::black_box(refine_depth(&maps, random, 0.05).expect("valid arguments"));
            })
        }),
        bench("tsdf/values_2_views_512x384", value, 8.0 * pixels + 20.0 * points as f64, move |device| {
            let views = views(count, width, height);
            let (depth, confidence) = maps(device, count * width * height);
            let place = uniform("tsdf/points", 3 * points);
            let place = place.chunks_exact(3).flat_map(|p| [p[0], p[1], 3.0 + 0.1 * p[2]]).collect();
            let points = Tensor::new::<f32>(device, &[points, 3], place).expect("three values a point");
            Box::new(move || {
                let maps = DepthMaps { views: &views, depth: &depth, confidence: &confidence };
                std::hint::black_box(tsdf(&maps, &points, 0.05).expect("valid arguments"));
            })
        }),
    ]
}

fn views(count: usize, width: usize, height: usize) -> Vec<View> {
    let view = |i: usize| View {
        width,
        height,
        focal_px: [450.0, 450.0],
        center_px: [256.0, 192.0],
        camera_from_world: [[1.0, 0.0, 0.0, 0.1 * i as f64], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
    };
    (0..count).map(view).collect()
}

/// Depths around 3 and confidences from 2 to 4.
fn maps(device: &steropes_tensor::Device, pixels: usize) -> (Tensor, Tensor) {
    let map = |name: &str, base: f32, spread: f32| {
        let values = uniform(name, pixels).into_iter().map(|v| base + spread * v).collect();
        Tensor::new::<f32>(device, &[pixels], values).expect("a value for each pixel")
    };
    (map("tsdf/depth", 3.0, 0.1), map("tsdf/confidence", 3.0, 1.0))
}
