use super::solve_triangular;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    vec![
        // Chunks of a gated delta rule.
        systems("solve_triangular/2048x64x64_64", 2048, [64, 64]),
        systems("solve_triangular/500x16x16_1", 500, [16, 1]),
        systems("solve_triangular/1x1024x1024_1024", 1, [1024, 1024]),
        systems("solve_triangular/1x1024x1024_1", 1, [1024, 1]),
    ]
}

/// n^2 k operations for each matrix; a triangle and the right sides are read, the solutions written.
fn systems(name: &'static str, count: usize, [n, k]: [usize; 2]) -> Bench {
    let (matrices, equations, sides) = (count as f64, n as f64, k as f64);
    let bytes = matrices * (2.0 * equations * equations + 8.0 * equations * sides);
    bench(name, matrices * equations * equations * sides, bytes, move |device| {
        let mut a = uniform("a", count * n * n);
        for matrix in a.chunks_exact_mut(n * n) {
            matrix.iter_mut().step_by(n + 1).for_each(|v| *v = n as f32);
        }
        let (a, b) =
            (tensor(device, &[count, n, n], a), tensor(device, &[count, n, k], uniform("b", count * n * k)));
        Box::new(move || {
            std::hint::black_box(solve_triangular(&a, &b, false, true, false).expect("valid arguments"));
        })
    })
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a bench's shape fits its values")
}
