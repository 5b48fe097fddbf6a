use super::super::{normal, normal_f16};
use super::descriptors;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        benched("descriptors/mast3r_512x384", [1, 384, 512, 25]),
        benched("descriptors/small_384x288", [1, 288, 384, 25]),
        benched_f16("descriptors/f16/mast3r_512x384", [1, 384, 512, 25]),
    ]
}

fn benched(name: &'static str, shape: [usize; 4]) -> Bench {
    let pixels = (shape[1] * shape[2]) as f64;
    // 24 squares and sums, a root, 24 divisions; every channel is read once and written once.
    bench(name, 73.0 * pixels, 2.0 * 4.0 * 25.0 * pixels, move |device| {
        let raw = normal(device, "raw", &shape);
        Box::new(move || drop(std::hint::black_box(descriptors(&raw, 24).expect("the shape fits"))))
    })
}

/// As [`benched`], with half the bytes in.
fn benched_f16(name: &'static str, shape: [usize; 4]) -> Bench {
    let pixels = (shape[1] * shape[2]) as f64;
    f16_bench(name, 73.0 * pixels, 6.0 * 25.0 * pixels, move |device| {
        let raw = normal_f16(device, "raw", &shape);
        Box::new(move || drop(std::hint::black_box(descriptors(&raw, 24).expect("the shape fits"))))
    })
}
