use super::{pinv, pinv_backward};
use steropes_tensor::Tensor;
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, bench};

pub(crate) fn benches() -> Vec<Bench> {
    let shape = |device: &_, shape: &[usize]| {
        Tensor::new(device, shape, uniform("a", shape.iter().product())).expect("a value for each")
    };
    // Singular vectors of 22 n^3 operations, then a product of 2 n^3; the matrix is read, its inverse written.
    let forward =
        bench("pinv/200x64x64", 200.0 * 24.0 * 64f64.powi(3), 200.0 * 8.0 * 64f64.powi(2), move |device| {
            let a = shape(device, &[200, 64, 64]);
            Box::new(move || {
                std::hint::black_box(pinv(&a, None).expect("finite values"));
            })
        });
    // Ten products of 2 n^3 operations; three matrices are read, one written.
    let backward = bench(
        "pinv_backward/200x64x64",
        200.0 * 20.0 * 64f64.powi(3),
        200.0 * 16.0 * 64f64.powi(2),
        move |device| {
            let a = shape(device, &[200, 64, 64]);
            let inverse = pinv(&a, None).expect("finite values");
            Box::new(move || {
                std::hint::black_box(pinv_backward(&inverse, &a, &inverse).expect("valid arguments"));
            })
        },
    );
    vec![forward, backward]
}
