use super::{log_softmax, log_softmax_backward, reference, softmax, softmax_axis, softmax_backward};
use crate::checks::{
    check_within, differences, exact, nan_only_in_row, same_for_any_number_of_threads, stored, tensor,
};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = last_axis_cases();
    cases.extend(axis_cases());
    cases.extend(backward_cases());
    cases
}

fn last_axis_cases() -> Vec<Case> {
    vec![
        case("softmax/oracle/one_value", |d| against_oracle(d, &[1, 1], 1.0, 0.0)),
        case("softmax/oracle/odd_sizes", |d| against_oracle(d, &[3, 7, 37], 1.0, 0.0)),
        case("softmax/oracle/every_width", every_width),
        case("softmax/oracle/attention_of_mast3r", |d| against_oracle(d, &[2, 24, 768], 3.0, 0.0)),
        case("softmax/oracle/long_rows", |d| against_oracle(d, &[3, 20_004], 1.0, 0.0)),
        case("softmax/oracle/long_odd_rows", |d| against_oracle(d, &[3, 5003], 2.0, 0.0)),
        case("softmax/oracle/far_from_zero", |d| against_oracle(d, &[5, 300], 4.0, 1e4)),
        case("softmax/oracle/wide_spread", |d| against_oracle(d, &[5, 300], 200.0, -1e3)),
        case("softmax/oracle/wide_spread_in_every_form", |d| {
            [300, 301, 2053, 5003, 20_004].iter().try_for_each(|w| against_oracle(d, &[3, *w], 1000.0, 0.0))
        }),
        case("softmax/oracle/rising", |d| monotonous(d, 1.0)),
        case("softmax/oracle/falling", |d| monotonous(d, -1.0)),
        f16_case("softmax/f16/odd_sizes", |d| f16_against_oracle(d, &[3, 7, 37], 1.0)),
        f16_case("softmax/f16/wide_spread_in_every_form", |d| {
            [37, 768, 5003, 40_008].iter().try_for_each(|w| f16_against_oracle(d, &[2, *w], 1000.0))
        }),
        f16_case("softmax/f16/one_value_far_above", |d| {
            [37, 768, 5003, 40_008].iter().try_for_each(|w| f16_one_above(d, *w))
        }),
        f16_case("softmax/f16/whole_vectors", |d| f16_against_oracle(d, &[33, 768], 1.0)),
        f16_case("softmax/f16/long_rows", |d| f16_against_oracle(d, &[2, 40_008], 1.0)),
        case("softmax/property/sum_is_1", sum_is_1),
        case("softmax/property/nan_stays_in_its_row", nan_stays_in_its_row),
        case("softmax/property/no_rows", no_rows),
        gpu_case("softmax/property/longer_than_a_binding", longer_than_a_binding),
        case("softmax/error/no_width", |d| {
            expect_error(
                softmax(&Tensor::zeros::<f32>(d, &[2, 0])),
                "`x` must be [.., width] with a width above 0",
            )
        }),
        case("softmax/error/no_axes", |d| {
            expect_error(
                softmax(&Tensor::zeros::<f32>(d, &[])),
                "`x` must be [.., width] with a width above 0",
            )
        }),
        case("softmax/error/dtype", |d| {
            expect_error(softmax(&Tensor::zeros::<u8>(d, &[2, 3])), "`x` must hold f32")
        }),
    ]
}

fn run(x: &Tensor) -> Result<Vec<f32>, String> {
    let y = softmax(x).map_err(|e| e.to_string())?;
    check_equal(y.shape(), x.shape())?;
    floats(&y)
}

fn rows(shape: &[usize]) -> [usize; 3] {
    axis_in_the_middle(shape, shape.len() - 1)
}

fn axis_in_the_middle(shape: &[usize], axis: usize) -> [usize; 3] {
    [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()]
}

fn check(device: &Device, shape: &[usize], x: Vec<f32>) -> Verdict {
    let want = reference::softmax(&exact(&x), rows(shape));
    let got = run(&Tensor::new(device, shape, x).expect("a test's shape fits its values"))?;
    check_close(&got, &want, Tolerance::OfLargest(2e-6))
}

fn against_oracle(device: &Device, shape: &[usize], spread: f32, center: f32) -> Verdict {
    let x = normal("softmax/x", shape.iter().product());
    check(device, shape, x.iter().map(|v| v * spread + center).collect())
}

fn every_width(device: &Device) -> Verdict {
    for width in [2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 516, 1028] {
        against_oracle(device, &[3, width], 1.0, 0.0).map_err(|e| format!("width {width}: {e}"))?;
    }
    Ok(())
}

/// Every value is a new maximum, or none after the first is.
fn monotonous(device: &Device, sign: f32) -> Verdict {
    check(device, &[2, 20_000], (0..40_000).map(|i| sign * (i % 20_000) as f32 * 0.01).collect())
}

fn f16_against_oracle(device: &Device, shape: &[usize], spread: f32) -> Verdict {
    let x: Vec<f32> = normal("softmax/x", shape.iter().product()).iter().map(|v| v * spread).collect();
    let (x, rounded) = f16_tensor(device, shape, &x);
    let want = reference::softmax(&exact(&rounded), rows(shape));
    check_close(&run(&x)?, &want, Tolerance::OfLargest(5e-4))
}

/// In each row another place of a vector has a value that leaves nothing to the others.
fn f16_one_above(device: &Device, width: usize) -> Verdict {
    let mut x = normal("softmax/x", 4 * width);
    let mut want = vec![0.0f32; 4 * width];
    for row in 0..4 {
        (x[row * width + row], want[row * width + row]) = (30_000.0, 1.0);
    }
    check_equal(&run(&f16_tensor(device, &[4, width], &x).0)?, &want)
}

fn sum_is_1(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[9, 768], normal("softmax/x", 9 * 768)).unwrap();
    let sums: Vec<f32> =
        run(&x)?.chunks_exact(768).map(|row| row.iter().map(|&v| f64::from(v)).sum::<f64>() as f32).collect();
    check_close(&sums, &[1.0; 9], Tolerance::Absolute(1e-6))
}

fn nan_stays_in_its_row(device: &Device) -> Verdict {
    let mut x = normal("softmax/x", 5 * 21);
    x[2 * 21 + 20] = f32::NAN;
    let y = run(&Tensor::new(device, &[5, 21], x).unwrap())?;
    match (0..y.len()).find(|&i| y[i].is_nan() != (i / 21 == 2)) {
        None => Ok(()),
        Some(i) => Err(format!("row {} column {} is {}", i / 21, i % 21, y[i])),
    }
}

fn no_rows(device: &Device) -> Verdict {
    check_equal(&run(&Tensor::zeros::<f32>(device, &[2, 0, 3]))?, &[])
}

/// All rows alike, so that every part of a tensor that is split must come out as the first.
fn longer_than_a_binding(device: &Device) -> Verdict {
    let limit = device.gpu().expect("a GPU case").capabilities().max_binding_bytes;
    if limit > 1 << 28 {
        return Ok(()); // Too much memory for a test; devices with small bindings show the same code.
    }
    let rows = limit as usize / 4 / 100 + 1001;
    let row = normal("softmax/x", 100);
    let got = run(&Tensor::new(device, &[rows, 100], row.repeat(rows)).unwrap())?;
    let want = run(&Tensor::new(device, &[1, 100], row).unwrap())?;
    match got.chunks_exact(100).position(|row| row != want) {
        None => Ok(()),
        Some(row) => Err(format!("row {row} of {rows} differs from the first")),
    }
}

/// Shapes with the axis in front, in the middle and last, of one and many columns, in registers and beyond, in packs and single
/// elements.
const SHAPES: [(&[usize], usize); 12] = [
    (&[1], 0),
    (&[1, 1], 0),
    (&[5, 7, 3], 0),
    (&[5, 7, 3], 1),
    (&[5, 7, 3], 2),
    (&[3, 40, 16], 1),
    (&[2, 6, 300], 1),
    (&[7, 2, 1024], 0),
    (&[129, 2], 0),
    (&[20_011, 3], 0),
    (&[20_011, 8], 0),
    (&[2, 9, 4, 8], 1),
];

fn axis_cases() -> Vec<Case> {
    vec![
        case("softmax/axis/oracle", |d| every_axis(d, false, 1.0, 0.0)),
        case("softmax/axis/wide_spread", |d| every_axis(d, false, 300.0, -1e3)),
        f16_case("softmax/axis/f16", |d| every_axis(d, true, 1.0, 0.0)),
        small_bindings_case("softmax/axis/small_bindings", 1024, |d| {
            axis_against_oracle(d, false, &[41, 5, 7], 1, 1.0, 0.0)?;
            axis_against_oracle(d, false, &[41, 37], 1, 1.0, 0.0)
        }),
        case("softmax/axis/last_as_softmax", |d| {
            let x = tensor(d, &[3, 5, 8], &normal("softmax/x", 120));
            let y = softmax_axis(&x, 2).map_err(|e| e.to_string())?;
            check_equal(&floats(&y)?, &run(&x)?)
        }),
        case("softmax/property/masked_by_infinity", masked_by_infinity),
        case("softmax/property/masked_by_the_lowest_number", masked_by_the_lowest_number),
        case("softmax/property/nan_stays_in_its_column", nan_stays_in_its_column),
        case("softmax/property/no_columns", no_columns),
        case("softmax/axis/threads", |d| {
            same_for_any_number_of_threads(|| {
                let x = tensor(d, &[999, 200], &normal("softmax/x", 999 * 200));
                let y = softmax_axis(&x, 0).map_err(|e| e.to_string())?;
                let grad_x = softmax_backward(&y, &x, 0).map_err(|e| e.to_string())?;
                Ok(vec![floats(&y)?, floats(&grad_x)?])
            })
        }),
        case("softmax/error/axis", axes),
        case("softmax/error/nothing_along_the_axis", |d| {
            let x = Tensor::zeros::<f32>(d, &[2, 0, 3]);
            expect_error(softmax_axis(&x, 1), "`x` must be above 0 along axis 1, got [2, 0, 3]")?;
            expect_error(log_softmax(&x, 1), "`x` must be above 0 along axis 1, got [2, 0, 3]")?;
            expect_error(softmax_backward(&x, &x, 1), "`y` must be above 0 along axis 1, got [2, 0, 3]")
        }),
        case("softmax/error/dtypes_of_axis", |d| {
            let bytes = Tensor::zeros::<u8>(d, &[2, 3]);
            expect_error(softmax_axis(&bytes, 0), "`x` must hold f32")?;
            expect_error(log_softmax(&bytes, 0), "`x` must hold f32")?;
            let y = Tensor::zeros::<f32>(d, &[2, 3]);
            expect_error(softmax_backward(&y, &bytes, 0), "`grad` must hold f32")?;
            expect_error(log_softmax_backward(&bytes, &y, 0), "`y` must hold f32")
        }),
        small_bindings_case("softmax/error/item_beyond_a_binding", 1024, |d| {
            let x = Tensor::zeros::<f32>(d, &[2, 30, 10]);
            expect_error(softmax_axis(&x, 1), "a row of 1200 bytes does not fit one binding")?;
            expect_error(softmax_backward(&x, &x, 1), "a row of 1200 bytes does not fit one binding")
        }),
    ]
}

fn backward_cases() -> Vec<Case> {
    vec![
        case("softmax/backward/oracle", |d| {
            SHAPES.iter().try_for_each(|(shape, axis)| backward(d, false, shape, *axis))
        }),
        case("softmax/backward/rows_in_every_form", |d| {
            [300, 301, 2053, 5003, 20_004].iter().try_for_each(|w| backward(d, false, &[3, *w], 1))
        }),
        f16_case("softmax/backward/f16", |d| {
            SHAPES.iter().try_for_each(|(shape, axis)| backward(d, true, shape, *axis))
        }),
        f16_case("softmax/backward/f16_rows_in_every_form", |d| {
            [37, 768, 5003, 40_008].iter().try_for_each(|w| backward(d, true, &[2, *w], 1))
        }),
        case("softmax/backward/finite_differences", |d| {
            [0, 1, 2].into_iter().try_for_each(|axis| finite_differences(d, axis))
        }),
        small_bindings_case("softmax/backward/small_bindings", 1024, |d| {
            backward(d, false, &[41, 5, 7], 1)?;
            backward(d, false, &[41, 37], 1)
        }),
        case("softmax/error/grad_shape", |d| {
            let (y, grad) = (Tensor::zeros::<f32>(d, &[2, 3]), Tensor::zeros::<f32>(d, &[3, 2]));
            expect_error(softmax_backward(&y, &grad, 1), "`grad` must be [2, 3], got [3, 2]")?;
            expect_error(log_softmax_backward(&y, &grad, 1), "`grad` must be [2, 3], got [3, 2]")
        }),
    ]
}

fn every_axis(device: &Device, half: bool, spread: f32, center: f32) -> Verdict {
    for (shape, axis) in SHAPES {
        axis_against_oracle(device, half, shape, axis, spread, center)
            .map_err(|e| format!("{shape:?} axis {axis}: {e}"))?;
    }
    Ok(())
}

/// Softmax and its logarithm.
fn axis_against_oracle(
    device: &Device,
    half: bool,
    shape: &[usize],
    axis: usize,
    spread: f32,
    center: f32,
) -> Verdict {
    let x = normal("softmax/x", shape.iter().product());
    let x: Vec<f32> = x.iter().map(|v| v * spread + center).collect();
    let (x, values) = stored(device, half, shape, &x);
    let middle = axis_in_the_middle(shape, axis);
    let y = softmax_axis(&x, axis).map_err(|e| e.to_string())?;
    check_equal(y.shape(), shape)?;
    check_equal(&[y.dtype()], &[x.dtype()])?;
    let tolerance = Tolerance::OfLargest(if half { 5e-4 } else { 2e-6 });
    check_close(&floats(&y)?, &reference::softmax(&values, middle), tolerance)?;
    let y = log_softmax(&x, axis).map_err(|e| e.to_string())?;
    check_equal(y.shape(), shape)?;
    let want = reference::log_softmax(&values, middle);
    let largest = want.iter().chain(&values).fold(0.0f64, |m, v| m.max(v.abs()));
    let tolerance = Tolerance::Absolute(largest.max(1.0) * if half { 5e-4 } else { 1e-6 });
    check_close(&floats(&y)?, &want, tolerance)
}

/// Values of -inf get nothing; where there is nothing else, there is no result.
fn masked_by_infinity(device: &Device) -> Verdict {
    for (shape, axis) in [([3, 8, 1], 1), ([3, 5003, 1], 1), ([3, 40_004, 1], 1), ([3, 5003, 2], 1)] {
        let [_, len, inner] = shape;
        let item = len * inner;
        let mut x = normal("softmax/x", 3 * item);
        x[..item / 2].fill(f32::NEG_INFINITY);
        x[item..2 * item].fill(f32::NEG_INFINITY);
        let open = x[item / 2..item].to_vec();
        let x = tensor(device, &shape, &x);
        let y = floats(&softmax_axis(&x, axis).map_err(|e| e.to_string())?)?;
        nan_only_in_row(&y, item, 1, true).map_err(|e| format!("{shape:?}: {e}"))?;
        check_equal(&y[..item / 2], &vec![0.0; item / 2])?;
        let log = floats(&log_softmax(&x, axis).map_err(|e| e.to_string())?)?;
        nan_only_in_row(&log, item, 1, true).map_err(|e| format!("{shape:?}, log: {e}"))?;
        check_equal(&log[..item / 2], &vec![f32::NEG_INFINITY; item / 2])?;
        if inner == 1 {
            let want = reference::softmax(&exact(&open), [1, open.len(), 1]);
            check_close(&y[item / 2..item], &want, Tolerance::OfLargest(2e-6))?;
        }
    }
    Ok(())
}

/// The lowest number is a number: alone it shares evenly, beside others it gets nothing.
fn masked_by_the_lowest_number(device: &Device) -> Verdict {
    for (len, inner) in [(8, 1), (5003, 1), (40_004, 1), (5003, 2)] {
        let item = len * inner;
        let mut x = vec![f32::MIN; 2 * item];
        x[item..item + inner].fill(1.0);
        let y = softmax_axis(&tensor(device, &[2, len, inner], &x), 1).map_err(|e| e.to_string())?;
        let mut want = vec![1.0 / len as f64; item];
        want.extend((0..item).map(|i| if i < inner { 1.0 } else { 0.0 }));
        check_close(&floats(&y)?, &want, Tolerance::Ulps(8)).map_err(|e| format!("{len} x {inner}: {e}"))?;
    }
    Ok(())
}

fn nan_stays_in_its_column(device: &Device) -> Verdict {
    for special in [f32::NAN, f32::INFINITY] {
        let mut x = normal("softmax/x", 21 * 6);
        x[20 * 6 + 4] = special;
        let y = softmax_axis(&tensor(device, &[21, 6], &x), 0).map_err(|e| e.to_string())?;
        let columns: Vec<f32> = {
            let y = floats(&y)?;
            (0..6).flat_map(|c| (0..21).map(move |r| r * 6 + c)).map(|i| y[i]).collect()
        };
        nan_only_in_row(&columns, 21, 4, special.is_nan())?;
    }
    Ok(())
}

fn no_columns(device: &Device) -> Verdict {
    for shape in [[2, 3, 0], [0, 3, 2]] {
        let empty = Tensor::zeros::<f32>(device, &shape);
        let all = [
            softmax_axis(&empty, 1),
            log_softmax(&empty, 1),
            softmax_backward(&empty, &empty, 1),
            log_softmax_backward(&empty, &empty, 1),
        ];
        for y in all {
            check_equal(y.map_err(|e| e.to_string())?.shape(), &shape)?;
        }
    }
    Ok(())
}

fn axes(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    expect_error(softmax_axis(&x, 2), "`axis` must be below 2, got 2")?;
    expect_error(log_softmax(&x, 9), "`axis` must be below 2, got 9")?;
    expect_error(softmax_backward(&x, &x, 2), "`axis` must be below 2, got 2")?;
    expect_error(log_softmax_backward(&x, &x, 2), "`axis` must be below 2, got 2")
}

/// Of softmax and its logarithm.
fn backward(device: &Device, half: bool, shape: &[usize], axis: usize) -> Verdict {
    let middle = axis_in_the_middle(shape, axis);
    let len = shape.iter().product();
    let (grad, grads) = stored(device, half, shape, &normal("softmax/grad", len));
    // Rounding to f16 is relative to the result, and below its normal numbers to 2^-24.
    let rounded = |got: Vec<f32>, [want, magnitudes]: [Vec<f64>; 2]| {
        let share = if half { 1e-3 } else { 2e-6 };
        let magnitudes: Vec<f64> = magnitudes.iter().map(|m| m + if half { 1e-4 } else { 1e-30 }).collect();
        check_within(&got, &want, &magnitudes, share).map_err(|e| format!("{shape:?} axis {axis}: {e}"))
    };
    let y: Vec<f32> =
        reference::softmax(&exact(&normal("softmax/x", len)), middle).iter().map(|v| *v as f32).collect();
    let (y, values) = stored(device, half, shape, &y);
    let grad_x = softmax_backward(&y, &grad, axis).map_err(|e| e.to_string())?;
    check_equal(grad_x.shape(), shape)?;
    check_equal(&[grad_x.dtype()], &[y.dtype()])?;
    rounded(floats(&grad_x)?, reference::softmax_backward(&values, &grads, middle))?;
    let y: Vec<f32> =
        reference::log_softmax(&exact(&normal("softmax/x", len)), middle).iter().map(|v| *v as f32).collect();
    let (y, values) = stored(device, half, shape, &y);
    let grad_x = log_softmax_backward(&y, &grad, axis).map_err(|e| e.to_string())?;
    check_equal(grad_x.shape(), shape)?;
    rounded(floats(&grad_x)?, reference::log_softmax_backward(&values, &grads, middle))
}

fn finite_differences(device: &Device, axis: usize) -> Verdict {
    let shape = [3, 4, 5];
    let middle = axis_in_the_middle(&shape, axis);
    let (x, grad) = (normal("softmax/x", 60), normal("softmax/grad", 60));
    let (values, grads) = (exact(&x), exact(&grad));
    let (x, grad) = (tensor(device, &shape, &x), tensor(device, &shape, &grad));
    let y = softmax_axis(&x, axis).map_err(|e| e.to_string())?;
    let got = softmax_backward(&y, &grad, axis).map_err(|e| e.to_string())?;
    let want = differences(&values, &grads, |x| reference::softmax(x, middle));
    check_close(&floats(&got)?, &want, Tolerance::OfLargest(2e-6))?;
    let y = log_softmax(&x, axis).map_err(|e| e.to_string())?;
    let got = log_softmax_backward(&y, &grad, axis).map_err(|e| e.to_string())?;
    let want = differences(&values, &grads, |x| reference::log_softmax(x, middle));
    check_close(&floats(&got)?, &want, Tolerance::OfLargest(2e-6))
}
