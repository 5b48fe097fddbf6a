use super::{geglu, swiglu, swiglu_backward};
use crate::checks::{bench_of, rows_of};
use steropes_tensor::{DType, Device};
use steropes_testkit::{Bench, Launch};

pub(crate) fn benches() -> Vec<Bench> {
    use DType::{F16, F32};
    // The hidden layers of Llama 3 8B for 256 tokens.
    vec![
        of(F32, "gated/swiglu_256x14336", Which::Swiglu),
        of(F32, "gated/geglu_256x14336", Which::Geglu),
        of(F32, "gated/swiglu_backward_256x14336", Which::Backward),
        of(F16, "gated/f16/swiglu_256x14336", Which::Swiglu),
        of(F16, "gated/f16/geglu_256x14336", Which::Geglu),
        of(F16, "gated/f16/swiglu_backward_256x14336", Which::Backward),
    ]
}

#[derive(Clone, Copy)]
enum Which {
    Swiglu,
    Geglu,
    Backward,
}

/// Operations: an exponential of 4 and what is around it. Two reads and a write; backward three reads and two writes.
fn of(dtype: DType, name: &'static str, which: Which) -> Bench {
    let work = match which {
        Which::Swiglu => [10.0, 3.0],
        Which::Geglu => [25.0, 3.0],
        Which::Backward => [16.0, 5.0],
    };
    bench_of(dtype, name, 256 * 14_336, work, move |device: &Device| -> Launch {
        let [gate, up, grad] = ["gate", "up", "grad"].map(|name| rows_of(device, dtype, name, [256, 14_336]));
        match which {
            Which::Swiglu => Box::new(move || {
                drop(std::hint::black_box(swiglu(gate.clone(), &up).expect("valid arguments")));
            }),
            Which::Geglu => Box::new(move || {
                drop(std::hint::black_box(geglu(gate.clone(), &up).expect("valid arguments")));
            }),
            Which::Backward => Box::new(move || {
                drop(std::hint::black_box(swiglu_backward(&gate, &up, &grad).expect("valid arguments")));
            }),
        }
    })
}
