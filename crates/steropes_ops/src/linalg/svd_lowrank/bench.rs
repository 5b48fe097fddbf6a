use super::{LowRank, svd_lowrank};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        ranges("svd_lowrank/4096x1024_16", [1, 4096, 1024], 16),
        ranges("svd_lowrank/1000x2000_6", [1, 1000, 2000], 6),
        ranges("svd_lowrank/16x512x512_32", [16, 512, 512], 32),
    ]
}

/// Six products of the matrix with `q` vectors: one at first, two in each of two iterations, one at the end; each reads the matrix.
fn ranges(name: &'static str, shape: [usize; 3], q: usize) -> Bench {
    let values = shape.iter().product::<usize>() as f64;
    bench(name, 12.0 * values * q as f64, 24.0 * values, move |device| {
        let a = Tensor::new(device, &shape, uniform("a", shape.iter().product())).expect("a value for each");
        Box::new(move || {
            let options = LowRank { q, ..LowRank::default() };
            std::hint::black_box(svd_lowrank(&a, options, None).expect("finite values"));
        })
    })
}
