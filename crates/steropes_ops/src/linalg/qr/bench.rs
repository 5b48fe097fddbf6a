use super::{QrMode, geqrf, qr, qr_backward};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        factors("qr/1000000x3x3", [1_000_000, 3, 3]),
        factors("qr/50x16x16", [50, 16, 16]),
        factors("qr/500x16x16", [500, 16, 16]),
        factors("qr/1000x16x16", [1000, 16, 16]),
        factors("qr/500x32x32", [500, 32, 32]),
        factors("qr/100x48x48", [100, 48, 48]),
        factors("qr/100x64x32", [100, 64, 32]),
        factors("qr/200x64x32", [200, 64, 32]),
        factors("qr/1024x1024", [1, 1024, 1024]),
        factors("qr/4000x1000", [1, 4000, 1000]),
        factors("qr/4096x4096", [1, 4096, 4096]),
        factors("qr/2000000x50", [1, 2_000_000, 50]),
        reflectors("geqrf/1024x1024", [1, 1024, 1024]),
        gradients("qr_backward/500x32x32", [500, 32, 32]),
        gradients("qr_backward/1024x256", [1, 1024, 256]),
    ]
}

fn matrices(device: &Device, shape: [usize; 3]) -> Tensor {
    Tensor::new(device, &shape, uniform("a", shape.iter().product())).expect("a value for each place")
}

/// Flops of R alone, of `m` rows and `n` columns with `m >= n`.
fn flops([count, m, n]: [usize; 3]) -> f64 {
    let [count, m, n] = [count, m, n].map(|x| x as f64);
    count * 2.0 * n * n * (m - n / 3.0)
}

/// R and as much again for Q; A is read, Q and R are written.
fn factors(name: &'static str, shape: [usize; 3]) -> Bench {
    let [count, m, n] = shape;
    let bytes = 4.0 * (count * (2 * m * n + n * n)) as f64;
    bench(name, 2.0 * flops(shape), bytes, move |device| {
        let a = matrices(device, shape);
        Box::new(move || {
            std::hint::black_box(qr(&a, QrMode::Reduced).expect("valid arguments"));
        })
    })
}

/// R and the reflectors in its place.
fn reflectors(name: &'static str, shape: [usize; 3]) -> Bench {
    let [count, m, n] = shape;
    bench(name, flops(shape), 8.0 * (count * m * n) as f64, move |device| {
        let a = matrices(device, shape);
        Box::new(move || {
            std::hint::black_box(geqrf(&a).expect("valid arguments"));
        })
    })
}

/// Two products `[m, n, n]`, one of `[n, n, n]` and a triangular system for each row; Q, R and their gradients are read.
fn gradients(name: &'static str, shape: [usize; 3]) -> Bench {
    let [count, m, n] = shape;
    let flops = (count * (5 * m * n * n + 2 * n * n * n)) as f64;
    let bytes = 4.0 * (count * (3 * m * n + 2 * n * n)) as f64;
    bench(name, flops, bytes, move |device| {
        let (q, r) = qr(&matrices(device, shape), QrMode::Reduced).expect("valid arguments");
        Box::new(move || {
            std::hint::black_box(qr_backward(&q, &r, Some(&q), Some(&r)).expect("valid arguments"));
        })
    })
}
