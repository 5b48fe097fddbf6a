use super::{CrossEntropyOptions, cross_entropy, cross_entropy_backward, reference};
use crate::loss::Reduction;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("cross_entropy/oracle/one_class", |d| against_oracle(d, [1, 1], 0.0, 1.0)),
        case("cross_entropy/oracle/odd_sizes", |d| against_oracle(d, [7, 37], 0.0, 1.0)),
        case("cross_entropy/oracle/label_smoothing", |d| against_oracle(d, [5, 41], 0.1, 2.0)),
        case("cross_entropy/oracle/only_smoothing", |d| against_oracle(d, [3, 8], 1.0, 1.0)),
        case("cross_entropy/oracle/every_width", |d| {
            [2, 3, 4, 5, 8, 15, 16, 17, 33, 64, 1023, 1024, 1025, 2300].into_iter().try_for_each(|classes| {
                against_oracle(d, [3, classes], 0.1, 3.0).map_err(|e| format!("{classes} classes: {e}"))
            })
        }),
        case("cross_entropy/oracle/vocabulary", |d| against_oracle(d, [3, 32000], 0.0, 4.0)),
        case("cross_entropy/oracle/large_logits", |d| against_oracle(d, [5, 100], 0.0, 300.0)),
        case("cross_entropy/oracle/many_rows", |d| against_oracle(d, [9001, 2], 0.0, 1.0)),
        small_bindings_case("cross_entropy/oracle/ranges_of_rows", 4096, |d| {
            against_oracle(d, [300, 36], 0.1, 1.0)
        }),
        f16_case("cross_entropy/f16/odd_sizes", |d| f16_against_oracle(d, [5, 37])),
        f16_case("cross_entropy/f16/packs", |d| f16_against_oracle(d, [5, 2000])),
        case("cross_entropy/property/target_types", target_types),
        case("cross_entropy/property/ignore_index_may_be_a_class", ignored_class),
        case("cross_entropy/property/all_ignored", all_ignored),
        case("cross_entropy/property/no_rows", no_rows),
        case("cross_entropy/property/minus_infinity_is_no_probability", minus_infinity),
        case("cross_entropy/property/row_gradients_sum_to_zero", zero_sums),
        case("cross_entropy/property/rises_along_its_gradient", finite_differences),
        cpu_case("cross_entropy/property/nan_stays_in_its_row", nan_stays),
        gpu_case("cross_entropy/property/unknown_class_is_no_number", unknown_class),
        cpu_case("cross_entropy/error/target", wrong_target),
        case("cross_entropy/error/shapes", shapes),
        case("cross_entropy/error/dtypes", dtypes),
        case("cross_entropy/error/options", wrong_options),
    ]
}

const REDUCTIONS: [Reduction; 3] = [Reduction::None, Reduction::Mean, Reduction::Sum];

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

/// Targets of all classes, every fifth row ignored where there are several.
fn targets(rows: usize, classes: usize) -> Vec<i64> {
    let spread = uniform("cross_entropy/targets", rows);
    let target = |(i, v): (usize, &f32)| match i % 5 {
        3 => -100,
        _ => ((f64::from(*v) * 0.5 + 0.5) * classes as f64) as i64,
    };
    spread.iter().enumerate().map(target).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// All reductions and their gradients.
fn check(device: &Device, x: &Tensor, held: &[f32], targets: &[i64], smoothing: f32, f16: bool) -> Verdict {
    let [rows, classes] = [x.shape()[0], x.shape()[1]];
    let (logits, s) = (wide(held), f64::from(smoothing));
    let losses = reference::losses(&logits, targets, classes, -100, s);
    let largest = logits.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    let bound = 2e-6 * losses.iter().fold(largest, |m, l| m.max(l.abs()));
    let t = Tensor::new(device, &[rows], targets.to_vec()).map_err(text)?;
    for reduction in REDUCTIONS {
        let options = CrossEntropyOptions { reduction, label_smoothing: smoothing, ..Default::default() };
        let count = targets.iter().filter(|&&t| t != -100).count() as f64;
        let (want, share) = match reduction {
            Reduction::None => (losses.clone(), 1.0),
            Reduction::Sum => (vec![losses.iter().sum()], 1.0),
            _ => (vec![reference::mean(&losses, targets, -100)], 1.0 / count),
        };
        let y = cross_entropy(x, &t, &options).map_err(text)?;
        check_equal(y.shape(), reduction.shape(&[rows]))?;
        let terms = if reduction == Reduction::Sum { rows as f64 } else { 1.0 };
        check_close(&y.read::<f32>().map_err(text)?, &want, Tolerance::Absolute(bound * terms))
            .map_err(|e| format!("{reduction:?}: {e}"))?;
        let grad = normal("cross_entropy/grad", want.len());
        let scale = |row: usize| f64::from(grad[row.min(grad.len() - 1)]) * share;
        let want = reference::gradient(&logits, targets, classes, -100, s, scale);
        let grad = tensor(device, y.shape(), grad.clone());
        let got = cross_entropy_backward(&grad, x, &t, &options).map_err(text)?;
        check_equal(got.shape(), x.shape())?;
        let bound = if f16 { 5e-4 } else { 3e-6 };
        check_close(&floats(&got)?, &want, Tolerance::OfLargest(bound))
            .map_err(|e| format!("gradient, {reduction:?}: {e}"))?;
    }
    Ok(())
}

fn against_oracle(device: &Device, [rows, classes]: [usize; 2], smoothing: f32, spread: f32) -> Verdict {
    let x: Vec<f32> = normal("cross_entropy/x", rows * classes).iter().map(|v| v * spread).collect();
    let held = tensor(device, &[rows, classes], x.clone());
    check(device, &held, &x, &targets(rows, classes), smoothing, false)
}

fn f16_against_oracle(device: &Device, [rows, classes]: [usize; 2]) -> Verdict {
    let (x, held) = f16_tensor(device, &[rows, classes], &normal("cross_entropy/x", rows * classes));
    check(device, &x, &held, &targets(rows, classes), 0.1, true)
}

fn target_types(device: &Device) -> Verdict {
    let x = tensor(device, &[3, 5], normal("cross_entropy/x", 15));
    let options = CrossEntropyOptions { reduction: Reduction::None, ignore_index: -1, label_smoothing: 0.0 };
    let run = |t: Result<Tensor, steropes_tensor::TensorError>| -> Result<Vec<f32>, String> {
        cross_entropy(&x, &t.map_err(text)?, &options).map_err(text)?.read().map_err(text)
    };
    let long = run(Tensor::new(device, &[3], vec![4i64, -1, 0]))?;
    check_equal(&run(Tensor::new(device, &[3], vec![4i32, -1, 0]))?, &long)?;
    check_equal(&[long[1]], &[0.0])?;
    let unsigned = run(Tensor::new(device, &[3], vec![4u32, 2, 0]))?;
    check_equal(&[unsigned[0], unsigned[2]], &[long[0], long[2]])
}

/// Also a class may be ignored, and a number beyond 32 bits.
fn ignored_class(device: &Device) -> Verdict {
    let x = tensor(device, &[3, 5], normal("cross_entropy/x", 15));
    for ignore_index in [2, i64::from(u32::MAX) + 3] {
        let t = Tensor::new(device, &[3], vec![1, ignore_index, 4]).map_err(text)?;
        let options = CrossEntropyOptions { ignore_index, reduction: Reduction::None, label_smoothing: 0.1 };
        let losses = cross_entropy(&x, &t, &options).map_err(text)?.read::<f32>().map_err(text)?;
        check_equal(&[losses[0] > 0.0, losses[1] == 0.0, losses[2] > 0.0], &[true; 3])?;
    }
    Ok(())
}

fn all_ignored(device: &Device) -> Verdict {
    let x = tensor(device, &[2, 3], normal("cross_entropy/x", 6));
    let t = Tensor::new(device, &[2], vec![-100i64; 2]).map_err(text)?;
    for reduction in REDUCTIONS {
        let options = CrossEntropyOptions { reduction, ..Default::default() };
        let y = cross_entropy(&x, &t, &options).map_err(text)?;
        let loss = y.read::<f32>().map_err(text)?;
        let fits = |l: &f32| if reduction == Reduction::Mean { l.is_nan() } else { *l == 0.0 };
        if !loss.iter().all(fits) {
            return Err(format!("{reduction:?} of nothing is {loss:?}"));
        }
        let grad = tensor(device, y.shape(), vec![1.0; loss.len()]);
        let got = cross_entropy_backward(&grad, &x, &t, &options).map_err(text)?;
        check_equal(&got.read::<f32>().map_err(text)?, &[0.0; 6])?;
    }
    Ok(())
}

fn no_rows(device: &Device) -> Verdict {
    let (x, t) = (Tensor::zeros::<f32>(device, &[0, 4]), Tensor::zeros::<i64>(device, &[0]));
    for reduction in REDUCTIONS {
        let options = CrossEntropyOptions { reduction, ..Default::default() };
        let y = cross_entropy(&x, &t, &options).map_err(text)?;
        let loss = y.read::<f32>().map_err(text)?;
        let fits = match reduction {
            Reduction::None => loss.is_empty(),
            Reduction::Sum => loss == [0.0],
            _ => loss[0].is_nan(),
        };
        if !fits {
            return Err(format!("{reduction:?} of no rows is {loss:?}"));
        }
        let grad = tensor(device, y.shape(), vec![1.0; loss.len()]);
        check_equal(cross_entropy_backward(&grad, &x, &t, &options).map_err(text)?.shape(), &[0, 4])?;
    }
    Ok(())
}

/// Also a whole block of a long row.
fn minus_infinity(device: &Device) -> Verdict {
    for (classes, masked) in [(40, 36), (1500, 1200)] {
        let mut x = vec![0.0f32; classes];
        x[..masked].fill(f32::NEG_INFINITY);
        let x = tensor(device, &[1, classes], x);
        let t = Tensor::new(device, &[1], vec![masked as i64]).map_err(text)?;
        let options = CrossEntropyOptions::default();
        let left = (classes - masked) as f64;
        let loss = cross_entropy(&x, &t, &options).map_err(text)?.read::<f32>().map_err(text)?;
        check_close(&loss, &[left.ln()], Tolerance::OfLargest(2e-6))?;
        let got = cross_entropy_backward(&tensor(device, &[], vec![1.0]), &x, &t, &options).map_err(text)?;
        let mut want = vec![1.0 / left; classes];
        want[..masked].fill(0.0);
        want[masked] -= 1.0;
        check_close(&got.read::<f32>().map_err(text)?, &want, Tolerance::OfLargest(3e-6))?;
    }
    Ok(())
}

fn zero_sums(device: &Device) -> Verdict {
    let x = tensor(device, &[4, 65], normal("cross_entropy/x", 260));
    let t = Tensor::new(device, &[4], vec![0i64, 64, 33, 7]).map_err(text)?;
    let options = CrossEntropyOptions { label_smoothing: 0.2, ..Default::default() };
    let grad = tensor(device, &[], vec![4.0]);
    let got = cross_entropy_backward(&grad, &x, &t, &options).map_err(text)?.read::<f32>().map_err(text)?;
    let sums: Vec<f32> = got.chunks_exact(65).map(|row| row.iter().sum()).collect();
    check_close(&sums, &[0.0; 4], Tolerance::Absolute(1e-6))
}

/// The gradient against differences of the f64 oracle.
fn finite_differences(device: &Device) -> Verdict {
    let (x, t) = (normal("cross_entropy/x", 3 * 7), [2i64, -100, 6]);
    let options = CrossEntropyOptions { label_smoothing: 0.1, ..Default::default() };
    let held = Tensor::new(device, &[3], t.to_vec()).map_err(text)?;
    let grad = tensor(device, &[], vec![1.0]);
    let got = cross_entropy_backward(&grad, &tensor(device, &[3, 7], x.clone()), &held, &options);
    let loss = |x: &[f64]| reference::mean(&reference::losses(x, &t, 7, -100, f64::from(0.1f32)), &t, -100);
    let want = crate::loss::tests_support::differences(&wide(&x), 1e-5, loss);
    check_close(&got.map_err(text)?.read::<f32>().map_err(text)?, &want, Tolerance::OfLargest(3e-6))
}

fn nan_stays(device: &Device) -> Verdict {
    let mut x = normal("cross_entropy/x", 3 * 21);
    x[21 + 20] = f32::NAN;
    let t = Tensor::new(device, &[3], vec![0i64, 1, 2]).map_err(text)?;
    let options = CrossEntropyOptions { reduction: Reduction::None, ..Default::default() };
    let x = tensor(device, &[3, 21], x);
    let losses = cross_entropy(&x, &t, &options).map_err(text)?.read::<f32>().map_err(text)?;
    let nan: Vec<bool> = losses.iter().map(|l| l.is_nan()).collect();
    check_equal(&nan, &[false, true, false])
}

fn unknown_class(device: &Device) -> Verdict {
    let x = tensor(device, &[4, 5], normal("cross_entropy/x", 20));
    let t = Tensor::new(device, &[4], vec![0i64, 5, -1, 1 << 33]).map_err(text)?;
    let options = CrossEntropyOptions { reduction: Reduction::None, ..Default::default() };
    let losses = cross_entropy(&x, &t, &options).map_err(text)?.read::<f32>().map_err(text)?;
    let nan: Vec<bool> = losses.iter().map(|l| l.is_nan()).collect();
    check_equal(&nan, &[false, true, true, true])?;
    let grad = tensor(device, &[4], vec![1.0; 4]);
    let got = cross_entropy_backward(&grad, &x, &t, &options).map_err(text)?.read::<f32>().map_err(text)?;
    let nan: Vec<bool> = got.chunks(5).map(|row| row.iter().all(|g| g.is_nan())).collect();
    check_equal(&nan, &[false, true, true, true])
}

fn wrong_target(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[3, 5]);
    let options = CrossEntropyOptions::default();
    for (wrong, said) in [(5i64, "got 5 in row 1"), (-1, "got -1 in row 1")] {
        let t = Tensor::new(device, &[3], vec![-100, wrong, 9]).map_err(text)?;
        expect_error(cross_entropy(&x, &t, &options), said)?;
        expect_error(cross_entropy_backward(&tensor(device, &[], vec![1.0]), &x, &t, &options), said)?;
    }
    Ok(())
}

fn shapes(device: &Device) -> Verdict {
    let (x, t) = (Tensor::zeros::<f32>(device, &[3, 5]), Tensor::zeros::<i64>(device, &[3]));
    let options = CrossEntropyOptions::default();
    expect_error(
        cross_entropy(&Tensor::zeros::<f32>(device, &[3]), &t, &options),
        "`logits` must be [rows, classes]",
    )?;
    expect_error(
        cross_entropy(&Tensor::zeros::<f32>(device, &[3, 0]), &t, &options),
        "`logits` must be [rows, classes] with classes",
    )?;
    expect_error(
        cross_entropy(&x, &Tensor::zeros::<i64>(device, &[2]), &options),
        "`targets` must be [3], got [2]",
    )?;
    let wrong = Tensor::zeros::<f32>(device, &[3]);
    expect_error(cross_entropy_backward(&wrong, &x, &t, &options), "`grad` must be [] as the loss, got [3]")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, t) = (Tensor::zeros::<f32>(device, &[3, 5]), Tensor::zeros::<i64>(device, &[3]));
    let options = CrossEntropyOptions::default();
    expect_error(
        cross_entropy(&Tensor::zeros::<i32>(device, &[3, 5]), &t, &options),
        "`logits` must hold f32",
    )?;
    expect_error(
        cross_entropy(&x, &Tensor::zeros::<f32>(device, &[3]), &options),
        "`targets` must hold i32, u32 or i64, got f32",
    )?;
    let grad = Tensor::zeros::<i32>(device, &[]);
    expect_error(cross_entropy_backward(&grad, &x, &t, &options), "`grad` must hold f32, got i32")
}

fn wrong_options(device: &Device) -> Verdict {
    let (x, t) = (Tensor::zeros::<f32>(device, &[3, 5]), Tensor::zeros::<i64>(device, &[3]));
    for label_smoothing in [-0.1, 1.1, f32::NAN] {
        let options = CrossEntropyOptions { label_smoothing, ..Default::default() };
        expect_error(cross_entropy(&x, &t, &options), "`label_smoothing` must be from 0 to 1")?;
    }
    let options = CrossEntropyOptions { reduction: Reduction::BatchMean, ..Default::default() };
    expect_error(cross_entropy(&x, &t, &options), "`reduction` must be none, a mean or a sum")
}
