use super::{layer_norm, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("layer_norm/oracle/one_value", |d| against_oracle(d, &[1, 1], 1.0, 0.0)),
        case("layer_norm/oracle/odd_sizes", |d| against_oracle(d, &[3, 7, 37], 1.0, 0.0)),
        case("layer_norm/oracle/every_width", every_width),
        case("layer_norm/oracle/tiny_encoder", |d| against_oracle(d, &[1, 432, 256], 1.0, 0.0)),
        case("layer_norm/oracle/mast3r_encoder", |d| against_oracle(d, &[1, 768, 1024], 1.0, 0.0)),
        gpu_case("layer_norm/oracle/grid_of_two_rows", |d| against_oracle(d, &[(1 << 20) + 17, 1], 1.0, 0.0)),
        case("layer_norm/oracle/far_from_zero", |d| against_oracle(d, &[5, 300], 0.5, 100.0)),
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
    let want = reference::layer_norm(&x, &weight, &bias, 1e-6);
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
    let want = reference::layer_norm(&rounded, &weight, &bias, 1e-6);
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
