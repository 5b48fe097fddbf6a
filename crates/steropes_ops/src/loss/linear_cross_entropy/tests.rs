use super::{CHUNK_VALUES, chunk_rows, in_chunks, linear_cross_entropy, reference};
use crate::loss::Reduction;
use crate::loss::cross_entropy::CrossEntropyOptions;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("linear_cross_entropy/oracle/one_class", |d| against_oracle(d, [1, 1, 1], 0.0, usize::MAX)),
        case("linear_cross_entropy/oracle/odd_sizes", |d| against_oracle(d, [7, 13, 37], 0.0, usize::MAX)),
        case("linear_cross_entropy/oracle/chunks", |d| against_oracle(d, [23, 13, 37], 0.1, 5 * 37)),
        case("linear_cross_entropy/oracle/chunks_of_one_row", |d| against_oracle(d, [5, 33, 70], 0.1, 1)),
        case("linear_cross_entropy/oracle/tiny_model", |d| against_oracle(d, [48, 64, 512], 0.0, 16 * 512)),
        f16_case("linear_cross_entropy/f16/odd_sizes", f16_against_oracle),
        case("linear_cross_entropy/property/chunks_fit", |_| {
            [1, 1000, 32_000, 128_256].into_iter().try_for_each(|classes| {
                let rows = chunk_rows(classes, CHUNK_VALUES);
                let fits = rows * classes <= CHUNK_VALUES && (rows + 1) * classes > CHUNK_VALUES;
                check_equal(&[fits], &[true])
            })
        }),
        case("linear_cross_entropy/property/all_ignored", all_ignored),
        case("linear_cross_entropy/property/no_rows", no_rows),
        cpu_case("linear_cross_entropy/error/target", wrong_target),
        case("linear_cross_entropy/error/shapes", shapes),
        case("linear_cross_entropy/error/no_reduction", no_reduction),
        case("linear_cross_entropy/error/dtypes", dtypes),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn targets(rows: usize, classes: usize) -> Vec<i64> {
    let spread = uniform("linear_cross_entropy/targets", rows);
    let target = |(i, v): (usize, &f32)| match i % 4 {
        2 => -100,
        _ => ((f64::from(*v) * 0.5 + 0.5) * classes as f64) as i64,
    };
    spread.iter().enumerate().map(target).collect()
}

fn check(
    x: &Tensor,
    weight: &Tensor,
    held: [&[f32]; 2],
    smoothing: f32,
    values: usize,
    f16: bool,
) -> Verdict {
    let [rows, width] = [x.shape()[0], x.shape()[1]];
    let classes = weight.shape()[0];
    let t = targets(rows, classes);
    let [x64, w64] = held.map(|v| v.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>());
    let held = Tensor::new(&x.device(), &[rows], t.clone()).map_err(text)?;
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let options = CrossEntropyOptions { reduction, label_smoothing: smoothing, ..Default::default() };
        let count = t.iter().filter(|&&t| t != -100).count() as f64;
        let divisor = if reduction == Reduction::Mean { count } else { 1.0 };
        let (loss, dx, dw) =
            reference::linear_cross_entropy(&x64, &w64, width, &t, -100, f64::from(smoothing), divisor);
        let got = in_chunks(x, weight, &held, &options, values).map_err(text)?;
        check_equal(got.x_gradient.shape(), x.shape())?;
        check_equal(got.weight_gradient.shape(), weight.shape())?;
        check_equal(got.loss.shape(), &[])?;
        let bound =
            |depth| if f16 { Tolerance::OfLargest(1e-3) } else { Tolerance::Sum { depth: 16 * depth } };
        check_close(&floats(&got.loss)?, &[loss], Tolerance::Absolute(4e-6 * loss.abs().max(8.0)))?;
        check_close(&floats(&got.x_gradient)?, &dx, bound(classes)).map_err(|e| format!("x: {e}"))?;
        check_close(&floats(&got.weight_gradient)?, &dw, bound(rows)).map_err(|e| format!("weight: {e}"))?;
    }
    Ok(())
}

fn against_oracle(
    device: &Device,
    [rows, width, classes]: [usize; 3],
    smoothing: f32,
    values: usize,
) -> Verdict {
    let x = normal("linear_cross_entropy/x", rows * width);
    let weight = normal("linear_cross_entropy/weight", classes * width);
    let tensors =
        [tensor(device, &[rows, width], x.clone()), tensor(device, &[classes, width], weight.clone())];
    check(&tensors[0], &tensors[1], [&x, &weight], smoothing, values, false)
}

fn f16_against_oracle(device: &Device) -> Verdict {
    let [rows, width, classes] = [9, 14, 35];
    let (x, x_held) = f16_tensor(device, &[rows, width], &normal("linear_cross_entropy/x", rows * width));
    let (weight, weight_held) =
        f16_tensor(device, &[classes, width], &normal("linear_cross_entropy/weight", classes * width));
    check(&x, &weight, [&x_held, &weight_held], 0.1, 4 * classes, true)
}

fn all_ignored(device: &Device) -> Verdict {
    let x = tensor(device, &[2, 3], normal("linear_cross_entropy/x", 6));
    let weight = tensor(device, &[4, 3], normal("linear_cross_entropy/weight", 12));
    let t = Tensor::new(device, &[2], vec![-100i64; 2]).map_err(text)?;
    let got = linear_cross_entropy(&x, &weight, &t, &CrossEntropyOptions::default()).map_err(text)?;
    let loss = floats(&got.loss)?;
    check_equal(&[loss[0].is_nan()], &[true])?;
    check_equal(&floats(&got.x_gradient)?, &[0.0; 6])?;
    check_equal(&floats(&got.weight_gradient)?, &[0.0; 12])
}

fn no_rows(device: &Device) -> Verdict {
    let (x, t) = (Tensor::zeros::<f32>(device, &[0, 3]), Tensor::zeros::<i64>(device, &[0]));
    let weight = tensor(device, &[4, 3], normal("linear_cross_entropy/weight", 12));
    let options = CrossEntropyOptions { reduction: Reduction::Sum, ..Default::default() };
    let got = linear_cross_entropy(&x, &weight, &t, &options).map_err(text)?;
    check_equal(&floats(&got.loss)?, &[0.0])?;
    check_equal(&floats(&got.weight_gradient)?, &[0.0; 12])
}

fn wrong_target(device: &Device) -> Verdict {
    let (x, weight) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[4, 3]));
    let t = Tensor::new(device, &[2], vec![0i64, 4]).map_err(text)?;
    expect_error(linear_cross_entropy(&x, &weight, &t, &CrossEntropyOptions::default()), "got 4 in row 1")
}

fn shapes(device: &Device) -> Verdict {
    let (x, weight) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[4, 3]));
    let (t, options) = (Tensor::zeros::<i64>(device, &[2]), CrossEntropyOptions::default());
    let wrong = Tensor::zeros::<f32>(device, &[6]);
    expect_error(linear_cross_entropy(&wrong, &weight, &t, &options), "`x` must be [rows, width], got [6]")?;
    let wrong = Tensor::zeros::<f32>(device, &[4, 2]);
    expect_error(
        linear_cross_entropy(&x, &wrong, &t, &options),
        "`weight` must be [classes, 3] with classes",
    )?;
    let wrong = Tensor::zeros::<i64>(device, &[3]);
    expect_error(linear_cross_entropy(&x, &weight, &wrong, &options), "`targets` must be [2], got [3]")
}

fn no_reduction(device: &Device) -> Verdict {
    let (x, weight) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[4, 3]));
    let options = CrossEntropyOptions { reduction: Reduction::None, ..Default::default() };
    let t = Tensor::zeros::<i64>(device, &[2]);
    expect_error(
        linear_cross_entropy(&x, &weight, &t, &options),
        "`reduction` must be a mean or a sum, got none",
    )
}

fn dtypes(device: &Device) -> Verdict {
    let (x, weight) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<u8>(device, &[4, 3]));
    let options = CrossEntropyOptions::default();
    let t = Tensor::zeros::<i64>(device, &[2]);
    expect_error(linear_cross_entropy(&x, &weight, &t, &options), "`weight` must hold f32")?;
    let (weight, t) = (Tensor::zeros::<f32>(device, &[4, 3]), Tensor::zeros::<u8>(device, &[2]));
    expect_error(linear_cross_entropy(&x, &weight, &t, &options), "`targets` must hold i32, u32 or i64")
}
