use super::{points_from_matches, triangulate};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

/// Work of one equation: 8 operations to form it; three rotations with 6 for the angle and 6 for each of 4, 3 and 2 further
/// columns.
const EQUATION: f64 = 8.0 + 18.0 + 6.0 * 9.0;

pub(crate) fn benches() -> Vec<Bench> {
    let (views, height, width) = (4usize, 384usize, 512usize);
    let points = height * width;
    let pairs = (views * points) as f64;
    let flops = |equations: f64, solved: f64| EQUATION * equations + 11.0 * solved;
    vec![
        // One point per pixel of an image of the models, seen by two cameras.
        bench(
            "triangulation/2_cameras_512x384",
            flops(4.0 * points as f64, points as f64),
            28.0 * points as f64,
            move |device| {
                let pixels = tensor(device, &[1, 2, points, 2], |i, r| i as f32 % 512.0 + r);
                let projections = projections(device, 1);
                Box::new(move || {
                    std::hint::black_box(triangulate(&pixels, &projections).expect("valid arguments"));
                })
            },
        ),
        bench(
            "triangulation/matches_4_views_512x384",
            flops(4.0 * pairs, pairs) + 7.0 * pairs,
            20.0 * pairs + 20.0 * points as f64,
            move |device| {
                let matches =
                    tensor(device, &[1, views, height, width, 5], |i, r| (i / 5) as f32 % 512.0 + r + 1.0);
                let intrinsics = tensor(device, &[1, views + 1, 3, 3], |i, _| {
                    [450.0, 0.0, 256.0, 0.0, 450.0, 192.0, 0.0, 0.0, 1.0][i % 9]
                });
                let poses = tensor(device, &[1, views + 1, 3, 4], |i, _| match i % 12 {
                    0 | 5 | 10 => 1.0,
                    3 => -0.2 * (i / 12) as f32,
                    _ => 0.0,
                });
                Box::new(move || {
                    let found = points_from_matches(&intrinsics, &poses, &matches, 0.3);
                    std::hint::black_box(found.expect("valid arguments"));
                })
            },
        ),
    ]
}

/// Cameras side by side.
fn projections(device: &Device, views: usize) -> Tensor {
    tensor(device, &[1, views + 1, 3, 4], |i, _| match i % 12 {
        0 | 5 => 450.0,
        2 => 256.0,
        3 => -90.0 * (i / 12) as f32,
        6 => 192.0,
        10 => 1.0,
        _ => 0.0,
    })
}

/// A tensor from the place of each value and a random number.
fn tensor(device: &Device, shape: &[usize], value: impl Fn(usize, f32) -> f32) -> Tensor {
    let random = uniform("triangulation/bench", shape.iter().product());
    let values = random.iter().enumerate().map(|(i, &r)| value(i, r)).collect();
    Tensor::new::<f32>(device, shape, values).expect("as many values as the shape has")
}
