use super::{
    add_layer_norm, add_layer_norm_backward, layer_norm, layer_norm_backward, layer_norm_over, reference,
};
use crate::checks::{
    check_same_results, check_within, differences, exact, nan_only_in_row, same_for_any_number_of_threads,
    stored,
};
use crate::elementwise::add::add;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = forward_cases();
    cases.extend(over_cases());
    cases.extend(backward_cases());
    cases
}

fn forward_cases() -> Vec<Case> {
    vec![
        case("layer_norm/oracle/one_value", |d| against_oracle(d, &[1, 1], 1.0, 0.0)),
        case("layer_norm/oracle/odd_sizes", |d| against_oracle(d, &[3, 7, 37], 1.0, 0.0)),
        case("layer_norm/oracle/every_width", every_width),
        case("layer_norm/oracle/tiny_encoder", |d| against_oracle(d, &[1, 432, 256], 1.0, 0.0)),
        case("layer_norm/oracle/mast3r_encoder", |d| against_oracle(d, &[1, 768, 1024], 1.0, 0.0)),
        gpu_case("layer_norm/oracle/grid_of_two_rows", |d| against_oracle(d, &[(1 << 20) + 17, 1], 1.0, 0.0)),
        case("layer_norm/oracle/far_from_zero", |d| against_oracle(d, &[5, 300], 0.5, 100.0)),
        case("layer_norm/oracle/mean_1000", |d| against_oracle(d, &[5, 300], 1.0, 1000.0)),
        case("layer_norm/oracle/beyond_registers", |d| against_oracle(d, &[3, 40_004], 1.0, 0.0)),
        case("layer_norm/oracle/odd_beyond_registers", |d| against_oracle(d, &[3, 9001], 1.0, 0.0)),
        case("layer_norm/oracle/mean_1000_beyond_registers", |d| {
            against_oracle(d, &[3, 40_004], 1.0, 1000.0)
        }),
        case("layer_norm/oracle/small_values", |d| against_oracle(d, &[5, 300], 1e-3, 0.0)),
        f16_case("layer_norm/f16/odd_sizes", |d| f16_against_oracle(d, &[3, 7, 37])),
        f16_case("layer_norm/f16/mast3r_encoder", |d| f16_against_oracle(d, &[1, 96, 1024])),
        case("layer_norm/property/mean_and_variance", mean_and_variance),
        case("layer_norm/property/equal_values_give_the_bias", equal_values_give_the_bias),
        case("layer_norm/property/nan_stays_in_its_row", nan_stays_in_its_row),
        case("layer_norm/property/no_rows", no_rows),
        case("layer_norm/error/no_width", no_width),
        case("layer_norm/error/no_axes", no_axes),
        case("layer_norm/error/weight_shape", weight_shape),
        case("layer_norm/error/bias_shape", bias_shape),
        case("layer_norm/error/dtypes", dtypes),
        case("layer_norm/error/eps", eps),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn run(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Vec<f32>, String> {
    let y = layer_norm(x, weight, bias, 1e-6).map_err(|e| e.to_string())?;
    check_equal(y.shape(), x.shape())?;
    y.read::<f32>().map_err(|e| e.to_string())
}

fn against_oracle(device: &Device, shape: &[usize], spread: f32, center: f32) -> Verdict {
    let width = *shape.last().expect("an axis");
    let x = normal("layer_norm/x", shape.iter().product());
    let x: Vec<f32> = x.iter().map(|v| v * spread + center).collect();
    let (weight, bias) = (normal("layer_norm/weight", width), normal("layer_norm/bias", width));
    let want = reference::layer_norm(&exact(&x), &exact(&weight), &exact(&bias), 1e-6);
    let x = tensor(device, shape, x);
    let got = run(&x, &tensor(device, &[width], weight), &tensor(device, &[width], bias))?;
    // The rounding of the mean, an ulp of the values, is divided by their spread.
    let cancelled = 1.0 + f64::from((center / spread).abs());
    check_close(&got, &want, Tolerance::OfLargest(1e-6 * cancelled))
}

fn f16_against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let width = *shape.last().expect("an axis");
    let (weight, bias) = (normal("layer_norm/weight", width), normal("layer_norm/bias", width));
    let (x, rounded) = f16_tensor(device, shape, &normal("layer_norm/x", shape.iter().product()));
    let want = reference::layer_norm(&exact(&rounded), &exact(&weight), &exact(&bias), 1e-6);
    let y = layer_norm(&x, &tensor(device, &[width], weight), &tensor(device, &[width], bias), 1e-6);
    check_close(&floats(&y.map_err(|e| e.to_string())?)?, &want, Tolerance::OfLargest(5e-4))
}

/// Widths around one and four vectors of every instruction set.
fn every_width(device: &Device) -> Verdict {
    for width in [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129] {
        against_oracle(device, &[3, width], 1.0, 0.0).map_err(|e| format!("width {width}: {e}"))?;
    }
    Ok(())
}

fn mean_and_variance(device: &Device) -> Verdict {
    let width = 768;
    let x = tensor(device, &[9, width], normal("layer_norm/x", 9 * width));
    let y = run(&x, &tensor(device, &[width], vec![1.0; width]), &Tensor::zeros::<f32>(device, &[width]))?;
    for row in y.chunks_exact(width) {
        let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / width as f64;
        let variance = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / width as f64;
        check_close(&[mean as f32, variance as f32], &[0.0, 1.0], Tolerance::Absolute(1e-5))?;
    }
    Ok(())
}

fn equal_values_give_the_bias(device: &Device) -> Verdict {
    let bias = normal("layer_norm/bias", 45);
    let x = tensor(device, &[2, 45], vec![4.0; 90]);
    let got = run(&x, &tensor(device, &[45], vec![1.0; 45]), &tensor(device, &[45], bias.clone()))?;
    let want = [bias.clone(), bias].concat();
    if device.gpu().is_none() {
        return check_equal(&got, &want);
    }
    // A GPU's division may miss the mean by an ulp, which is magnified by 1 / sqrt(eps).
    let want: Vec<f64> = want.into_iter().map(f64::from).collect();
    check_close(&got, &want, Tolerance::Absolute(4.0 * f64::from(f32::EPSILON) * 1e3))
}

fn nan_stays_in_its_row(device: &Device) -> Verdict {
    let mut x = normal("layer_norm/x", 5 * 21);
    x[2 * 21 + 20] = f32::NAN;
    let ones = tensor(device, &[21], vec![1.0; 21]);
    let y = run(&tensor(device, &[5, 21], x), &ones, &ones)?;
    match (0..y.len()).find(|&i| y[i].is_nan() != (i / 21 == 2)) {
        None => Ok(()),
        Some(i) => Err(format!("row {} column {} is {}", i / 21, i % 21, y[i])),
    }
}

fn no_rows(device: &Device) -> Verdict {
    let ones = tensor(device, &[3], vec![1.0; 3]);
    check_equal(&run(&Tensor::zeros::<f32>(device, &[2, 0, 3]), &ones, &ones)?, &[])
}

fn no_width(device: &Device) -> Verdict {
    let empty = Tensor::zeros::<f32>(device, &[0]);
    let x = Tensor::zeros::<f32>(device, &[2, 0]);
    expect_error(
        layer_norm(&x, &empty, &empty, 1e-6),
        "`x` must be [.., width] with a width above 0, got [2, 0]",
    )
}

fn no_axes(device: &Device) -> Verdict {
    let one = tensor(device, &[1], vec![1.0]);
    let x = tensor(device, &[], vec![1.0]);
    expect_error(layer_norm(&x, &one, &one, 1e-6), "`x` must be [.., width] with a width above 0, got []")
}

fn weight_shape(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let wrong = Tensor::zeros::<f32>(device, &[1, 3]);
    let right = Tensor::zeros::<f32>(device, &[3]);
    expect_error(layer_norm(&x, &wrong, &right, 1e-6), "`weight` must be [3], got [1, 3]")
}

fn bias_shape(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let wrong = Tensor::zeros::<f32>(device, &[2]);
    let right = Tensor::zeros::<f32>(device, &[3]);
    expect_error(layer_norm(&x, &right, &wrong, 1e-6), "`bias` must be [3], got [2]")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, ones) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[3]));
    let whole = Tensor::zeros::<i32>(device, &[3]);
    let wrong_x = Tensor::zeros::<u8>(device, &[2, 3]);
    expect_error(layer_norm(&wrong_x, &ones, &ones, 1e-6), "`x` must hold f32")?;
    expect_error(layer_norm(&x, &whole, &ones, 1e-6), "`weight` must hold f32, got i32")?;
    expect_error(layer_norm(&x, &ones, &whole, 1e-6), "`bias` must hold f32, got i32")
}

fn eps(device: &Device) -> Verdict {
    let (x, ones) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[3]));
    for eps in [-1e-6, f32::NAN, f32::INFINITY] {
        expect_error(layer_norm(&x, &ones, &ones, eps), "`eps` must be a finite number from 0 on, got")?;
    }
    Ok(())
}

fn over_cases() -> Vec<Case> {
    vec![
        case("layer_norm/over/one_axis", |d| over(d, false, &[3, 7, 37], 1)),
        case("layer_norm/over/two_axes", |d| over(d, false, &[3, 7, 37], 2)),
        case("layer_norm/over/all_axes", |d| over(d, false, &[2, 3, 4], 3)),
        case("layer_norm/over/image", |d| over(d, false, &[2, 16, 24, 24], 3)),
        f16_case("layer_norm/over/f16_two_axes", |d| over(d, true, &[3, 8, 40], 2)),
        f16_case("layer_norm/over/f16_beyond_registers", |d| over(d, true, &[2, 70_008], 1)),
        case("layer_norm/over/sum_as_by_add", |d| sum_as_by_add(d, false)),
        f16_case("layer_norm/over/f16_sum_as_by_add", |d| sum_as_by_add(d, true)),
        case("layer_norm/over/as_layer_norm", as_layer_norm),
        small_bindings_case("layer_norm/over/small_bindings", 1024, |d| {
            over(d, false, &[41, 37], 1)?;
            over(d, false, &[41, 4, 16], 2)
        }),
        case("layer_norm/error/normalized_shape", normalized_shape),
        case("layer_norm/error/shapes_of_over", shapes_of_over),
        case("layer_norm/error/dtypes_of_backward", |d| {
            let (x, bytes) = (Tensor::zeros::<f32>(d, &[2, 3]), Tensor::zeros::<u8>(d, &[2, 3]));
            expect_error(layer_norm_backward(&x, &[3], None, 1e-5, &bytes), "`grad` must hold f32")?;
            expect_error(add_layer_norm(&bytes, &x, &[3], None, None, 1e-5), "`residual` must hold f32")
        }),
        case("layer_norm/error/eps_of_over", |d| {
            let x = Tensor::zeros::<f32>(d, &[2, 3]);
            expect_error(layer_norm_over(&x, &[3], None, None, -1.0), "`eps` must be a finite number")?;
            expect_error(layer_norm_backward(&x, &[3], None, f32::NAN, &x), "`eps` must be a finite number")
        }),
        small_bindings_case("layer_norm/error/row_beyond_a_binding", 1024, |d| {
            let x = Tensor::zeros::<f32>(d, &[2, 300]);
            let result = layer_norm_over(&x, &[300], None, None, 1e-5);
            expect_error(result, "a row of 1200 bytes does not fit one binding")
        }),
    ]
}

fn backward_cases() -> Vec<Case> {
    vec![
        case("layer_norm/backward/one_value", |d| backward(d, false, &[1, 1], 0.0)),
        case("layer_norm/backward/odd_sizes", |d| backward(d, false, &[3, 7, 37], 0.0)),
        case("layer_norm/backward/every_width", |d| {
            [2, 3, 4, 5, 8, 15, 17, 33, 64, 65, 128, 129, 516]
                .iter()
                .try_for_each(|w| backward(d, false, &[5, *w], 0.0).map_err(|e| format!("width {w}: {e}")))
        }),
        case("layer_norm/backward/many_rows", |d| backward(d, false, &[9001, 20], 0.0)),
        gpu_case("layer_norm/backward/several_rows_for_each_workgroup", |d| {
            backward(d, false, &[20_011, 3], 0.0)
        }),
        gpu_case("layer_norm/backward/several_rows_beyond_registers_for_each_workgroup", |d| {
            backward(d, false, &[300, 5003], 0.0)
        }),
        case("layer_norm/backward/mast3r_tokens", |d| backward(d, false, &[1, 96, 1024], 0.0)),
        case("layer_norm/backward/mean_1000", |d| backward(d, false, &[5, 300], 1000.0)),
        case("layer_norm/backward/beyond_registers", |d| backward(d, false, &[3, 20_004], 0.0)),
        case("layer_norm/backward/mean_1000_beyond_registers", |d| backward(d, false, &[3, 20_004], 1000.0)),
        case("layer_norm/backward/odd_beyond_registers", |d| backward(d, false, &[3, 5003], 0.0)),
        case("layer_norm/backward/finite_differences", finite_differences),
        case("layer_norm/backward/two_axes", backward_over_two_axes),
        f16_case("layer_norm/backward/f16_odd_sizes", |d| backward(d, true, &[3, 7, 37], 0.0)),
        f16_case("layer_norm/backward/f16_whole_vectors", |d| backward(d, true, &[70, 1024], 0.0)),
        f16_case("layer_norm/backward/f16_beyond_registers", |d| backward(d, true, &[2, 20_008], 0.0)),
        case("layer_norm/backward/nan_stays_in_its_row", backward_nan),
        case("layer_norm/backward/no_rows_give_zeros", backward_no_rows),
        case("layer_norm/backward/threads", |d| {
            same_for_any_number_of_threads(|| {
                let x = tensor(d, &[999, 200], normal("layer_norm/x", 999 * 200));
                let weight = tensor(d, &[200], normal("layer_norm/weight", 200));
                let all = layer_norm_backward(&x, &[200], Some(&weight), 1e-5, &x);
                let (grad_x, parameters) = all.map_err(|e| e.to_string())?;
                let (grad_weight, grad_bias) = parameters.ok_or("no gradient of the weight")?;
                [grad_x, grad_weight, grad_bias].iter().map(floats).collect()
            })
        }),
        small_bindings_case("layer_norm/backward/small_bindings", 4096, |d| {
            backward(d, false, &[41, 37], 0.0)?;
            backward(d, false, &[41, 64], 0.0)
        }),
    ]
}

/// With weight and bias, with either and with none.
fn over(device: &Device, half: bool, shape: &[usize], axes: usize) -> Verdict {
    let normalized = &shape[shape.len() - axes..];
    let width = normalized.iter().product();
    let (x, values) = stored(device, half, shape, &normal("layer_norm/x", shape.iter().product()));
    let (weight, bias) = (normal("layer_norm/weight", width), normal("layer_norm/bias", width));
    let tensors = [&weight, &bias].map(|v| tensor(device, normalized, v.clone()));
    for with in [[true, true], [true, false], [false, true], [false, false]] {
        let given = [0, 1].map(|i| with[i].then_some(&tensors[i]));
        let weight = if with[0] { exact(&weight) } else { vec![1.0; width] };
        let bias = if with[1] { exact(&bias) } else { vec![0.0; width] };
        let want = reference::layer_norm(&values, &weight, &bias, 1e-5);
        let y = layer_norm_over(&x, normalized, given[0], given[1], 1e-5).map_err(|e| e.to_string())?;
        check_equal(y.shape(), shape)?;
        let tolerance = Tolerance::OfLargest(if half { 5e-4 } else { 1e-6 });
        check_close(&floats(&y)?, &want, tolerance).map_err(|e| format!("with {with:?}: {e}"))?;
    }
    Ok(())
}

/// The same bits as an addition and then a norm.
fn sum_as_by_add(device: &Device, half: bool) -> Verdict {
    for shape in [[2, 3, 37], [1, 5, 256], [1, 2, 70_008]] {
        let width = shape[2];
        let (residual, _) =
            stored(device, half, &shape, &normal("layer_norm/residual", shape.iter().product()));
        let (x, _) = stored(device, half, &shape, &normal("layer_norm/x", shape.iter().product()));
        let weight = tensor(device, &[width], normal("layer_norm/weight", width));
        for (weight, bias) in [(Some(&weight), Some(&weight)), (None, None)] {
            let both = add_layer_norm(&residual, &x, &[width], weight, bias, 1e-5);
            let (sum, y) = both.map_err(|e| e.to_string())?;
            let want = add(residual.clone(), &x).map_err(|e| e.to_string())?;
            check_equal(sum.shape(), &shape)?;
            check_equal(&floats(&sum)?, &floats(&want)?)?;
            let normed = layer_norm_over(&want, &[width], weight, bias, 1e-5).map_err(|e| e.to_string())?;
            check_same_results(half, &floats(&y)?, &floats(&normed)?)?;
        }
    }
    Ok(())
}

fn as_layer_norm(device: &Device) -> Verdict {
    let x = tensor(device, &[4, 6, 10], normal("layer_norm/x", 240));
    let weight = tensor(device, &[10], normal("layer_norm/weight", 10));
    let over = layer_norm_over(&x, &[10], Some(&weight), Some(&weight), 1e-6).map_err(|e| e.to_string())?;
    check_equal(&floats(&over)?, &run(&x, &weight, &weight)?)
}

/// With a weight and without, alone and with the gradient of a sum.
fn backward(device: &Device, half: bool, shape: &[usize], center: f32) -> Verdict {
    let width = *shape.last().expect("an axis");
    let len = shape.iter().product();
    let x: Vec<f32> = normal("layer_norm/x", len).iter().map(|v| v + center).collect();
    let (x, values) = stored(device, half, shape, &x);
    let (grad, grads) = stored(device, half, shape, &normal("layer_norm/grad", len));
    let (grad_sum, added) = stored(device, half, shape, &normal("layer_norm/grad_sum", len));
    let weight = uniform("layer_norm/weight", width);
    let weight_tensor = tensor(device, &[width], weight.clone());
    // As in the forward pass, the rounding of the mean is divided by the spread.
    let share = 2e-6 * (1.0 + f64::from(center));
    let want = reference::layer_norm_backward(&values, &exact(&weight), 1e-5, &grads);
    let with_sum: Vec<f64> = want.x.iter().zip(&added).map(|(a, b)| a + b).collect();
    let alone = layer_norm_backward(&x, &[width], Some(&weight_tensor), 1e-5, &grad);
    let fused = add_layer_norm_backward(&x, &[width], Some(&weight_tensor), 1e-5, &grad_sum, &grad);
    for (result, want_x) in [(alone, &want.x), (fused, &with_sum)] {
        let (grad_x, parameters) = result.map_err(|e| e.to_string())?;
        check_equal(grad_x.shape(), shape)?;
        check_gradient(&floats(&grad_x)?, want_x, &want.x_magnitudes, share, half)?;
        let (grad_weight, grad_bias) = parameters.ok_or("no gradient of the weight")?;
        // A value near the mean has the error of the mean, not of itself.
        let magnitudes: Vec<f64> =
            want.weight_magnitudes.iter().zip(&want.bias_magnitudes).map(|(a, b)| a + b).collect();
        check_within(&floats(&grad_weight)?, &want.weight, &magnitudes, share)?;
        check_within(&floats(&grad_bias)?, &want.bias, &want.bias_magnitudes, 2e-6)?;
    }
    let want = reference::layer_norm_backward(&values, &vec![1.0; width], 1e-5, &grads);
    let (grad_x, none) = layer_norm_backward(&x, &[width], None, 1e-5, &grad).map_err(|e| e.to_string())?;
    check_equal(&[none.is_none()], &[true])?;
    check_gradient(&floats(&grad_x)?, &want.x, &want.x_magnitudes, share, half)
}

/// An f16 result is rounded, which below its normal numbers is no longer relative.
fn check_gradient(got: &[f32], want: &[f64], magnitudes: &[f64], share: f64, half: bool) -> Verdict {
    let rounding = |want: &f64| if half { want.abs() / 2040.0 + 3.1e-8 } else { want.abs() * 1e-7 };
    let bounds: Vec<f64> = want.iter().zip(magnitudes).map(|(w, m)| share * m + rounding(w)).collect();
    check_within(got, want, &bounds, 1.0)
}

fn backward_over_two_axes(device: &Device) -> Verdict {
    let (x, grad) = (normal("layer_norm/x", 3 * 4 * 5), normal("layer_norm/grad", 3 * 4 * 5));
    let weight = normal("layer_norm/weight", 20);
    let want = reference::layer_norm_backward(&exact(&x), &exact(&weight), 1e-5, &exact(&grad));
    let (x, grad) = (tensor(device, &[3, 4, 5], x), tensor(device, &[3, 4, 5], grad));
    let all = layer_norm_backward(&x, &[4, 5], Some(&tensor(device, &[4, 5], weight)), 1e-5, &grad);
    let (grad_x, parameters) = all.map_err(|e| e.to_string())?;
    let (grad_weight, grad_bias) = parameters.ok_or("no gradient of the weight")?;
    check_equal(&[grad_weight.shape(), grad_bias.shape()], &[&[4, 5], &[4, 5]])?;
    check_close(&floats(&grad_x)?, &want.x, Tolerance::OfLargest(2e-6))?;
    check_close(&floats(&grad_weight)?, &want.weight, Tolerance::OfLargest(2e-6))?;
    check_close(&floats(&grad_bias)?, &want.bias, Tolerance::OfLargest(2e-6))
}

fn finite_differences(device: &Device) -> Verdict {
    let (x, grad) = (normal("layer_norm/x", 6 * 7), normal("layer_norm/grad", 6 * 7));
    let (weight, bias) = (uniform("layer_norm/weight", 7), uniform("layer_norm/bias", 7));
    let [values, grads, weights, biases] = [&x, &grad, &weight, &bias].map(|v| exact(v));
    let of_x = differences(&values, &grads, |x| reference::layer_norm(x, &weights, &biases, 1e-5));
    let of_weight = differences(&weights, &grads, |w| reference::layer_norm(&values, w, &biases, 1e-5));
    let of_bias = differences(&biases, &grads, |b| reference::layer_norm(&values, &weights, b, 1e-5));
    let (x, grad) = (tensor(device, &[6, 7], x), tensor(device, &[6, 7], grad));
    let all = layer_norm_backward(&x, &[7], Some(&tensor(device, &[7], weight)), 1e-5, &grad);
    let (grad_x, parameters) = all.map_err(|e| e.to_string())?;
    let (grad_weight, grad_bias) = parameters.ok_or("no gradient of the weight")?;
    for (got, want) in [(grad_x, of_x), (grad_weight, of_weight), (grad_bias, of_bias)] {
        check_close(&floats(&got)?, &want, Tolerance::OfLargest(2e-6))?;
    }
    Ok(())
}

fn backward_nan(device: &Device) -> Verdict {
    let mut x = normal("layer_norm/x", 5 * 21);
    x[3 * 21] = f32::NAN;
    let (x, grad) = (tensor(device, &[5, 21], x), tensor(device, &[5, 21], normal("layer_norm/grad", 105)));
    let (grad_x, _) = layer_norm_backward(&x, &[21], None, 1e-5, &grad).map_err(|e| e.to_string())?;
    nan_only_in_row(&floats(&grad_x)?, 21, 3, true)
}

fn backward_no_rows(device: &Device) -> Verdict {
    let (empty, weight) = (Tensor::zeros::<f32>(device, &[0, 3]), tensor(device, &[3], vec![1.0; 3]));
    let all = layer_norm_backward(&empty, &[3], Some(&weight), 1e-5, &empty).map_err(|e| e.to_string())?;
    let (grad_weight, grad_bias) = all.1.ok_or("no gradient of the weight")?;
    check_equal(&floats(&grad_weight)?, &[0.0; 3])?;
    check_equal(&floats(&grad_bias)?, &[0.0; 3])
}

fn normalized_shape(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let over = |shape: &[usize]| layer_norm_over(&x, shape, None, None, 1e-5);
    expect_error(over(&[]), "`normalized_shape` must be at least one axis, all above 0, got []")?;
    expect_error(over(&[0]), "`normalized_shape` must be at least one axis, all above 0, got [0]")?;
    expect_error(over(&[2]), "`x` must be [.., 2], got [2, 3]")?;
    expect_error(over(&[1, 2, 3]), "`x` must be [.., 1, 2, 3], got [2, 3]")
}

fn shapes_of_over(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (x, turned, flat) = (zeros(&[2, 3]), zeros(&[3, 2]), zeros(&[6]));
    let over = layer_norm_over(&x, &[2, 3], Some(&flat), None, 1e-5);
    expect_error(over, "`weight` must be [2, 3], got [6]")?;
    let over = layer_norm_over(&x, &[2, 3], None, Some(&flat), 1e-5);
    expect_error(over, "`bias` must be [2, 3], got [6]")?;
    let sum = add_layer_norm(&turned, &x, &[3], None, None, 1e-5);
    expect_error(sum, "`residual` must be [2, 3], got [3, 2]")?;
    expect_error(layer_norm_backward(&x, &[3], None, 1e-5, &turned), "`grad` must be [2, 3], got [3, 2]")?;
    let sum = add_layer_norm_backward(&x, &[3], None, 1e-5, &turned, &x);
    expect_error(sum, "`grad_sum` must be [2, 3], got [3, 2]")
}
