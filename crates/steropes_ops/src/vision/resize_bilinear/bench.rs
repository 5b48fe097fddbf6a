use super::super::{normal, normal_f16};
use super::resize_bilinear;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        benched("resize_bilinear/mast3r_p2", [1, 96, 128, 256]),
        benched("resize_bilinear/mast3r_head", [1, 192, 256, 128]),
        benched("resize_bilinear/small_p2", [1, 72, 96, 64]),
        benched("resize_bilinear/small_head", [1, 144, 192, 32]),
        benched_f16("resize_bilinear/f16/mast3r_p2", [1, 96, 128, 256]),
        benched_f16("resize_bilinear/f16/mast3r_head", [1, 192, 256, 128]),
    ]
}

/// Twice as high and wide.
fn benched(name: &'static str, shape: [usize; 4]) -> Bench {
    let [_, height, width, channels] = shape;
    let values = (height * width * channels) as f64;
    // Three operations to mix two values: twice as many lines, then four times as many pixels.
    bench(name, 3.0 * 6.0 * values, 4.0 * 5.0 * values, move |device| {
        let x = normal(device, "x", &shape);
        Box::new(move || {
            drop(std::hint::black_box(resize_bilinear(&x, 2 * height, 2 * width).expect("the shape fits")));
        })
    })
}

/// As [`benched`], with half the bytes.
fn benched_f16(name: &'static str, shape: [usize; 4]) -> Bench {
    let [_, height, width, channels] = shape;
    let values = (height * width * channels) as f64;
    f16_bench(name, 3.0 * 6.0 * values, 2.0 * 5.0 * values, move |device| {
        let x = normal_f16(device, "x", &shape);
        Box::new(move || {
            drop(std::hint::black_box(resize_bilinear(&x, 2 * height, 2 * width).expect("the shape fits")));
        })
    })
}
