use super::cholesky_solve;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        systems("cholesky_solve/500x16x16_1", 500, [16, 1]),
        systems("cholesky_solve/200x48x48_4", 200, [48, 4]),
        systems("cholesky_solve/1x1024x1024_64", 1, [1024, 64]),
    ]
}

/// 2 n^2 k operations for each matrix; a triangle and the right sides are read, the solutions written.
fn systems(name: &'static str, count: usize, [n, k]: [usize; 2]) -> Bench {
    let (matrices, equations, sides) = (count as f64, n as f64, k as f64);
    let bytes = matrices * (2.0 * equations * equations + 8.0 * equations * sides);
    bench(name, 2.0 * matrices * equations * equations * sides, bytes, move |device| {
        let mut l = uniform("l", count * n * n);
        for matrix in l.chunks_exact_mut(n * n) {
            matrix.iter_mut().step_by(n + 1).for_each(|v| *v = n as f32);
        }
        let (l, b) =
            (tensor(device, &[count, n, n], l), tensor(device, &[count, n, k], uniform("b", count * n * k)));
        Box::new(move || {
            std::hint::black_box(cholesky_solve(&b, &l, false).expect("valid arguments"));
        })
    })
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a bench's shape fits its values")
}
