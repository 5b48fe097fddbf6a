use super::super::{normal, normal_f16};
use super::crop;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // 25 x 32 tokens: the coarsest map is 13 x 16, upsampled to 26 x 32.
        benched("crop/mast3r_512x400_p4", [1, 26, 32, 256], 25, 32),
        benched("crop/small_400x288_p4", [1, 18, 26, 64], 18, 25),
        benched_f16("crop/f16/mast3r_512x400_p4", [1, 26, 32, 256], 25, 32),
    ]
}

fn benched(name: &'static str, shape: [usize; 4], height: usize, width: usize) -> Bench {
    let bytes = 2 * 4 * shape[0] * height * width * shape[3];
    bench(name, 0.0, bytes as f64, move |device| {
        let x = normal(device, "x", &shape);
        Box::new(move || drop(std::hint::black_box(crop(&x, height, width).expect("the shape fits"))))
    })
}

fn benched_f16(name: &'static str, shape: [usize; 4], height: usize, width: usize) -> Bench {
    let bytes = 2 * 2 * shape[0] * height * width * shape[3];
    f16_bench(name, 0.0, bytes as f64, move |device| {
        let x = normal_f16(device, "x", &shape);
        Box::new(move || drop(std::hint::black_box(crop(&x, height, width).expect("the shape fits"))))
    })
}
