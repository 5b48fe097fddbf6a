use super::{reference, softmax};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
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

fn check(device: &Device, shape: &[usize], x: Vec<f32>) -> Verdict {
    let want = reference::softmax(&x, *shape.last().expect("an axis"));
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
    let want = reference::softmax(&rounded, *shape.last().expect("an axis"));
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
