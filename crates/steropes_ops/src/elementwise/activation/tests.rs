use super::{Activation, gelu_backward, gelu_tanh, gelu_tanh_backward, reference, silu, silu_backward};
use crate::checks::{check_within, differences, exact, stored, tensor};
use crate::elementwise::gelu::gelu;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, floats, gpu_case,
    small_bindings_case,
};

const ALL: [Activation; 3] = [Activation::Gelu, Activation::GeluTanh, Activation::Silu];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("activation/oracle/every_length", |d| {
            (1..=40).try_for_each(|n| against_oracle(d, false, &[n], 1.0))
        }),
        case("activation/oracle/odd_sizes", |d| against_oracle(d, false, &[3, 5, 7], 3.0)),
        case("activation/oracle/several_tasks", |d| against_oracle(d, false, &[31, 1013], 1.0)),
        case("activation/oracle/full_workgroups", |d| against_oracle(d, false, &[3, 8192], 1.0)),
        case("activation/oracle/from_minus_30_to_30", whole_range),
        f16_case("activation/f16/every_length", |d| {
            (1..=40).try_for_each(|n| against_oracle(d, true, &[n], 1.0))
        }),
        f16_case("activation/f16/full_workgroups", |d| against_oracle(d, true, &[3, 8192], 3.0)),
        case("activation/backward/finite_differences", finite_differences),
        case("activation/property/large_values", large_values),
        case("activation/property/nan_stays_in_its_place", nan_stays_in_its_place),
        case("activation/property/shared_memory_is_not_changed", shared_memory_is_not_changed),
        case("activation/property/nothing", |d| {
            let empty = Tensor::zeros::<f32>(d, &[2, 0]);
            ALL.iter().try_for_each(|&which| {
                check_equal(&forward(which, empty.clone())?, &[])?;
                check_equal(&backward(which, &empty, empty.clone())?, &[])
            })
        }),
        small_bindings_case("activation/oracle/small_bindings", 4096, |d| {
            against_oracle(d, false, &[5, 1013], 1.0)
        }),
        case("activation/error/dtypes", |d| {
            let (x, bytes) = (Tensor::zeros::<f32>(d, &[2]), Tensor::zeros::<u8>(d, &[2]));
            expect_error(silu(bytes.clone()), "elementwise::silu: `x` must hold f32")?;
            expect_error(gelu_tanh(bytes.clone()), "elementwise::gelu_tanh: `x` must hold f32")?;
            expect_error(silu_backward(&bytes, x.clone()), "`x` must hold f32")?;
            expect_error(gelu_backward(&x, bytes.clone()), "`grad` must hold f32")?;
            expect_error(gelu_tanh_backward(&x, bytes), "`grad` must hold f32")
        }),
        case("activation/error/shape", |d| {
            let (x, grad) = (Tensor::zeros::<f32>(d, &[2]), Tensor::zeros::<f32>(d, &[3]));
            expect_error(silu_backward(&x, grad), "`grad` must be [2], got [3]")
        }),
        gpu_case("activation/error/devices", |d| {
            let (x, grad) = (Tensor::zeros::<f32>(d, &[2]), Tensor::zeros::<f32>(&Device::Cpu, &[2]));
            expect_error(silu_backward(&x, grad), "`grad` must be on")
        }),
    ]
}

fn forward(which: Activation, x: Tensor) -> Result<Vec<f32>, String> {
    let shape = x.shape().to_vec();
    let y = match which {
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_tanh(x),
        Activation::Silu => silu(x),
    };
    let y = y.map_err(|e| e.to_string())?;
    check_equal(y.shape(), &shape)?;
    floats(&y)
}

fn backward(which: Activation, x: &Tensor, grad: Tensor) -> Result<Vec<f32>, String> {
    let y = match which {
        Activation::Gelu => gelu_backward(x, grad),
        Activation::GeluTanh => gelu_tanh_backward(x, grad),
        Activation::Silu => silu_backward(x, grad),
    };
    let y = y.map_err(|e| e.to_string())?;
    check_equal(y.shape(), x.shape())?;
    floats(&y)
}

/// Forward and backward, with results in memory of their own and over an argument, which must be the same.
fn against_oracle(device: &Device, half: bool, shape: &[usize], spread: f32) -> Verdict {
    let len = shape.iter().product();
    let x: Vec<f32> = normal("activation/x", len).iter().map(|v| v * spread).collect();
    check(device, half, shape, &x)
}

fn check(device: &Device, half: bool, shape: &[usize], x: &[f32]) -> Verdict {
    let (x, values) = stored(device, half, shape, x);
    let (grad, grads) = stored(device, half, shape, &normal("activation/grad", x.len()));
    // The rounding of an f16 result, which below its normal numbers is no longer relative.
    let rounding = |want: &f64| if half { want.abs() / 2040.0 + 3.1e-8 } else { 0.0 };
    for which in ALL {
        let apart = forward(which, x.clone())?;
        let same = stored(device, half, shape, &values.iter().map(|&v| v as f32).collect::<Vec<_>>()).0;
        check_equal(&forward(which, same)?, &apart)?;
        let want: Vec<f64> = values.iter().map(|&x| reference::activation(which, x)).collect();
        let bounds: Vec<f64> =
            values.iter().zip(&want).map(|(x, want)| 1.5e-6 * x.abs() + rounding(want)).collect();
        check_within(&apart, &want, &bounds, 1.0).map_err(|e| format!("{which:?}: {e}"))?;
        let apart = backward(which, &x, grad.clone())?;
        let same = stored(device, half, shape, &grads.iter().map(|&v| v as f32).collect::<Vec<_>>()).0;
        check_equal(&backward(which, &x, same)?, &apart)?;
        let want: Vec<f64> =
            values.iter().zip(&grads).map(|(&x, grad)| grad * reference::slope(which, x)).collect();
        let bounds: Vec<f64> =
            grads.iter().zip(&want).map(|(grad, want)| 2e-6 * grad.abs() + rounding(want)).collect();
        check_within(&apart, &want, &bounds, 1.0).map_err(|e| format!("{which:?} backward: {e}"))?;
    }
    Ok(())
}

fn whole_range(device: &Device) -> Verdict {
    let x: Vec<f32> = (0..=12_000).map(|i| i as f32 / 200.0 - 30.0).collect();
    check(device, false, &[x.len()], &x)
}

/// Of the oracle, for the kernel.
fn finite_differences(device: &Device) -> Verdict {
    let x: Vec<f32> = (0..61).map(|i| i as f32 / 5.0 - 6.0).collect();
    let grad = normal("activation/grad", x.len());
    let (values, grads) = (exact(&x), exact(&grad));
    for which in ALL {
        let f = |x: &[f64]| x.iter().map(|&x| reference::activation(which, x)).collect();
        let want = differences(&values, &grads, f);
        let got = backward(which, &tensor(device, &[61], &x), tensor(device, &[61], &grad))?;
        check_close(&got, &want, Tolerance::OfLargest(2e-6)).map_err(|e| format!("{which:?}: {e}"))?;
    }
    Ok(())
}

/// Far from 0 all are `x` or 0, with the slopes 1 and 0.
fn large_values(device: &Device) -> Verdict {
    let x = [-3e38f32, -300.0, 0.0, 300.0, 3e38];
    for which in ALL {
        let y = forward(which, tensor(device, &[5], &x))?;
        // A GPU's quotient of equal numbers may miss 1 by some ulp.
        check_close(&y[2..], &[0.0, 300.0, f64::from(3e38f32)], Tolerance::Ulps(4))?;
        check_close(&y[..2], &[0.0, 0.0], Tolerance::Absolute(1e-10))?;
        let slopes = backward(which, &tensor(device, &[5], &x), tensor(device, &[5], &[1.0; 5]))?;
        check_close(&slopes, &[0.0, 0.0, 0.5, 1.0, 1.0], Tolerance::Absolute(2e-6))?;
    }
    Ok(())
}

fn nan_stays_in_its_place(device: &Device) -> Verdict {
    let mut x = normal("activation/x", 19);
    x[17] = f32::NAN;
    let x = tensor(device, &[19], &x);
    let ones = tensor(device, &[19], &[1.0; 19]);
    for which in ALL {
        let mut results = vec![backward(which, &x, ones.clone())?];
        if which != Activation::Gelu {
            results.push(forward(which, x.clone())?);
        }
        for y in results {
            let wrong = (0..19).find(|&i| y[i].is_nan() != (i == 17));
            wrong.map_or(Ok(()), |i| Err(format!("{which:?}: element {i} is {}", y[i])))?;
        }
    }
    Ok(())
}

fn shared_memory_is_not_changed(device: &Device) -> Verdict {
    let before = normal("activation/x", 45);
    let x = tensor(device, &[45], &before);
    for which in ALL {
        forward(which, x.clone())?;
        backward(which, &x, x.clone())?;
        check_equal(&floats(&x)?, &before)?;
    }
    Ok(())
}
