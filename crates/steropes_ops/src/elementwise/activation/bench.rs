use super::{gelu_backward, gelu_tanh, silu, silu_backward};
use crate::checks::{bench_of, rows_of};
use crate::elementwise::gelu::gelu;
use steropes_tensor::{DType, Device};
use steropes_testkit::{Bench, Launch};

pub(crate) fn benches() -> Vec<Bench> {
    use DType::{F16, F32};
    vec![
        of(F32, "activation/gelu_4096x4096", Which::Gelu),
        of(F32, "activation/gelu_tanh_4096x4096", Which::GeluTanh),
        of(F32, "activation/silu_4096x4096", Which::Silu),
        of(F32, "activation/gelu_backward_4096x4096", Which::GeluBackward),
        of(F32, "activation/silu_backward_4096x4096", Which::SiluBackward),
        of(F16, "activation/f16/gelu_4096x4096", Which::Gelu),
        of(F16, "activation/f16/gelu_tanh_4096x4096", Which::GeluTanh),
        of(F16, "activation/f16/silu_4096x4096", Which::Silu),
        of(F16, "activation/f16/gelu_backward_4096x4096", Which::GeluBackward),
        of(F16, "activation/f16/silu_backward_4096x4096", Which::SiluBackward),
    ]
}

#[derive(Clone, Copy)]
enum Which {
    Gelu,
    GeluTanh,
    Silu,
    GeluBackward,
    SiluBackward,
}

/// Operations: an exponential of 4 and what is around it. A read and a write; backward one read more.
fn of(dtype: DType, name: &'static str, which: Which) -> Bench {
    let work = match which {
        Which::Gelu => [24.0, 2.0],
        Which::GeluTanh => [14.0, 2.0],
        Which::Silu => [9.0, 2.0],
        Which::GeluBackward => [34.0, 3.0],
        Which::SiluBackward => [12.0, 3.0],
    };
    bench_of(dtype, name, 4096 * 4096, work, move |device: &Device| -> Launch {
        let [x, grad] = ["x", "grad"].map(|name| rows_of(device, dtype, name, [4096, 4096]));
        Box::new(move || {
            let y = match which {
                Which::Gelu => gelu(x.clone()),
                Which::GeluTanh => gelu_tanh(x.clone()),
                Which::Silu => silu(x.clone()),
                Which::GeluBackward => gelu_backward(&x, grad.clone()),
                Which::SiluBackward => silu_backward(&x, grad.clone()),
            };
            drop(std::hint::black_box(y.expect("valid arguments")));
        })
    })
}
