use super::{geglu, geglu_backward, reference, swiglu, swiglu_backward};
use crate::checks::{check_within, differences, exact, stored, tensor};
use crate::elementwise::activation::Activation;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, floats, gpu_case,
    small_bindings_case,
};

const ALL: [Activation; 2] = [Activation::Silu, Activation::Gelu];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("gated/oracle/every_length", |d| (1..=40).try_for_each(|n| against_oracle(d, false, &[n]))),
        case("gated/oracle/odd_sizes", |d| against_oracle(d, false, &[3, 5, 7])),
        case("gated/oracle/llama_hidden", |d| against_oracle(d, false, &[2, 14_336])),
        case("gated/oracle/several_tasks", |d| against_oracle(d, false, &[31, 1013])),
        f16_case("gated/f16/every_length", |d| (1..=40).try_for_each(|n| against_oracle(d, true, &[n]))),
        f16_case("gated/f16/llama_hidden", |d| against_oracle(d, true, &[2, 14_336])),
        case("gated/backward/finite_differences", finite_differences),
        case("gated/property/shared_memory_is_not_changed", |d| {
            let before = normal("gated/gate", 45);
            let x = tensor(d, &[45], &before);
            swiglu(x.clone(), &x).map_err(|e| e.to_string())?;
            check_equal(&floats(&x)?, &before)
        }),
        case("gated/property/nan_stays_in_its_place", nan_stays_in_its_place),
        case("gated/property/nothing", |d| {
            let empty = Tensor::zeros::<f32>(d, &[2, 0]);
            let y = geglu(empty.clone(), &empty).map_err(|e| e.to_string())?;
            let (of_gate, of_up) = swiglu_backward(&empty, &empty, &empty).map_err(|e| e.to_string())?;
            check_equal(&[y.shape(), of_gate.shape(), of_up.shape()], &[&[2, 0][..]; 3])
        }),
        small_bindings_case("gated/oracle/small_bindings", 4096, |d| against_oracle(d, false, &[5, 1013])),
        case("gated/error/shapes", |d| {
            let (x, other) = (Tensor::zeros::<f32>(d, &[2]), Tensor::zeros::<f32>(d, &[3]));
            expect_error(swiglu(x.clone(), &other), "`up` must be [2], got [3]")?;
            expect_error(geglu_backward(&x, &other, &x), "`up` must be [2], got [3]")?;
            expect_error(swiglu_backward(&x, &x, &other), "`grad` must be [2], got [3]")
        }),
        case("gated/error/dtypes", |d| {
            let (x, bytes) = (Tensor::zeros::<f32>(d, &[2]), Tensor::zeros::<u8>(d, &[2]));
            expect_error(swiglu(bytes.clone(), &x), "elementwise::swiglu: `gate` must hold f32")?;
            expect_error(geglu(x.clone(), &bytes), "elementwise::geglu: `up` must hold f32")?;
            expect_error(swiglu_backward(&x, &x, &bytes), "`grad` must hold f32")
        }),
        gpu_case("gated/error/devices", |d| {
            let (x, other) = (Tensor::zeros::<f32>(d, &[2]), Tensor::zeros::<f32>(&Device::Cpu, &[2]));
            expect_error(swiglu(x, &other), "`up` must be on")
        }),
    ]
}

fn forward(which: Activation, gate: Tensor, up: &Tensor) -> Result<Vec<f32>, String> {
    let y = if which == Activation::Silu { swiglu(gate, up) } else { geglu(gate, up) };
    let y = y.map_err(|e| e.to_string())?;
    check_equal(y.shape(), up.shape())?;
    floats(&y)
}

fn backward(which: Activation, [gate, up, grad]: [&Tensor; 3]) -> Result<[Vec<f32>; 2], String> {
    let both = if which == Activation::Silu {
        swiglu_backward(gate, up, grad)
    } else {
        geglu_backward(gate, up, grad)
    };
    let (of_gate, of_up) = both.map_err(|e| e.to_string())?;
    check_equal(&[of_gate.shape(), of_up.shape()], &[gate.shape(); 2])?;
    Ok([floats(&of_gate)?, floats(&of_up)?])
}

/// Forward and backward, with the result in memory of its own and over the gate, which must be the same.
fn against_oracle(device: &Device, half: bool, shape: &[usize]) -> Verdict {
    let len = shape.iter().product();
    let spread: Vec<f32> = normal("gated/gate", len).iter().map(|v| v * 3.0).collect();
    let (gate, gates) = stored(device, half, shape, &spread);
    let (up, ups) = stored(device, half, shape, &normal("gated/up", len));
    let (grad, grads) = stored(device, half, shape, &normal("gated/grad", len));
    // The rounding of an f16 result, which below its normal numbers is no longer relative.
    let rounding = |want: f64| if half { want.abs() / 2040.0 + 3.1e-8 } else { 0.0 };
    let bounds = |want: &[f64], share: f64, left: &[f64], right: &[f64]| -> Vec<f64> {
        (0..len).map(|i| share * (left[i] * right[i]).abs() + rounding(want[i])).collect()
    };
    for which in ALL {
        let apart = forward(which, gate.clone(), &up)?;
        check_equal(&forward(which, stored(device, half, shape, &spread).0, &up)?, &apart)?;
        let want = reference::gated(which, &gates, &ups);
        check_within(&apart, &want, &bounds(&want, 1.5e-6, &gates, &ups), 1.0)
            .map_err(|e| format!("{which:?}: {e}"))?;
        let [of_gate, of_up] = backward(which, [&gate, &up, &grad])?;
        let [want_gate, want_up] = reference::gated_backward(which, &gates, &ups, &grads);
        check_within(&of_gate, &want_gate, &bounds(&want_gate, 2e-6, &grads, &ups), 1.0)
            .map_err(|e| format!("{which:?}, gradient of gate: {e}"))?;
        check_within(&of_up, &want_up, &bounds(&want_up, 2e-6, &grads, &gates), 1.0)
            .map_err(|e| format!("{which:?}, gradient of up: {e}"))?;
    }
    Ok(())
}

fn finite_differences(device: &Device) -> Verdict {
    let [gate, up, grad] = ["gated/gate", "gated/up", "gated/grad"].map(|name| normal(name, 23));
    let [gates, ups, grads] = [&gate, &up, &grad].map(|v| exact(v));
    let [gate, up, grad] = [gate, up, grad].map(|v| tensor(device, &[23], &v));
    for which in ALL {
        let [of_gate, of_up] = backward(which, [&gate, &up, &grad])?;
        let want = differences(&gates, &grads, |gate| reference::gated(which, gate, &ups));
        check_close(&of_gate, &want, Tolerance::OfLargest(2e-6))?;
        let want = differences(&ups, &grads, |up| reference::gated(which, &gates, up));
        check_close(&of_up, &want, Tolerance::OfLargest(2e-6))?;
    }
    Ok(())
}

fn nan_stays_in_its_place(device: &Device) -> Verdict {
    let mut up = normal("gated/up", 19);
    up[17] = f32::NAN;
    let (gate, up) = (tensor(device, &[19], &normal("gated/gate", 19)), tensor(device, &[19], &up));
    for which in ALL {
        let y = forward(which, gate.clone(), &up)?;
        let turned = forward(which, up.clone(), &gate)?;
        let [of_gate, of_up] = backward(which, [&gate, &up, &gate])?;
        for i in 0..19 {
            let found = [y[i], turned[i], of_gate[i], of_up[i]].map(f32::is_nan);
            let here = i == 17;
            check_equal(&found, &[here, here, here, false]).map_err(|e| format!("{which:?} at {i}: {e}"))?;
        }
    }
    Ok(())
}
