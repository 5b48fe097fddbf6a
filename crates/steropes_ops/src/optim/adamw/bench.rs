use super::{AdamW, Parameter, adamw};
use half::{bf16, f16};
use steropes_tensor::{Device, Element, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{Bench, Launch, bench, cpu_bench, f16_bench};

/// Operations on an element: one for the decay, three and four for the moments, five for the step.
const FLOPS: f64 = 13.0;
/// Value and both moments are read and written, the gradient is read.
const F32_BYTES: f64 = 28.0;
/// Master weight and moments are read and written, the gradient is read and the value written in 16 bits.
const MASTER_BYTES: f64 = 28.0;
/// Value, moments and gradient, without master weights.
const BF16_BYTES: f64 = 22.0;

pub(crate) fn benches() -> Vec<Bench> {
    let (long, short) = ((1 << 24) as f64, (100 * 1024) as f64);
    let plain = AdamW::default();
    let stochastic = AdamW { stochastic_rounding: Some(1), ..plain };
    vec![
        bench("adamw/16.8M", FLOPS * long, F32_BYTES * long, move |d| launch::<f32>(d, 1, 1 << 24, plain)),
        bench("adamw/100x1024", FLOPS * short, F32_BYTES * short, move |d| {
            launch::<f32>(d, 100, 1024, plain)
        }),
        f16_bench("adamw/f16/16.8M", FLOPS * long, MASTER_BYTES * long, move |d| {
            launch::<f16>(d, 1, 1 << 24, plain)
        }),
        cpu_bench("adamw/bf16/16.8M", FLOPS * long, MASTER_BYTES * long, move |d| {
            launch::<bf16>(d, 1, 1 << 24, plain)
        }),
        cpu_bench("adamw/bf16_stochastic/16.8M", FLOPS * long, BF16_BYTES * long, move |d| {
            launch::<bf16>(d, 1, 1 << 24, stochastic)
        }),
    ]
}

/// Conversion from the generator's numbers.
trait FromF32: Element {
    fn from_f32(x: f32) -> Self;
}

impl FromF32 for f32 {
    fn from_f32(x: f32) -> Self {
        x
    }
}

impl FromF32 for f16 {
    fn from_f32(x: f32) -> Self {
        f16::from_f32(x)
    }
}

impl FromF32 for bf16 {
    fn from_f32(x: f32) -> Self {
        bf16::from_f32(x)
    }
}

fn launch<T: FromF32>(device: &Device, count: usize, len: usize, options: AdamW) -> Launch {
    let tensor = |name: &str| {
        let values = uniform(name, len).into_iter().map(T::from_f32).collect();
        Tensor::new(device, &[len], values).expect("a value for each place")
    };
    let parameter = |_| Parameter::new(tensor("value"), &options).expect("valid arguments");
    let mut parameters: Vec<Parameter> = (0..count).map(parameter).collect();
    let gradients: Vec<Tensor> = (0..count).map(|_| tensor("gradient")).collect();
    Box::new(move || {
        let gradients: Vec<&Tensor> = gradients.iter().collect();
        adamw(&options, &mut parameters, &gradients).expect("valid arguments");
    })
}
