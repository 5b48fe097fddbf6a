use super::{bias_activation, bias_activation_backward, reference};
use crate::checks::{check_within, differences, exact, same_for_any_number_of_threads, stored, tensor};
use crate::elementwise::activation::Activation;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, floats, gpu_case,
    small_bindings_case,
};

const ALL: [Activation; 3] = [Activation::Gelu, Activation::GeluTanh, Activation::Silu];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("bias_activation/oracle/one_value", |d| against_oracle(d, false, &[1])),
        case("bias_activation/oracle/every_width", |d| {
            (1..=40).try_for_each(|w| against_oracle(d, false, &[3, w]))
        }),
        case("bias_activation/oracle/three_axes", |d| against_oracle(d, false, &[3, 5, 7])),
        case("bias_activation/oracle/many_rows", |d| against_oracle(d, false, &[3001, 20])),
        case("bias_activation/oracle/wide_rows", |d| against_oracle(d, false, &[7, 4096])),
        gpu_case("bias_activation/oracle/several_rows_for_each_invocation", |d| {
            against_oracle(d, false, &[150, 4096])
        }),
        case("bias_activation/oracle/wide_odd_rows", |d| against_oracle(d, false, &[5, 4097])),
        f16_case("bias_activation/f16/every_width", |d| {
            (1..=40).try_for_each(|w| against_oracle(d, true, &[3, w]))
        }),
        f16_case("bias_activation/f16/many_rows", |d| against_oracle(d, true, &[3001, 24])),
        case("bias_activation/backward/finite_differences", finite_differences),
        case("bias_activation/backward/threads", |d| {
            same_for_any_number_of_threads(|| {
                let x = tensor(d, &[999, 200], &normal("bias_activation/x", 999 * 200));
                let bias = tensor(d, &[200], &normal("bias_activation/bias", 200));
                let both = bias_activation_backward(&x, &bias, Activation::Silu, &x);
                let (grad_x, grad_bias) = both.map_err(|e| e.to_string())?;
                Ok(vec![floats(&grad_x)?, floats(&grad_bias)?])
            })
        }),
        case("bias_activation/property/no_rows", |d| {
            let (empty, bias) = (Tensor::zeros::<f32>(d, &[0, 3]), tensor(d, &[3], &[1.0; 3]));
            let y = bias_activation(empty.clone(), &bias, Activation::Gelu).map_err(|e| e.to_string())?;
            check_equal(y.shape(), &[0, 3])?;
            let both = bias_activation_backward(&empty, &bias, Activation::Gelu, &empty);
            let (grad_x, grad_bias) = both.map_err(|e| e.to_string())?;
            check_equal(grad_x.shape(), &[0, 3])?;
            check_equal(&floats(&grad_bias)?, &[0.0; 3])
        }),
        case("bias_activation/property/nan_stays_in_its_column", nan_stays_in_its_column),
        case("bias_activation/property/shared_memory_is_not_changed", |d| {
            let before = normal("bias_activation/x", 45);
            let (x, bias) = (tensor(d, &[5, 9], &before), tensor(d, &[9], &[1.0; 9]));
            bias_activation(x.clone(), &bias, Activation::Silu).map_err(|e| e.to_string())?;
            check_equal(&floats(&x)?, &before)
        }),
        small_bindings_case("bias_activation/oracle/small_bindings", 4096, |d| {
            against_oracle(d, false, &[701, 7])?;
            against_oracle(d, false, &[701, 12])
        }),
        small_bindings_case("bias_activation/error/bias_beyond_a_binding", 1024, |d| {
            let (x, bias) = (Tensor::zeros::<f32>(d, &[2, 300]), Tensor::zeros::<f32>(d, &[300]));
            let y = bias_activation(x.clone(), &bias, Activation::Silu);
            expect_error(y, "a bias of 300 values does not fit one binding")?;
            let both = bias_activation_backward(&x, &bias, Activation::Silu, &x);
            expect_error(both, "does not fit one binding")
        }),
        case("bias_activation/error/shapes", |d| {
            let zeros = |shape: &[usize]| Tensor::zeros::<f32>(d, shape);
            let (x, bias) = (zeros(&[2, 3]), zeros(&[3]));
            let run = |x, bias: &Tensor| bias_activation(x, bias, Activation::Gelu);
            expect_error(run(zeros(&[2, 0]), &bias), "`x` must be [.., width] with a width above 0")?;
            expect_error(run(zeros(&[]), &bias), "`x` must be [.., width] with a width above 0")?;
            expect_error(run(x.clone(), &zeros(&[2])), "`bias` must be [3], got [2]")?;
            let both = bias_activation_backward(&x, &bias, Activation::Gelu, &zeros(&[3, 2]));
            expect_error(both, "`grad` must be [2, 3], got [3, 2]")
        }),
        case("bias_activation/error/dtypes", |d| {
            let (x, bias) = (Tensor::zeros::<f32>(d, &[2, 3]), Tensor::zeros::<f32>(d, &[3]));
            let bytes = Tensor::zeros::<u8>(d, &[2, 3]);
            let y = bias_activation(bytes.clone(), &bias, Activation::Gelu);
            expect_error(y, "`x` must hold f32")?;
            let y = bias_activation(x.clone(), &Tensor::zeros::<i32>(d, &[3]), Activation::Gelu);
            expect_error(y, "`bias` must hold f32, got i32")?;
            let both = bias_activation_backward(&x, &bias, Activation::Gelu, &bytes);
            expect_error(both, "`grad` must hold f32")
        }),
        gpu_case("bias_activation/error/devices", |d| {
            let (x, bias) = (Tensor::zeros::<f32>(d, &[2, 3]), Tensor::zeros::<f32>(&Device::Cpu, &[3]));
            expect_error(bias_activation(x, &bias, Activation::Gelu), "`bias` must be on")
        }),
    ]
}

/// Forward and backward, with the result in memory of its own and over the argument, which must be the same.
fn against_oracle(device: &Device, half: bool, shape: &[usize]) -> Verdict {
    let len: usize = shape.iter().product();
    let width = *shape.last().expect("an axis");
    let given = normal("bias_activation/x", len);
    let (x, values) = stored(device, half, shape, &given);
    let (grad, grads) = stored(device, half, shape, &normal("bias_activation/grad", len));
    let bias = normal("bias_activation/bias", width);
    let biases = exact(&bias);
    let bias = tensor(device, &[width], &bias);
    let scale: Vec<f64> = values.iter().enumerate().map(|(i, x)| x.abs() + biases[i % width].abs()).collect();
    // The rounding of an f16 result, which below its normal numbers is no longer relative.
    let rounding = |want: f64| if half { want.abs() / 2040.0 + 3.1e-8 } else { 0.0 };
    for which in ALL {
        let run = |x: Tensor| -> Result<Vec<f32>, String> {
            let y = bias_activation(x, &bias, which).map_err(|e| e.to_string())?;
            check_equal(y.shape(), shape)?;
            floats(&y)
        };
        let apart = run(x.clone())?;
        check_equal(&run(stored(device, half, shape, &given).0)?, &apart)?;
        let want = reference::bias_activation(which, &values, &biases);
        let bounds: Vec<f64> = (0..len).map(|i| 1.5e-6 * scale[i] + rounding(want[i])).collect();
        check_within(&apart, &want, &bounds, 1.0).map_err(|e| format!("{which:?}: {e}"))?;

        let both = bias_activation_backward(&x, &bias, which, &grad).map_err(|e| e.to_string())?;
        check_equal(both.0.shape(), shape)?;
        check_equal(both.1.shape(), &[width])?;
        let [want_x, want_bias] = reference::bias_activation_backward(which, &values, &biases, &grads);
        let share = |i: usize| 2e-6 * grads[i].abs() * (1.0 + scale[i]);
        let bounds: Vec<f64> = (0..len).map(|i| share(i) + rounding(want_x[i])).collect();
        check_within(&floats(&both.0)?, &want_x, &bounds, 1.0)
            .map_err(|e| format!("{which:?}, gradient of x: {e}"))?;
        let mut bounds = vec![0.0; width];
        (0..len).for_each(|i| bounds[i % width] += share(i));
        check_within(&floats(&both.1)?, &want_bias, &bounds, 1.0)
            .map_err(|e| format!("{which:?}, gradient of the bias: {e}"))?;
    }
    Ok(())
}

fn finite_differences(device: &Device) -> Verdict {
    let (x, grad) = (normal("bias_activation/x", 42), normal("bias_activation/grad", 42));
    let bias = normal("bias_activation/bias", 7);
    let [values, grads, biases] = [&x, &grad, &bias].map(|v| exact(v));
    let (x, grad) = (tensor(device, &[6, 7], &x), tensor(device, &[6, 7], &grad));
    let bias = tensor(device, &[7], &bias);
    for which in ALL {
        let both = bias_activation_backward(&x, &bias, which, &grad).map_err(|e| e.to_string())?;
        let want = differences(&values, &grads, |x| reference::bias_activation(which, x, &biases));
        check_close(&floats(&both.0)?, &want, Tolerance::OfLargest(2e-6))?;
        let want = differences(&biases, &grads, |b| reference::bias_activation(which, &values, b));
        check_close(&floats(&both.1)?, &want, Tolerance::OfLargest(2e-6))?;
    }
    Ok(())
}

fn nan_stays_in_its_column(device: &Device) -> Verdict {
    let mut bias = normal("bias_activation/bias", 21);
    bias[20] = f32::NAN;
    let (x, bias) =
        (tensor(device, &[5, 21], &normal("bias_activation/x", 105)), tensor(device, &[21], &bias));
    let y = bias_activation(x.clone(), &bias, Activation::Silu).map_err(|e| e.to_string())?;
    let both = bias_activation_backward(&x, &bias, Activation::Silu, &x).map_err(|e| e.to_string())?;
    for values in [floats(&y)?, floats(&both.0)?, floats(&both.1)?] {
        let wrong = (0..values.len()).find(|&i| values[i].is_nan() != (i % 21 == 20));
        wrong.map_or(Ok(()), |i| Err(format!("place {i} is {}", values[i])))?;
    }
    Ok(())
}
