use super::super::{normal, normal_f16};
use super::pixel_shuffle;
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        benched("pixel_shuffle/mast3r_512x384", [1, 24, 32, 6400]),
        benched("pixel_shuffle/small_384x288", [1, 18, 24, 6400]),
        benched_f16("pixel_shuffle/f16/mast3r_512x384", [1, 24, 32, 6400]),
    ]
}

fn benched(name: &'static str, shape: [usize; 4]) -> Bench {
    let bytes = 2.0 * 4.0 * shape.iter().product::<usize>() as f64;
    bench(name, 0.0, bytes, move |device| {
        let x = normal(device, "x", &shape);
        Box::new(move || drop(std::hint::black_box(pixel_shuffle(&x, 16).expect("the shape fits"))))
    })
}

fn benched_f16(name: &'static str, shape: [usize; 4]) -> Bench {
    let bytes = 2.0 * 2.0 * shape.iter().product::<usize>() as f64;
    f16_bench(name, 0.0, bytes, move |device| {
        let x = normal_f16(device, "x", &shape);
        Box::new(move || drop(std::hint::black_box(pixel_shuffle(&x, 16).expect("the shape fits"))))
    })
}
