use super::{svd, svd_backward, svdvals};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        decompositions("svd/1000000x3x3", &[1_000_000, 3, 3]),
        decompositions("svd/1000000x2x2", &[1_000_000, 2, 2]),
        decompositions("svd/10000x8x8", &[10_000, 8, 8]),
        decompositions("svd/1000x16x16", &[1000, 16, 16]),
        decompositions("svd/100x32x32", &[100, 32, 32]),
        decompositions("svd/200x64x64", &[200, 64, 64]),
        decompositions("svd/50x128x128", &[50, 128, 128]),
        decompositions("svd/10x256x256", &[10, 256, 256]),
        decompositions("svd/256x256", &[1, 256, 256]),
        decompositions("svd/512x512", &[1, 512, 512]),
        decompositions("svd/1024x1024", &[1, 1024, 1024]),
        decompositions("svd/1024x512", &[1, 1024, 512]),
        values("svdvals/1000000x3x3", &[1_000_000, 3, 3]),
        values("svdvals/200x64x64", &[200, 64, 64]),
        backward("svd_backward/200x64x64", &[200, 64, 64]),
    ]
}

/// A reduction to a bidiagonal matrix and the forming of both bases: `14 m n^2 + 8 n^3` for `m >= n`, as is usual to count.
fn flops([count, m, n]: [usize; 3]) -> f64 {
    let (m, n) = (m.max(n) as f64, m.min(n) as f64);
    count as f64 * (14.0 * m * n * n + 8.0 * n * n * n)
}

/// The matrices, both bases and the values once.
fn bytes([count, m, n]: [usize; 3]) -> f64 {
    let k = m.min(n);
    4.0 * (count * (m * n + m * k + k + k * n)) as f64
}

fn decompositions(name: &'static str, shape: &'static [usize; 3]) -> Bench {
    bench(name, flops(*shape), bytes(*shape), move |device| {
        let a =
            Tensor::new(device, shape, uniform("svd/a", shape.iter().product())).expect("a value for each");
        Box::new(move || {
            std::hint::black_box(svd(&a, false).expect("finite values"));
        })
    })
}

/// Without bases the reduction alone: `4 m n^2 - 4 n^3 / 3`.
fn values(name: &'static str, shape: &'static [usize; 3]) -> Bench {
    let [count, m, n] = shape.map(|extent| extent as f64);
    let flops = count * (4.0 * m * n * n - 4.0 * n * n * n / 3.0);
    bench(name, flops, 4.0 * count * (m * n + n), move |device| {
        let a =
            Tensor::new(device, shape, uniform("svd/a", shape.iter().product())).expect("a value for each");
        Box::new(move || {
            std::hint::black_box(svdvals(&a).expect("finite values"));
        })
    })
}

/// Four products of square matrices: two between the vectors, two at the end.
fn backward(name: &'static str, shape: &'static [usize; 3]) -> Bench {
    let [count, _, n] = shape.map(|extent| extent as f64);
    bench(name, count * 8.0 * n * n * n, 4.0 * count * (5.0 * n * n + 2.0 * n), move |device| {
        let a =
            Tensor::new(device, shape, uniform("svd/a", shape.iter().product())).expect("a value for each");
        let (u, s, vh) = svd(&a, false).expect("finite values");
        Box::new(move || {
            let gradient = svd_backward(&u, &s, &vh, Some(&u), Some(&s), Some(&vh));
            std::hint::black_box(gradient.expect("valid arguments"));
        })
    })
}
