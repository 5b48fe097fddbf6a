use super::super::{normal, normal_f16};
use super::{ConfidenceMode, DepthMode, pointmap};
use steropes_testkit::{Bench, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        benched("pointmap/mast3r_512x384", [1, 384, 512, 4]),
        benched("pointmap/small_384x288", [1, 288, 384, 4]),
        benched_f16("pointmap/f16/mast3r_512x384", [1, 384, 512, 4]),
    ]
}

fn benched(name: &'static str, shape: [usize; 4]) -> Bench {
    let pixels = (shape[1] * shape[2]) as f64;
    // Norm 6, two exponentials of 16, scaling 4; four values in, four out.
    bench(name, 42.0 * pixels, 32.0 * pixels, move |device| {
        let raw = normal(device, "raw", &shape);
        let mode = ConfidenceMode::Exp { min: 1.0, max: f32::INFINITY };
        Box::new(move || {
            drop(std::hint::black_box(pointmap(&raw, DepthMode::Exp, mode).expect("the shape fits")));
        })
    })
}

/// As [`benched`], with half the bytes in.
fn benched_f16(name: &'static str, shape: [usize; 4]) -> Bench {
    let pixels = (shape[1] * shape[2]) as f64;
    f16_bench(name, 42.0 * pixels, 24.0 * pixels, move |device| {
        let raw = normal_f16(device, "raw", &shape);
        let mode = ConfidenceMode::Exp { min: 1.0, max: f32::INFINITY };
        Box::new(move || {
            drop(std::hint::black_box(pointmap(&raw, DepthMode::Exp, mode).expect("the shape fits")));
        })
    })
}
