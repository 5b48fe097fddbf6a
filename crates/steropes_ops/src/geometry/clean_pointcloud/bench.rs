use super::{DenseView, clean_pointcloud};
use steropes_testkit::{Bench, bench, inputs};

pub(crate) fn benches() -> Vec<Bench> {
    let (width, height, count) = (384usize, 288usize, 4usize);
    let pixels = (width * height) as f64;
    let visits = pixels * (count * (count - 1)) as f64;
    vec![bench("clean_pointcloud/4_views_384x288", 30.0 * visits, 20.0 * visits, move |device| {
        let noise = inputs::uniform("clean", 2 * width * height);
        let depth: Vec<f32> = (0..width * height).map(|i| 3.0 + 0.1 * noise[i]).collect();
        let confidence: Vec<f32> = (0..width * height).map(|i| 3.0 + noise[width * height + i]).collect();
        let points: Vec<f32> = (0..width * height)
            .flat_map(|i| {
                let (x, y) = ((i % width) as f32 - 192.0, (i / width) as f32 - 144.0);
                [x / 350.0 * depth[i], y / 350.0 * depth[i], depth[i]]
            })
            .collect();
        let device = device.clone();
        Box::new(move || {
            let view = |i: usize| DenseView {
                width,
                height,
                focal_center_px: [350.0, 192.0, 144.0],
                camera_from_world: [
                    [1.0, 0.0, 0.0, 0.01 * i as f64],
                    [0.0, 1.0, 0.0, 0.0],
                    [0.0, 0.0, 1.0, 0.0],
                ],
                depth: &depth,
                points: &points,
                confidence: &confidence,
            };
            let views: Vec<_> = (0..count).map(view).collect();
            std::hint::black_box(clean_pointcloud(&views, 0.001, 0.0, &device).expect("arguments fit"));
        })
    })]
}
