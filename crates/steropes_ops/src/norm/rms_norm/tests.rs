use super::reference;
use super::{add_rms_norm, add_rms_norm_backward, rms_norm, rms_norm_backward};
use crate::checks::{
    check_same_results, check_within, differences, exact, nan_only_in_row, same_for_any_number_of_threads,
    stored, tensor,
};
use crate::elementwise::add::add;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, floats, gpu_case,
    small_bindings_case,
};

const EPS: f32 = 1e-5;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = forward_cases();
    cases.extend(backward_cases());
    cases.extend(error_cases());
    cases
}

fn forward_cases() -> Vec<Case> {
    vec![
        case("rms_norm/oracle/one_value", |d| against_oracle(d, false, &[1, 1], 1.0)),
        case("rms_norm/oracle/one_axis", |d| against_oracle(d, false, &[37], 1.0)),
        case("rms_norm/oracle/three_axes", |d| against_oracle(d, false, &[3, 7, 37], 1.0)),
        case("rms_norm/oracle/four_axes", |d| against_oracle(d, false, &[2, 3, 5, 64], 1.0)),
        case("rms_norm/oracle/every_width", every_width),
        case("rms_norm/oracle/llama_tokens", |d| against_oracle(d, false, &[2, 16, 4096], 1.0)),
        case("rms_norm/oracle/beyond_registers", |d| against_oracle(d, false, &[3, 40_004], 1.0)),
        case("rms_norm/oracle/odd_beyond_registers", |d| against_oracle(d, false, &[3, 9001], 1.0)),
        case("rms_norm/oracle/small_values", |d| against_oracle(d, false, &[5, 300], 1e-3)),
        case("rms_norm/oracle/large_values", |d| against_oracle(d, false, &[5, 300], 1e15)),
        f16_case("rms_norm/f16/three_axes", |d| against_oracle(d, true, &[3, 7, 37], 1.0)),
        f16_case("rms_norm/f16/whole_vectors", |d| against_oracle(d, true, &[2, 16, 1024], 1.0)),
        f16_case("rms_norm/f16/beyond_registers", |d| against_oracle(d, true, &[2, 70_008], 1.0)),
        case("rms_norm/property/sum_as_by_add", |d| sum_as_by_add(d, false)),
        f16_case("rms_norm/f16/sum_as_by_add", |d| sum_as_by_add(d, true)),
        case("rms_norm/property/nan_stays_in_its_row", |d| special_stays_in_its_row(d, f32::NAN, true)),
        case("rms_norm/property/inf_stays_in_its_row", |d| special_stays_in_its_row(d, f32::INFINITY, false)),
        case("rms_norm/property/no_rows", no_rows),
        small_bindings_case("rms_norm/oracle/small_bindings", 1024, |d| {
            against_oracle(d, false, &[41, 37], 1.0)?;
            against_oracle(d, false, &[41, 64], 1.0)
        }),
    ]
}

fn backward_cases() -> Vec<Case> {
    vec![
        case("rms_norm/backward/one_value", |d| backward(d, false, &[1, 1], 1.0)),
        case("rms_norm/backward/three_axes", |d| backward(d, false, &[3, 7, 37], 1.0)),
        case("rms_norm/backward/every_width", |d| {
            [2, 3, 4, 5, 8, 15, 17, 33, 64, 65, 128, 129, 516]
                .iter()
                .try_for_each(|w| backward(d, false, &[5, *w], 1.0).map_err(|e| format!("width {w}: {e}")))
        }),
        case("rms_norm/backward/many_rows", |d| backward(d, false, &[9001, 20], 1.0)),
        case("rms_norm/backward/llama_tokens", |d| backward(d, false, &[1, 16, 4096], 1.0)),
        case("rms_norm/backward/beyond_registers", |d| backward(d, false, &[3, 20_004], 1.0)),
        case("rms_norm/backward/odd_beyond_registers", |d| backward(d, false, &[3, 5003], 1.0)),
        case("rms_norm/backward/small_values", |d| backward(d, false, &[5, 300], 1e-3)),
        case("rms_norm/backward/finite_differences", finite_differences),
        f16_case("rms_norm/backward/f16_three_axes", |d| backward(d, true, &[3, 7, 37], 1.0)),
        f16_case("rms_norm/backward/f16_whole_vectors", |d| backward(d, true, &[70, 1024], 1.0)),
        f16_case("rms_norm/backward/f16_beyond_registers", |d| backward(d, true, &[2, 20_008], 1.0)),
        case("rms_norm/backward/nan_stays_in_its_row", backward_nan),
        case("rms_norm/backward/no_rows_give_zeros", backward_no_rows),
        case("rms_norm/backward/threads", |d| {
            same_for_any_number_of_threads(|| {
                let x = tensor(d, &[999, 200], &normal("rms_norm/x", 999 * 200));
                let weight = tensor(d, &[200], &normal("rms_norm/weight", 200));
                let all = rms_norm_backward(&x, Some(&weight), EPS, &x).map_err(|e| e.to_string())?;
                Ok(vec![floats(&all.0)?, floats(&all.1.ok_or("no gradient of the weight")?)?])
            })
        }),
        gpu_case("rms_norm/backward/several_rows_beyond_registers_for_each_workgroup", |d| {
            backward(d, false, &[300, 5003], 1.0)
        }),
        gpu_case("rms_norm/backward/more_partial_sums_than_one_launch_adds", |d| {
            backward(d, false, &[20_011, 3], 1.0)
        }),
        small_bindings_case("rms_norm/backward/small_bindings", 4096, |d| {
            backward(d, false, &[41, 37], 1.0)?;
            backward(d, false, &[41, 64], 1.0)
        }),
    ]
}

fn error_cases() -> Vec<Case> {
    vec![
        case("rms_norm/error/no_width", |d| {
            let x = Tensor::zeros::<f32>(d, &[2, 0]);
            expect_error(rms_norm(&x, None, EPS), "`x` must be [.., width] with a width above 0, got [2, 0]")
        }),
        case("rms_norm/error/no_axes", |d| {
            let x = Tensor::zeros::<f32>(d, &[]);
            expect_error(rms_norm(&x, None, EPS), "`x` must be [.., width] with a width above 0, got []")
        }),
        case("rms_norm/error/shapes", shapes),
        case("rms_norm/error/dtypes", dtypes),
        case("rms_norm/error/eps", |d| {
            let x = Tensor::zeros::<f32>(d, &[2, 3]);
            [-1e-6, f32::NAN, f32::INFINITY].into_iter().try_for_each(|eps| {
                expect_error(rms_norm(&x, None, eps), "`eps` must be a finite number from 0 on, got")
            })
        }),
        gpu_case("rms_norm/error/devices", |d| {
            let (x, other) = (Tensor::zeros::<f32>(d, &[2, 3]), Tensor::zeros::<f32>(&Device::Cpu, &[2, 3]));
            expect_error(rms_norm_backward(&x, None, EPS, &other), "`grad` must be on")
        }),
        small_bindings_case("rms_norm/error/row_beyond_a_binding", 1024, |d| {
            let x = Tensor::zeros::<f32>(d, &[2, 300]);
            expect_error(rms_norm(&x, None, EPS), "a row of 1200 bytes does not fit one binding")?;
            expect_error(rms_norm_backward(&x, None, EPS, &x), "a row of 1200 bytes does not fit one binding")
        }),
    ]
}

fn run(x: &Tensor, weight: Option<&Tensor>) -> Result<Vec<f32>, String> {
    let y = rms_norm(x, weight, EPS).map_err(|e| e.to_string())?;
    check_equal(y.shape(), x.shape())?;
    check_equal(&[y.dtype()], &[x.dtype()])?;
    floats(&y)
}

fn inputs(name: &str, shape: &[usize], spread: f32) -> Vec<f32> {
    normal(name, shape.iter().product()).iter().map(|v| v * spread).collect()
}

/// With a weight and without.
fn against_oracle(device: &Device, half: bool, shape: &[usize], spread: f32) -> Verdict {
    let width = *shape.last().expect("an axis");
    let (x, values) = stored(device, half, shape, &inputs("rms_norm/x", shape, spread));
    let weight = normal("rms_norm/weight", width);
    let tolerance = Tolerance::OfLargest(if half { 5e-4 } else { 1e-6 });
    let want = reference::rms_norm(&values, &exact(&weight), f64::from(EPS));
    check_close(&run(&x, Some(&tensor(device, &[width], &weight)))?, &want, tolerance)?;
    let want = reference::rms_norm(&values, &vec![1.0; width], f64::from(EPS));
    check_close(&run(&x, None)?, &want, tolerance)
}

/// Widths around one and four vectors of every instruction set.
fn every_width(device: &Device) -> Verdict {
    for width in [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 516, 1028] {
        against_oracle(device, false, &[3, width], 1.0).map_err(|e| format!("width {width}: {e}"))?;
    }
    Ok(())
}

/// The same bits as an addition and then a norm.
fn sum_as_by_add(device: &Device, half: bool) -> Verdict {
    for shape in [[2, 3, 37], [1, 5, 256], [1, 2, 70_008]] {
        let width = shape[2];
        let (residual, _) = stored(device, half, &shape, &inputs("rms_norm/residual", &shape, 3.0));
        let (x, _) = stored(device, half, &shape, &inputs("rms_norm/x", &shape, 1.0));
        let weight = tensor(device, &[width], &normal("rms_norm/weight", width));
        for weight in [Some(&weight), None] {
            let (sum, y) = add_rms_norm(&residual, &x, weight, EPS).map_err(|e| e.to_string())?;
            check_equal(sum.shape(), &shape)?;
            check_equal(y.shape(), &shape)?;
            let want = add(residual.clone(), &x).map_err(|e| e.to_string())?;
            check_equal(&floats(&sum)?, &floats(&want)?)?;
            check_same_results(half, &floats(&y)?, &run(&want, weight)?)?;
        }
    }
    Ok(())
}

fn special_stays_in_its_row(device: &Device, special: f32, whole: bool) -> Verdict {
    let mut x = normal("rms_norm/x", 5 * 21);
    x[2 * 21 + 20] = special;
    let y = run(&tensor(device, &[5, 21], &x), None)?;
    nan_only_in_row(&y, 21, 2, whole)
}

fn no_rows(device: &Device) -> Verdict {
    let empty = Tensor::zeros::<f32>(device, &[2, 0, 3]);
    check_equal(&run(&empty, None)?, &[])?;
    let (sum, y) = add_rms_norm(&empty, &empty, None, EPS).map_err(|e| e.to_string())?;
    check_equal(&[sum.len(), y.len()], &[0, 0])
}

/// With a weight and without, alone and with the gradient of a sum.
fn backward(device: &Device, half: bool, shape: &[usize], spread: f32) -> Verdict {
    let width = *shape.last().expect("an axis");
    let (x, values) = stored(device, half, shape, &inputs("rms_norm/x", shape, spread));
    let (grad, grads) = stored(device, half, shape, &inputs("rms_norm/grad", shape, 1.0));
    let (grad_sum, added) = stored(device, half, shape, &inputs("rms_norm/grad_sum", shape, 0.5 / spread));
    let weight = uniform("rms_norm/weight", width);
    let weight_tensor = tensor(device, &[width], &weight);
    let [want, want_weight, magnitudes, weight_magnitudes] =
        reference::rms_norm_backward(&values, &exact(&weight), f64::from(EPS), &grads);
    let with_sum: Vec<f64> = want.iter().zip(&added).map(|(a, b)| a + b).collect();
    let alone = rms_norm_backward(&x, Some(&weight_tensor), EPS, &grad);
    let fused = add_rms_norm_backward(&x, Some(&weight_tensor), EPS, &grad_sum, &grad);
    for (result, want) in [(alone, &want), (fused, &with_sum)] {
        let (grad_x, grad_weight) = result.map_err(|e| e.to_string())?;
        check_equal(grad_x.shape(), shape)?;
        check_gradient(&floats(&grad_x)?, want, &magnitudes, half)?;
        let grad_weight = grad_weight.ok_or("no gradient of the weight")?;
        check_equal(grad_weight.shape(), &[width])?;
        check_within(&floats(&grad_weight)?, &want_weight, &weight_magnitudes, 2e-6)?;
    }
    let [want, _, magnitudes, _] =
        reference::rms_norm_backward(&values, &vec![1.0; width], f64::from(EPS), &grads);
    let (grad_x, none) = rms_norm_backward(&x, None, EPS, &grad).map_err(|e| e.to_string())?;
    check_equal(&[none.is_none()], &[true])?;
    check_gradient(&floats(&grad_x)?, &want, &magnitudes, half)
}

/// An f16 result is rounded, which below its normal numbers is no longer relative.
fn check_gradient(got: &[f32], want: &[f64], magnitudes: &[f64], half: bool) -> Verdict {
    let rounding = |want: &f64| if half { want.abs() / 2040.0 + 3.1e-8 } else { want.abs() * 1e-7 };
    let bounds: Vec<f64> = want.iter().zip(magnitudes).map(|(w, m)| 2e-6 * m + rounding(w)).collect();
    check_within(got, want, &bounds, 1.0)
}

fn finite_differences(device: &Device) -> Verdict {
    let shape = [3, 2, 7];
    let (x, grad) = (inputs("rms_norm/x", &shape, 1.0), inputs("rms_norm/grad", &shape, 1.0));
    let weight = uniform("rms_norm/weight", 7);
    let (values, weights, grads) = (exact(&x), exact(&weight), exact(&grad));
    let of_x = differences(&values, &grads, |x| reference::rms_norm(x, &weights, f64::from(EPS)));
    let of_weight = differences(&weights, &grads, |w| reference::rms_norm(&values, w, f64::from(EPS)));
    let (x, weight) = (tensor(device, &shape, &x), tensor(device, &[7], &weight));
    let all = rms_norm_backward(&x, Some(&weight), EPS, &tensor(device, &shape, &grad));
    let (grad_x, grad_weight) = all.map_err(|e| e.to_string())?;
    check_close(&floats(&grad_x)?, &of_x, Tolerance::OfLargest(2e-6))?;
    check_close(&floats(&grad_weight.ok_or("none")?)?, &of_weight, Tolerance::OfLargest(2e-6))
}

fn backward_nan(device: &Device) -> Verdict {
    let mut x = normal("rms_norm/x", 5 * 21);
    x[3 * 21] = f32::NAN;
    let (x, grad) = (tensor(device, &[5, 21], &x), tensor(device, &[5, 21], &normal("rms_norm/grad", 105)));
    let (grad_x, _) = rms_norm_backward(&x, None, EPS, &grad).map_err(|e| e.to_string())?;
    nan_only_in_row(&floats(&grad_x)?, 21, 3, true)
}

fn backward_no_rows(device: &Device) -> Verdict {
    let (empty, weight) = (Tensor::zeros::<f32>(device, &[0, 3]), tensor(device, &[3], &[1.0; 3]));
    let all = rms_norm_backward(&empty, Some(&weight), EPS, &empty).map_err(|e| e.to_string())?;
    check_equal(all.0.shape(), &[0, 3])?;
    check_equal(&floats(&all.1.ok_or("no gradient of the weight")?)?, &[0.0; 3])
}

fn shapes(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (x, turned, weight) = (zeros(&[2, 3]), zeros(&[3, 2]), zeros(&[2]));
    expect_error(rms_norm(&x, Some(&weight), EPS), "`weight` must be [3], got [2]")?;
    expect_error(add_rms_norm(&turned, &x, None, EPS), "`residual` must be [2, 3], got [3, 2]")?;
    expect_error(rms_norm_backward(&x, None, EPS, &turned), "`grad` must be [2, 3], got [3, 2]")?;
    expect_error(add_rms_norm_backward(&x, None, EPS, &turned, &x), "`grad_sum` must be [2, 3], got [3, 2]")?;
    let none = zeros(&[2, 0]);
    expect_error(add_rms_norm_backward(&none, None, EPS, &none, &none), "`sum` must be [.., width]")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, bytes) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<u8>(device, &[2, 3]));
    let weight = Tensor::zeros::<i32>(device, &[3]);
    expect_error(rms_norm(&bytes, None, EPS), "`x` must hold f32")?;
    expect_error(rms_norm(&x, Some(&weight), EPS), "`weight` must hold f32, got i32")?;
    expect_error(add_rms_norm(&x, &bytes, None, EPS), "`x` must hold f32")?;
    expect_error(rms_norm_backward(&x, None, EPS, &bytes), "`grad` must hold f32")
}
