use super::{log_softmax, softmax, softmax_axis, softmax_backward};
use crate::checks::{bench_of, rows_of};
use half::f16;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, f16_bench};

pub(crate) fn benches() -> Vec<Bench> {
    use DType::{F16, F32};
    vec![
        // Scores over vocabularies of 32768 and 128000.
        of(F32, "softmax/512x32768", [512, 32768], Which::Rows),
        of(F32, "softmax/128x128000", [128, 128_000], Which::Rows),
        of(F32, "softmax/4096x4096", [4096, 4096], Which::Rows),
        of(F32, "softmax/1x4096", [1, 4096], Which::Rows),
        of(F32, "softmax/axis_0_of_4096x4096", [4096, 4096], Which::Columns),
        of(F32, "softmax/log_512x32768", [512, 32768], Which::Log),
        of(F32, "softmax/backward_4096x4096", [4096, 4096], Which::Backward),
        of(F32, "softmax/backward_512x32768", [512, 32768], Which::Backward),
        of(F16, "softmax/f16/512x32768", [512, 32768], Which::Rows),
        of(F16, "softmax/f16/128x128000", [128, 128_000], Which::Rows),
        of(F16, "softmax/f16/4096x4096", [4096, 4096], Which::Rows),
        of(F16, "softmax/f16/axis_0_of_4096x4096", [4096, 4096], Which::Columns),
        of(F16, "softmax/f16/log_512x32768", [512, 32768], Which::Log),
        of(F16, "softmax/f16/backward_4096x4096", [4096, 4096], Which::Backward),
        // A row of scores for each token and head of MASt3R ViT-L at 512 x 384.
        rows("softmax/mast3r_scores", 768, 768),
        f16_rows("softmax/f16/mast3r_scores", 16 * 768, 768),
        f16_rows("softmax/f16/65536x1024", 65536, 1024),
        f16_rows("softmax/f16/8192x8192", 8192, 8192),
    ]
}

/// Operations: a comparison, a difference, an exponential of 16, a sum, a product.
const OPERATIONS: f64 = 20.0;

fn rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    bench(name, OPERATIONS * values, 8.0 * values, move |device| {
        let x =
            Tensor::new(device, &[rows, width], uniform("x", rows * width)).expect("a value for each place");
        Box::new(move || drop(std::hint::black_box(softmax(&x).expect("valid arguments"))))
    })
}

fn f16_rows(name: &'static str, rows: usize, width: usize) -> Bench {
    let values = (rows * width) as f64;
    f16_bench(name, OPERATIONS * values, 4.0 * values, move |device| {
        let row: Vec<f16> = uniform("x", width).into_iter().map(f16::from_f32).collect();
        let x = Tensor::new(device, &[rows, width], row.repeat(rows)).expect("a value for each place");
        Box::new(move || drop(std::hint::black_box(softmax(&x).expect("valid arguments"))))
    })
}

#[derive(Clone, Copy)]
enum Which {
    Rows,
    Columns,
    Log,
    Backward,
}

/// Reads and writes of each value once; backward two reads, a sum of products, a difference and a product.
fn of(dtype: DType, name: &'static str, [rows, width]: [usize; 2], which: Which) -> Bench {
    let work = if matches!(which, Which::Backward) { [4.0, 3.0] } else { [OPERATIONS, 2.0] };
    bench_of(dtype, name, rows * width, work, move |device: &Device| -> Launch {
        let [x, grad] = ["x", "grad"].map(|name| rows_of(device, dtype, name, [rows, width]));
        Box::new(move || {
            let y = match which {
                Which::Rows => softmax(&x),
                Which::Columns => softmax_axis(&x, 0),
                Which::Log => log_softmax(&x, 1),
                Which::Backward => softmax_backward(&x, &grad, 1),
            };
            drop(std::hint::black_box(y.expect("valid arguments")));
        })
    })
}
