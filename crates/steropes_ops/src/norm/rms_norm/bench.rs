use super::{add_rms_norm, add_rms_norm_backward, rms_norm, rms_norm_backward};
use crate::checks::{bench_of, rows_of};
use std::hint::black_box;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch};

pub(crate) fn benches() -> Vec<Bench> {
    use DType::{F16, F32};
    use Which::{Add, AddBackward, Backward, Forward};
    // A hidden state of 4096, as Llama has, of many tokens, of some and of one.
    vec![
        of(F32, "rms_norm/4096x4096", 4096, Forward),
        of(F32, "rms_norm/32x4096", 32, Forward),
        of(F32, "rms_norm/1x4096", 1, Forward),
        of(F32, "rms_norm/add_4096x4096", 4096, Add),
        of(F32, "rms_norm/backward_4096x4096", 4096, Backward),
        of(F32, "rms_norm/backward_32x4096", 32, Backward),
        of(F32, "rms_norm/backward_1x4096", 1, Backward),
        of(F32, "rms_norm/add_backward_4096x4096", 4096, AddBackward),
        of(F16, "rms_norm/f16/4096x4096", 4096, Forward),
        of(F16, "rms_norm/f16/32x4096", 32, Forward),
        of(F16, "rms_norm/f16/1x4096", 1, Forward),
        of(F16, "rms_norm/f16/add_4096x4096", 4096, Add),
        of(F16, "rms_norm/f16/backward_4096x4096", 4096, Backward),
        of(F16, "rms_norm/f16/backward_32x4096", 32, Backward),
        of(F16, "rms_norm/f16/backward_1x4096", 1, Backward),
        of(F16, "rms_norm/f16/add_backward_4096x4096", 4096, AddBackward),
    ]
}

#[derive(Clone, Copy)]
enum Which {
    Forward,
    Add,
    Backward,
    AddBackward,
}

impl Which {
    /// Operations for each value and tensors that are read or written. Forward: two for the mean square, two for the result.
    /// Backward: those of the mean square, the normalised value, its gradient, two sums of products and three for the result.
    fn work(self) -> [f64; 2] {
        match self {
            Self::Forward => [4.0, 2.0],
            Self::Add => [5.0, 4.0],
            Self::Backward => [11.0, 3.0],
            Self::AddBackward => [12.0, 4.0],
        }
    }
}

const WIDTH: usize = 4096;

fn of(dtype: DType, name: &'static str, rows: usize, which: Which) -> Bench {
    bench_of(dtype, name, rows * WIDTH, which.work(), move |device: &Device| -> Launch {
        let [x, grad, other] = ["x", "grad", "other"].map(|name| rows_of(device, dtype, name, [rows, WIDTH]));
        let weight = Tensor::new(device, &[WIDTH], uniform("weight", WIDTH)).expect("a value for each place");
        match which {
            Which::Forward => Box::new(move || {
                black_box(rms_norm(&x, Some(&weight), 1e-5).expect("valid arguments"));
            }),
            Which::Add => Box::new(move || {
                black_box(add_rms_norm(&other, &x, Some(&weight), 1e-5).expect("valid arguments"));
            }),
            Which::Backward => Box::new(move || {
                black_box(rms_norm_backward(&x, Some(&weight), 1e-5, &grad).expect("valid arguments"));
            }),
            Which::AddBackward => Box::new(move || {
                let all = add_rms_norm_backward(&x, Some(&weight), 1e-5, &other, &grad);
                black_box(all.expect("valid arguments"));
            }),
        }
    })
}
