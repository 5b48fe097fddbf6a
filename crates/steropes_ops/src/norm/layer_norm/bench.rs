use super::{add_layer_norm, layer_norm, layer_norm_backward};
use crate::checks::{bench_of, rows_of};
use half::f16;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    use DType::{F16, F32};
    vec![
        hidden(F32, "layer_norm/4096x4096", 4096, Which::Forward),
        hidden(F32, "layer_norm/32x4096", 32, Which::Forward),
        hidden(F32, "layer_norm/1x4096", 1, Which::Forward),
        hidden(F32, "layer_norm/add_4096x4096", 4096, Which::Add),
        hidden(F32, "layer_norm/backward_4096x4096", 4096, Which::Backward),
        hidden(F32, "layer_norm/backward_32x4096", 32, Which::Backward),
        hidden(F32, "layer_norm/backward_1x4096", 1, Which::Backward),
        hidden(F16, "layer_norm/f16/4096x4096", 4096, Which::Forward),
        hidden(F16, "layer_norm/f16/32x4096", 32, Which::Forward),
        hidden(F16, "layer_norm/f16/1x4096", 1, Which::Forward),
        hidden(F16, "layer_norm/f16/add_4096x4096", 4096, Which::Add),
        hidden(F16, "layer_norm/f16/backward_4096x4096", 4096, Which::Backward),
        hidden(F16, "layer_norm/f16/backward_32x4096", 32, Which::Backward),
        hidden(F16, "layer_norm/f16/backward_1x4096", 1, Which::Backward),
        // MASt3R ViT-L at 512 x 384: 768 tokens of 1024 in the encoder, of 768 in the decoder.
        rows("layer_norm/mast3r_encoder", 768, 1024),
        rows("layer_norm/mast3r_decoder", 768, 768),
        // The embedded network: 432 tokens of 256 in the encoder.
        rows("layer_norm/tiny_encoder", 432, 256),
        f16_rows("layer_norm/f16/mast3r_encoder", 768, 1024),
        f16_rows("layer_norm/f16/mast3r_decoder", 768, 768),
        f16_rows("layer_norm/f16/tiny_encoder", 432, 256),
        f16_rows("layer_norm/f16/65536x1024", 65536, 1024),
    ]
}

/// One operation for the mean, three for the variance and four for the result; one read and one write.
fn rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    bench(name, 8.0 * values, 8.0 * values, move |device| {
        let tensor = |name: &str, shape: &[usize]| {
            Tensor::new(device, shape, uniform(name, shape.iter().product()))
                .expect("as many values as the shape has")
        };
        let (x, weight, bias) =
            (tensor("x", &[rows, width]), tensor("weight", &[width]), tensor("bias", &[width]));
        Box::new(move || {
            std::hint::black_box(layer_norm(&x, &weight, &bias, 1e-6).expect("valid arguments"));
        })
    })
}

/// As [`rows`], with half the bytes.
fn f16_rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    f16_bench(name, 8.0 * values, 4.0 * values, move |device| {
        let row: Vec<f16> = uniform("x", width).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, &[rows, width], row.repeat(rows)).expect("a value for each place");
        let parameter =
            |name: &str| Tensor::new(device, &[width], uniform(name, width)).expect("a value for each place");
        let (weight, bias) = (parameter("weight"), parameter("bias"));
        Box::new(move || {
            std::hint::black_box(layer_norm(&x, &weight, &bias, 1e-6).expect("valid arguments"));
        })
    })
}

#[derive(Clone, Copy)]
enum Which {
    Forward,
    Add,
    Backward,
}

impl Which {
    /// Operations for each value and tensors that are read or written. Backward: four for mean and variance, two for the
    /// normalised value, its gradient, four for two sums, three for sums over rows, four for the result.
    fn work(self) -> [f64; 2] {
        match self {
            Self::Forward => [8.0, 2.0],
            Self::Add => [9.0, 4.0],
            Self::Backward => [18.0, 3.0],
        }
    }
}

/// Rows of a hidden state of 4096.
fn hidden(dtype: DType, name: &'static str, rows: usize, which: Which) -> Bench {
    const WIDTH: usize = 4096;
    bench_of(dtype, name, rows * WIDTH, which.work(), move |device: &Device| -> Launch {
        let [x, other] = ["x", "other"].map(|name| rows_of(device, dtype, name, [rows, WIDTH]));
        let parameter =
            |name: &str| Tensor::new(device, &[WIDTH], uniform(name, WIDTH)).expect("a value for each place");
        let (weight, bias) = (parameter("weight"), parameter("bias"));
        match which {
            Which::Forward => Box::new(move || {
                std::hint::black_box(layer_norm(&x, &weight, &bias, 1e-5).expect("valid arguments"));
            }),
            Which::Add => Box::new(move || {
                let both = add_layer_norm(&other, &x, &[WIDTH], Some(&weight), Some(&bias), 1e-5);
                std::hint::black_box(both.expect("valid arguments"));
            }),
            Which::Backward => Box::new(move || {
                let all = layer_norm_backward(&x, &[WIDTH], Some(&weight), 1e-5, &other);
                std::hint::black_box(all.expect("valid arguments"));
            }),
        }
    })
}
