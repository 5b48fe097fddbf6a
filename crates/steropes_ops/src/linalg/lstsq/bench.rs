use super::{LstsqDriver, lstsq, lstsq_backward};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench, cpu_bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        systems("lstsq/500x32x16", [500, 32, 16, 1]),
        systems("lstsq/100x64x32", [100, 64, 32, 8]),
        systems("lstsq/100x32x64", [100, 32, 64, 1]),
        systems("lstsq/1000x200", [1, 1000, 200, 1]),
        systems("lstsq/200000x20", [1, 200_000, 20, 1]),
        pivoted("lstsq/gelsy/100x64x32", [100, 64, 32, 8]),
        backward("lstsq_backward/100x64x32", [100, 64, 32, 8]),
    ]
}

/// Flops of the factorisation of `[A b]`; A and `b` are read and `x` written.
fn work([count, m, n, k]: [usize; 4]) -> (f64, f64) {
    let [count, m, n, k] = [count, m, n, k].map(|x| x as f64);
    let (long, short) = (m.max(n), m.min(n));
    let factors = 2.0 * short * short * (long - short / 3.0) + 4.0 * m * n * k;
    (count * factors, 4.0 * count * (m * n + m * k + n * k))
}

fn systems(name: &'static str, extents: [usize; 4]) -> Bench {
    let (flops, bytes) = work(extents);
    bench(name, flops, bytes, move |device| prepare(device, extents, LstsqDriver::Gels))
}

fn pivoted(name: &'static str, extents: [usize; 4]) -> Bench {
    let (flops, bytes) = work(extents);
    cpu_bench(name, flops, bytes, move |device| prepare(device, extents, LstsqDriver::Gelsy))
}

/// QR with its Q, `4 m n^2`, and products and systems of `2 n k` operations for each row or column.
fn backward(name: &'static str, [count, m, n, k]: [usize; 4]) -> Bench {
    let (flops, bytes) = (4 * m * n * n + 2 * n * k * (4 * m + n), 4 * (2 * m * n + 2 * m * k + 2 * n * k));
    bench(name, (count * flops) as f64, (count * bytes) as f64, move |device| {
        let tensor = |name: &str, shape: &[usize]| {
            Tensor::new(device, shape, uniform(name, shape.iter().product())).expect("a value for each place")
        };
        let (a, b) = (tensor("a", &[count, m, n]), tensor("b", &[count, m, k]));
        let x = lstsq(&a, &b, None, LstsqDriver::Gels).expect("valid arguments").solution;
        Box::new(move || {
            std::hint::black_box(lstsq_backward(&x, None, &a, &b, &x).expect("valid arguments"));
        })
    })
}

fn prepare(
    device: &steropes_tensor::Device,
    [count, m, n, k]: [usize; 4],
    driver: LstsqDriver,
) -> steropes_testkit::Launch {
    let tensor = |name: &str, shape: &[usize]| {
        Tensor::new(device, shape, uniform(name, shape.iter().product())).expect("a value for each place")
    };
    let (a, b) = (tensor("a", &[count, m, n]), tensor("b", &[count, m, k]));
    Box::new(move || {
        std::hint::black_box(lstsq(&a, &b, None, driver).expect("valid arguments"));
    })
}
