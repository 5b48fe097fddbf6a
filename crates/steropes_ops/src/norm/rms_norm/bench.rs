use super::{add_rms_norm, add_rms_norm_backward, rms_norm, rms_norm_backward};
use half::f16;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    let mut benches = Vec::new();
    for dtype in [DType::F32, DType::F16] {
        benches.extend([
            of(dtype, ["rms_norm/4096x4096", "rms_norm/f16/4096x4096"], [4096, 4096], Which::Forward),
            of(dtype, ["rms_norm/32x4096", "rms_norm/f16/32x4096"], [32, 4096], Which::Forward),
            of(dtype, ["rms_norm/1x4096", "rms_norm/f16/1x4096"], [1, 4096], Which::Forward),
            of(dtype, ["rms_norm/add_4096x4096", "rms_norm/f16/add_4096x4096"], [4096, 4096], Which::Add),
            of(
                dtype,
                ["rms_norm/backward_4096x4096", "rms_norm/f16/backward_4096x4096"],
                [4096, 4096],
                Which::Backward,
            ),
            of(
                dtype,
                ["rms_norm/backward_32x4096", "rms_norm/f16/backward_32x4096"],
                [32, 4096],
                Which::Backward,
            ),
            of(
                dtype,
                ["rms_norm/backward_1x4096", "rms_norm/f16/backward_1x4096"],
                [1, 4096],
                Which::Backward,
            ),
            of(
                dtype,
                ["rms_norm/add_backward_4096x4096", "rms_norm/f16/add_backward_4096x4096"],
                [4096, 4096],
                Which::AddBackward,
            ),
        ]);
    }
    benches
}

#[derive(Clone, Copy)]
enum Which {
    Forward,
    Add,
    Backward,
    AddBackward,
}

impl Which {
    /// Operations for each value. Forward: two for the mean square, two for the result. Backward: those of the mean square, the
    /// normalised value, its gradient, two sums of products and three for the result.
    fn operations(self) -> f64 {
        match self {
            Self::Forward => 4.0,
            Self::Add => 5.0,
            Self::Backward => 11.0,
            Self::AddBackward => 12.0,
        }
    }

    /// Tensors that are read or written.
    fn tensors(self) -> f64 {
        match self {
            Self::Forward => 2.0,
            Self::Backward => 3.0,
            Self::Add | Self::AddBackward => 4.0,
        }
    }
}

fn of(dtype: DType, names: [&'static str; 2], [rows, width]: [usize; 2], which: Which) -> Bench {
    let values = (rows * width) as f64;
    let prepare = move |device: &Device| -> Launch {
        let tensor = |name: &str| rows_of(device, dtype, name, [rows, width]);
        let (x, grad, other) = (tensor("x"), tensor("grad"), tensor("other"));
        let weight = Tensor::new(device, &[width], uniform("weight", width)).expect("a value for each place");
        match which {
            Which::Forward => Box::new(move || {
                std::hint::black_box(rms_norm(&x, Some(&weight), 1e-5).expect("valid arguments"));
            }),
            Which::Add => Box::new(move || {
                std::hint::black_box(add_rms_norm(&other, &x, Some(&weight), 1e-5).expect("valid arguments"));
            }),
            Which::Backward => Box::new(move || {
                let all = rms_norm_backward(&x, Some(&weight), 1e-5, &grad);
                std::hint::black_box(all.expect("valid arguments"));
            }),
            Which::AddBackward => Box::new(move || {
                let all = add_rms_norm_backward(&x, Some(&weight), 1e-5, &other, &grad);
                std::hint::black_box(all.expect("valid arguments"));
            }),
        }
    };
    let bytes = which.tensors() * dtype.size_bytes() as f64 * values;
    match dtype {
        DType::F16 => f16_bench(names[1], which.operations() * values, bytes, prepare),
        _ => bench(names[0], which.operations() * values, bytes, prepare),
    }
}

/// Equal rows in f32 or f16.
pub(crate) fn rows_of(device: &Device, dtype: DType, name: &str, [rows, width]: [usize; 2]) -> Tensor {
    let row = uniform(name, width);
    let tensor = match dtype {
        DType::F16 => {
            let row: Vec<f16> = row.into_iter().map(f16::from_f32).collect();
            Tensor::new(device, &[rows, width], row.repeat(rows))
        }
        _ => Tensor::new(device, &[rows, width], row.repeat(rows)),
    };
    tensor.expect("a value for each place")
}
