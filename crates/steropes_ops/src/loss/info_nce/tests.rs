use super::reference::Item;
use super::{InfoNceMode, InfoNceOptions, Similarity, info_nce, info_nce_backward};
use crate::loss::tests_support::differences;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("info_nce/oracle/one_value", |d| against_oracle(d, [1, 1, 1], 0.5)),
        case("info_nce/oracle/odd_sizes", |d| against_oracle(d, [3, 7, 5], 0.2)),
        case("info_nce/oracle/several_groups", |d| against_oracle(d, [2, 131, 9], 0.1)),
        case("info_nce/oracle/mast3r_descriptors", |d| against_oracle(d, [1, 150, 24], 0.05)),
        case("info_nce/oracle/wide_descriptors", |d| against_oracle(d, [2, 40, 200], 0.3)),
        case("info_nce/oracle/cut_off", cut_off),
        f16_case("info_nce/f16/odd_sizes", f16_against_oracle),
        case("info_nce/property/no_overflow", no_overflow),
        case("info_nce/property/equal_descriptors", equal_descriptors),
        case("info_nce/property/rises_along_its_gradient", finite_differences),
        case("info_nce/property/no_items", no_items),
        cpu_case("info_nce/property/nan_is_not_similar", nan_is_not_similar),
        gpu_case("info_nce/error/too_wide", |d| {
            let x = Tensor::zeros::<f32>(d, &[1, 2, 257]);
            let valid = Tensor::zeros::<u8>(d, &[1, 2]);
            let said = "descriptors of 257 values, not more than 256";
            expect_error(info_nce([&x, &x], &valid, &InfoNceOptions::default()), said)
        }),
        small_bindings_case("info_nce/error/too_long", 1024, |d| {
            let x = Tensor::zeros::<f32>(d, &[1, 100, 3]);
            let valid = Tensor::zeros::<u8>(d, &[1, 100]);
            let said = "a tensor of 1200 bytes does not fit one binding";
            expect_error(info_nce([&x, &x], &valid, &InfoNceOptions::default()), said)
        }),
        case("info_nce/error/shapes", shapes),
        case("info_nce/error/options", wrong_options),
        case("info_nce/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// Unit descriptors; those of the second side lean to those of the first.
fn descriptors([items, rows, width]: [usize; 3]) -> [Vec<f32>; 2] {
    let count = items * rows * width;
    let unit = |mut values: Vec<f32>| {
        for row in values.chunks_mut(width) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|v| *v /= norm);
        }
        values
    };
    let a = unit(normal("info_nce/a", count));
    let noise = unit(normal("info_nce/b", count));
    let b = unit(a.iter().zip(&noise).map(|(a, n)| a + 0.7 * n).collect());
    [a, b]
}

fn valid(count: usize) -> Vec<u8> {
    (0..count).map(|i| u8::from(i % 3 != 1)).collect()
}

fn all_options(temperature: f32, epsilon: f32) -> Vec<InfoNceOptions> {
    let mut all = Vec::new();
    for mode in [InfoNceMode::Proper, InfoNceMode::Dual, InfoNceMode::All] {
        for similarity in [Similarity::Dot, Similarity::Euclidean] {
            all.push(InfoNceOptions { mode, similarity, temperature, epsilon });
        }
    }
    all
}

fn check(
    tensors: [&Tensor; 2],
    held: [&[f32]; 2],
    options: InfoNceOptions,
    [for_losses, for_gradients]: [f64; 2],
) -> Verdict {
    let &[items, rows, width] = tensors[0].shape() else { unreachable!("descriptors") };
    let device = tensors[0].device();
    let (mask, grad) = (valid(items * rows), normal("info_nce/grad", items * rows));
    let [a, b] = held.map(wide);
    let (mut losses, mut gradients) = (Vec::new(), [Vec::new(), Vec::new()]);
    for i in 0..items {
        let part = i * rows * width..(i + 1) * rows * width;
        let own = i * rows..(i + 1) * rows;
        let item = Item { a: &a[part.clone()], b: &b[part], width, valid: &mask[own.clone()], options };
        losses.extend(item.losses());
        for (all, own) in gradients.iter_mut().zip(item.gradients(&wide(&grad[own]))) {
            all.extend(own);
        }
    }
    let mask = Tensor::new(&device, &[items, rows], mask).map_err(text)?;
    let grad = Tensor::new(&device, &[items, rows], grad).map_err(text)?;
    let got = info_nce(tensors, &mask, &options).map_err(text)?;
    check_equal(got.shape(), &[items, rows])?;
    let largest = losses.iter().fold(1.0 / f64::from(options.temperature), |m, l| m.max(l.abs()));
    check_close(&floats(&got)?, &losses, Tolerance::Absolute(for_losses * largest))
        .map_err(|e| format!("{options:?}: {e}"))?;
    let got = info_nce_backward(&grad, tensors, &mask, &options).map_err(text)?;
    for (side, (got, want)) in got.iter().zip(&gradients).enumerate() {
        check_equal(got.shape(), tensors[0].shape())?;
        check_equal(&[got.dtype()], &[tensors[0].dtype()])?;
        // A similarity of 1 / temperature is rounded before its exponential is taken, which is then divided by the temperature.
        let rounding = 4e-7 / f64::from(options.temperature).powi(2);
        let bound = rounding + for_gradients * want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        check_close(&floats(got)?, want, Tolerance::Absolute(bound))
            .map_err(|e| format!("gradient {side}, {options:?}: {e}"))?;
    }
    Ok(())
}

fn against_oracle(device: &Device, shape: [usize; 3], temperature: f32) -> Verdict {
    let [a, b] = descriptors(shape);
    let tensor = |values: &[f32]| Tensor::new(device, &shape, values.to_vec()).map_err(text);
    let tensors = [tensor(&a)?, tensor(&b)?];
    for options in all_options(temperature, 1e-8) {
        check(tensors.each_ref(), [&a, &b], options, [5e-6, 2e-5])?;
    }
    Ok(())
}

/// With an epsilon that some shares are below and others above.
fn cut_off(device: &Device) -> Verdict {
    let shape = [2, 30, 6];
    let [a, b] = descriptors(shape);
    let tensor = |values: &[f32]| Tensor::new(device, &shape, values.to_vec()).map_err(text);
    let tensors = [tensor(&a)?, tensor(&b)?];
    for options in all_options(0.2, 0.01) {
        check(tensors.each_ref(), [&a, &b], options, [5e-6, 2e-5])?;
    }
    Ok(())
}

fn f16_against_oracle(device: &Device) -> Verdict {
    let shape = [2, 70, 24];
    let [(a, a_held), (b, b_held)] = descriptors(shape).map(|v| f16_tensor(device, &shape, &v));
    for options in all_options(0.1, 1e-8) {
        check([&a, &b], [&a_held, &b_held], options, [5e-6, 1e-3])?;
    }
    Ok(())
}

/// `exp(1 / 0.005)` is more than f32 holds.
fn no_overflow(device: &Device) -> Verdict {
    let shape = [1, 40, 8];
    let [a, b] = descriptors(shape);
    let tensor = |values: &[f32]| Tensor::new(device, &shape, values.to_vec()).map_err(text);
    let tensors = [tensor(&a)?, tensor(&b)?];
    let options = InfoNceOptions { temperature: 0.005, ..Default::default() };
    check(tensors.each_ref(), [&a, &b], options, [5e-6, 1e-4])
}

/// All similarities are equal, so every share is 1 / rows.
fn equal_descriptors(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[1, 50, 4], vec![0.5f32; 200]).map_err(text)?;
    let mask = Tensor::new(device, &[1, 50], vec![1u8; 50]).map_err(text)?;
    let grad = Tensor::new(device, &[1, 50], vec![1f32; 50]).map_err(text)?;
    for options in all_options(0.05, 1e-8) {
        let want = if options.mode == InfoNceMode::All { 2500f64.ln() } else { 2.0 * 50f64.ln() };
        let got = floats(&info_nce([&x, &x], &mask, &options).map_err(text)?)?;
        check_close(&got, &[want; 50], Tolerance::Absolute(1e-4))?;
        for gradient in info_nce_backward(&grad, [&x, &x], &mask, &options).map_err(text)? {
            check_close(&floats(&gradient)?, &[0.0; 200], Tolerance::Absolute(1e-3))?;
        }
    }
    Ok(())
}

fn finite_differences(device: &Device) -> Verdict {
    let shape = [1, 6, 3];
    let [a, b] = descriptors(shape);
    let (mask, grad) = (valid(6), normal("info_nce/grad", 6));
    let tensor = |values: &[f32]| Tensor::new(device, &shape, values.to_vec()).map_err(text);
    let tensors = [tensor(&a)?, tensor(&b)?];
    let held = Tensor::new(device, &[1, 6], mask.clone()).map_err(text)?;
    let grads = Tensor::new(device, &[1, 6], grad.clone()).map_err(text)?;
    for options in all_options(0.3, 1e-8) {
        let loss = |a: &[f64], b: &[f64]| {
            let losses = Item { a, b, width: 3, valid: &mask, options }.losses();
            losses.iter().zip(&grad).map(|(l, &g)| l * f64::from(g)).sum::<f64>()
        };
        let (a, b) = (wide(&a), wide(&b));
        let want = [differences(&a, 1e-5, |x| loss(x, &b)), differences(&b, 1e-5, |x| loss(&a, x))];
        let got = info_nce_backward(&grads, tensors.each_ref(), &held, &options).map_err(text)?;
        for (got, want) in got.iter().zip(&want) {
            check_close(&floats(got)?, want, Tolerance::OfLargest(2e-5))
                .map_err(|e| format!("{options:?}: {e}"))?;
        }
    }
    Ok(())
}

fn no_items(device: &Device) -> Verdict {
    for shape in [[0, 3, 4], [2, 0, 4]] {
        let x = Tensor::zeros::<f32>(device, &shape);
        let (mask, grad) =
            (Tensor::zeros::<u8>(device, &shape[..2]), Tensor::zeros::<f32>(device, &shape[..2]));
        let options = InfoNceOptions { mode: InfoNceMode::All, ..Default::default() };
        check_equal(info_nce([&x, &x], &mask, &options).map_err(text)?.shape(), &shape[..2])?;
        let got = info_nce_backward(&grad, [&x, &x], &mask, &options).map_err(text)?;
        check_equal(got[1].shape(), &shape)?;
    }
    Ok(())
}

/// The last descriptor is none, so the others are compared without it.
fn nan_is_not_similar(device: &Device) -> Verdict {
    let [mut a, b] = descriptors([1, 5, 3]);
    a[12] = f32::NAN;
    let tensor =
        |rows: usize, v: &[f32]| Tensor::new(device, &[1, rows, 3], v[..rows * 3].to_vec()).map_err(text);
    let options = InfoNceOptions { temperature: 0.3, ..Default::default() };
    let mask = |rows: usize| Tensor::new(device, &[1, rows], vec![1u8; rows]).map_err(text);
    let with = info_nce([&tensor(5, &a)?, &tensor(5, &b)?], &mask(5)?, &options).map_err(text)?;
    let item = |rows: usize, columns: usize| {
        let similarity = |i: usize, k: usize| {
            (0..3).map(|c| f64::from(a[i * 3 + c]) * f64::from(b[k * 3 + c])).sum::<f64>() / f64::from(0.3f32)
        };
        (0..4)
            .map(|i| {
                let row: f64 = (0..columns).map(|k| similarity(i, k).exp()).sum();
                let column: f64 = (0..rows).map(|k| similarity(k, i).exp()).sum();
                row.ln() + column.ln() - 2.0 * similarity(i, i)
            })
            .collect::<Vec<f64>>()
    };
    check_close(&floats(&with)?[..4], &item(4, 5), Tolerance::OfLargest(1e-5))
}

fn shapes(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2, 3, 4]), Tensor::zeros::<u8>(device, &[2, 3]));
    let options = InfoNceOptions::default();
    let flat = Tensor::zeros::<f32>(device, &[6, 4]);
    expect_error(
        info_nce([&flat, &x], &mask, &options),
        "`descriptors[0]` must be [items, rows, width], got [6, 4]",
    )?;
    let none = Tensor::zeros::<f32>(device, &[2, 3, 0]);
    expect_error(
        info_nce([&none, &none], &mask, &options),
        "`descriptors[0]` must be [items, rows, width] with a width",
    )?;
    expect_error(info_nce([&x, &flat], &mask, &options), "`descriptors[1]` must be [2, 3, 4], got [6, 4]")?;
    let wrong = Tensor::zeros::<u8>(device, &[6]);
    expect_error(info_nce([&x, &x], &wrong, &options), "`valid` must be [2, 3], got [6]")?;
    let grad = Tensor::zeros::<f32>(device, &[]);
    expect_error(
        info_nce_backward(&grad, [&x, &x], &mask, &options),
        "`grad` must be [2, 3] as the loss, got []",
    )
}

fn wrong_options(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2, 3, 4]), Tensor::zeros::<u8>(device, &[2, 3]));
    for temperature in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let options = InfoNceOptions { temperature, ..Default::default() };
        expect_error(info_nce([&x, &x], &mask, &options), "`temperature` must be a finite number above 0")?;
    }
    for epsilon in [0.0, 1.0, f32::NAN] {
        let options = InfoNceOptions { epsilon, ..Default::default() };
        expect_error(info_nce([&x, &x], &mask, &options), "`epsilon` must be above 0 and below 1")?;
    }
    Ok(())
}

fn dtypes(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2, 3, 4]), Tensor::zeros::<u8>(device, &[2, 3]));
    let options = InfoNceOptions::default();
    let wrong = Tensor::zeros::<i32>(device, &[2, 3, 4]);
    expect_error(info_nce([&x, &wrong], &mask, &options), "`descriptors[1]` must hold f32")?;
    let wrong = Tensor::zeros::<f32>(device, &[2, 3]);
    expect_error(info_nce([&x, &x], &wrong, &options), "`valid` must hold u8, got f32")
}
