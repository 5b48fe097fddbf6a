use super::{reference, weighted_average};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("weighted_average/oracle/one_value", |d| against_oracle(d, &[1, 1, 1])),
        case("weighted_average/oracle/no_middle_axes", |d| against_oracle(d, &[5, 3])),
        case("weighted_average/oracle/odd_sizes", |d| against_oracle(d, &[5, 7, 13, 3])),
        case("weighted_average/oracle/more_than_a_task", |d| against_oracle(d, &[2, 2051, 2])),
        case("weighted_average/oracle/model_size", |d| against_oracle(d, &[4, 384, 512, 3])),
        case("weighted_average/oracle/depths", |d| against_oracle(d, &[6, 96, 128, 1])),
        small_bindings_case("weighted_average/oracle/small_bindings", 1024, |d| {
            against_oracle(d, &[5, 7, 13, 3])?;
            against_oracle(d, &[4, 301, 1])
        }),
        small_bindings_case("weighted_average/property/small_bindings_without_views", 1024, |d| {
            let zeros = |shape: &[usize]| Tensor::zeros::<f32>(d, shape);
            let (mean, sum) = run(&zeros(&[0, 300, 2]), &zeros(&[0, 300]), 9.0)?;
            check_equal(&mean, &[9.0; 600])?;
            check_equal(&sum, &[0.0; 300])
        }),
        case("weighted_average/property/weights_that_count_as_zero", weights_that_count_as_zero),
        case("weighted_average/property/equal_values_stay", equal_values_stay),
        case("weighted_average/property/nothing_to_average", nothing_to_average),
        case("weighted_average/error/arguments", errors),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn run(x: &Tensor, weights: &Tensor, fill: f32) -> Result<(Vec<f32>, Vec<f32>), String> {
    let (mean, sum) = weighted_average(x, weights, fill).map_err(|e| e.to_string())?;
    check_equal(mean.shape(), &x.shape()[1..])?;
    check_equal(sum.shape(), &weights.shape()[1..])?;
    Ok((mean.read().map_err(|e| e.to_string())?, sum.read().map_err(|e| e.to_string())?))
}

/// Confidences as networks have them, some of them 0.
fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let (&channels, rows) = shape.split_last().expect("an axis");
    let (views, elements) = (shape[0], rows[1..].iter().product::<usize>());
    let x = normal("weighted_average/x", views * elements * channels);
    let mut weights: Vec<f32> = uniform("weighted_average/weights", views * elements);
    for (i, w) in weights.iter_mut().enumerate() {
        *w = if i % elements > 0 && *w < -0.5 { 0.0 } else { 1.0 + (3.0 * *w).exp() };
    }
    let (want, sums) = reference::weighted_average(&x, &weights, elements, channels, -7.0);
    let (got, total) = run(&tensor(device, shape, x), &tensor(device, rows, weights), -7.0)?;
    check_close(&got, &want, Tolerance::Sum { depth: views })?;
    check_close(&total, &sums, Tolerance::Sum { depth: views })
}

fn weights_that_count_as_zero(device: &Device) -> Verdict {
    for bad in [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for x in [f32::NAN, f32::INFINITY, 1e9] {
            // Two views of two elements; the second element has no usable weight.
            let values = tensor(device, &[2, 2, 2], vec![x, x, x, x, 4.0, 5.0, x, x]);
            let weights = tensor(device, &[2, 2], vec![bad, bad, 2.0, bad]);
            let (mean, sum) = run(&values, &weights, 0.5)?;
            check_equal(&mean, &[4.0, 5.0, 0.5, 0.5]).map_err(|e| format!("{bad}, {x}: {e}"))?;
            check_equal(&sum, &[2.0, 0.0])?;
        }
    }
    // NaN is a fill like any other.
    let zero = tensor(device, &[1, 1], vec![0.0]);
    let (mean, _) = run(&tensor(device, &[1, 1, 1], vec![3.0]), &zero, f32::NAN)?;
    if mean[0].is_nan() { Ok(()) } else { Err(format!("{} in place of NaN", mean[0])) }
}

/// Also where the weights add up to less than 1.
fn equal_values_stay(device: &Device) -> Verdict {
    let weights = uniform("weighted_average/weights", 40).into_iter().map(|w| 0.05 * (1.5 + w)).collect();
    let (mean, _) =
        run(&tensor(device, &[4, 10, 3], vec![0.75; 120]), &tensor(device, &[4, 10], weights), 0.0)?;
    check_close(&mean, &[0.75; 30], Tolerance::Ulps(4))
}

fn nothing_to_average(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (mean, sum) = run(&zeros(&[3, 0, 2]), &zeros(&[3, 0]), 0.0)?;
    check_equal(&mean, &[])?;
    check_equal(&sum, &[])?;
    let (mean, sum) = run(&zeros(&[0, 2, 2]), &zeros(&[0, 2]), 9.0)?;
    check_equal(&mean, &[9.0; 4])?;
    check_equal(&sum, &[0.0; 2])
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let whole = |shape: &[usize]| Tensor::zeros::<i32>(device, shape);
    let (x, weights) = (zeros(&[2, 5, 3]), zeros(&[2, 5]));
    for shape in [&[2usize, 5, 0][..], &[3], &[]] {
        let part = format!("`x` must be [views, .., channels] with a channel, got {shape:?}");
        expect_error(weighted_average(&zeros(shape), &weights, 0.0), &part)?;
    }
    for shape in [&[2usize, 4][..], &[2, 5, 1], &[5, 2]] {
        let part = format!("`weights` must be [2, 5], got {shape:?}");
        expect_error(weighted_average(&x, &zeros(shape), 0.0), &part)?;
    }
    expect_error(weighted_average(&whole(&[2, 5, 3]), &weights, 0.0), "`x` must hold f32, got i32")?;
    expect_error(weighted_average(&x, &whole(&[2, 5]), 0.0), "`weights` must hold f32, got i32")?;
    if let Some(gpu) = device.gpu() {
        let small = Device::Gpu(gpu.with_bindings_of(512));
        let (x, weights) =
            (Tensor::zeros::<f32>(&small, &[2, 5, 200]), Tensor::zeros::<f32>(&small, &[2, 5]));
        expect_error(weighted_average(&x, &weights, 0.0), "a row of 800 bytes does not fit one binding")?;
        let there = Tensor::zeros::<f32>(&Device::Cpu, &[2, 5]);
        expect_error(weighted_average(&x, &there, 0.0), "`weights` must be on")?;
    }
    Ok(())
}
