use super::{CondNorm, cond};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        conditions("cond/2/500x16x16", 500, 16, CondNorm::Two),
        conditions("cond/1/500x16x16", 500, 16, CondNorm::One),
        conditions("cond/1/1x1024x1024", 1, 1024, CondNorm::One),
        conditions("cond/fro/100000x4x4", 100_000, 4, CondNorm::Fro),
    ]
}

/// An inverse of `2 n^3` operations, or singular values of `8 n^3 / 3`; the matrices are read.
fn conditions(name: &'static str, count: usize, n: usize, p: CondNorm) -> Bench {
    let (matrices, side) = (count as f64, n as f64);
    let work = if p == CondNorm::Two { 8.0 / 3.0 } else { 2.0 };
    bench(name, work * matrices * side.powi(3), 4.0 * matrices * side * side, move |device| {
        let mut a = uniform("a", count * n * n);
        for matrix in a.chunks_exact_mut(n * n) {
            matrix.iter_mut().step_by(n + 1).for_each(|x| *x += n as f32);
        }
        let a = Tensor::new(device, &[count, n, n], a).expect("a value for each");
        Box::new(move || {
            std::hint::black_box(cond(&a, p).expect("finite values"));
        })
    })
}
