use super::{bias_activation, bias_activation_backward};
use crate::checks::{bench_of, rows_of};
use crate::elementwise::activation::Activation;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch};

pub(crate) fn benches() -> Vec<Bench> {
    use DType::{F16, F32};
    vec![
        of(F32, "bias_activation/gelu_4096x4096", false),
        of(F32, "bias_activation/gelu_backward_4096x4096", true),
        of(F16, "bias_activation/f16/gelu_4096x4096", false),
        of(F16, "bias_activation/f16/gelu_backward_4096x4096", true),
    ]
}

/// As GELU with one addition; backward with two. A read and a write; backward one read more.
fn of(dtype: DType, name: &'static str, backward: bool) -> Bench {
    const WIDTH: usize = 4096;
    let work = if backward { [36.0, 3.0] } else { [25.0, 2.0] };
    bench_of(dtype, name, 4096 * WIDTH, work, move |device: &Device| -> Launch {
        let [x, grad] = ["x", "grad"].map(|name| rows_of(device, dtype, name, [4096, WIDTH]));
        let bias = Tensor::new(device, &[WIDTH], uniform("bias", WIDTH)).expect("a value for each place");
        if backward {
            return Box::new(move || {
                let both = bias_activation_backward(&x, &bias, Activation::Gelu, &grad);
                drop(std::hint::black_box(both.expect("valid arguments")));
            });
        }
        Box::new(move || {
            let y = bias_activation(x.clone(), &bias, Activation::Gelu);
            drop(std::hint::black_box(y.expect("valid arguments")));
        })
    })
}
