use super::{
    ConfMatchingOptions, ConfidenceMode, conf_matching_loss, conf_matching_loss_backward, reference,
};
use crate::loss::tests_support::differences;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("conf_matching_loss/oracle/one_value", |d| against_oracle(d, &[1], false)),
        case("conf_matching_loss/oracle/odd_sizes", |d| against_oracle(d, &[2, 24], false)),
        case("conf_matching_loss/oracle/several_groups", |d| against_oracle(d, &[2, 2500], false)),
        f16_case("conf_matching_loss/f16/odd_sizes", |d| against_oracle(d, &[2, 24], true)),
        case("conf_matching_loss/property/equal_losses", equal_losses),
        case("conf_matching_loss/property/no_matches", no_matches),
        case("conf_matching_loss/property/no_rows", no_rows),
        cpu_case("conf_matching_loss/property/nan", nan),
        small_bindings_case("conf_matching_loss/error/too_long", 1024, |d| {
            let (x, valid) = (Tensor::zeros::<f32>(d, &[300]), Tensor::zeros::<u8>(d, &[300]));
            let options = ConfMatchingOptions::default();
            let said = "a tensor of 1200 bytes does not fit one binding";
            expect_error(conf_matching_loss(&x, [&x, &x], &valid, &options), said)
        }),
        case("conf_matching_loss/error/shapes", shapes),
        case("conf_matching_loss/error/options", wrong_options),
        case("conf_matching_loss/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

fn all_options() -> Vec<ConfMatchingOptions> {
    let mut all = Vec::new();
    for mode in [ConfidenceMode::Mean, ConfidenceMode::Product] {
        for negative_quantile in [None, Some(0.0), Some(0.8), Some(1.0)] {
            all.push(ConfMatchingOptions { alpha: 2.0, mode, negative_quantile });
        }
    }
    all
}

fn against_oracle(device: &Device, shape: &[usize], f16: bool) -> Verdict {
    let count: usize = shape.iter().product();
    let loss: Vec<f32> = normal("conf_matching/loss", count).iter().map(|v| v.abs()).collect();
    let tensor = |values: &[f32]| Tensor::new(device, shape, values.to_vec()).map_err(text);
    let confidences = ["conf_matching/a", "conf_matching/b"].map(|name| {
        let values: Vec<f32> = normal(name, count).iter().map(|v| v.exp()).collect();
        if f16 { f16_tensor(device, shape, &values) } else { (tensor(&values).expect("values"), values) }
    });
    let [(a, a_held), (b, b_held)] = &confidences;
    let valid: Vec<u8> = (0..count).map(|i| u8::from(i % 3 != 1)).collect();
    let held_valid = Tensor::new(device, shape, valid.clone()).map_err(text)?;
    let loss_tensor = tensor(&loss)?;
    let (l, c) = (wide(&loss), [wide(a_held), wide(b_held)]);
    let grad = Tensor::new(device, &[], vec![1.5f32]).map_err(text)?;
    for options in all_options() {
        let quantile = reference::quantile(&l, &valid, f64::from(options.negative_quantile.unwrap_or(0.0)));
        let of = |l: &[f64], a: &[f64], b: &[f64]| {
            reference::conf_matching_loss(l, [a, b], &valid, &options, quantile)
        };
        let got = conf_matching_loss(&loss_tensor, [a, b], &held_valid, &options).map_err(text)?;
        check_equal(got.shape(), &[])?;
        check_close(&floats(&got)?, &[of(&l, &c[0], &c[1])], Tolerance::Absolute(2e-5))
            .map_err(|e| format!("{options:?}: {e}"))?;
        if count > 100 {
            continue;
        }
        let want = [
            differences(&l, 1e-6, |l| of(l, &c[0], &c[1])),
            differences(&c[0], 1e-6, |a| of(&l, a, &c[1])),
            differences(&c[1], 1e-6, |b| of(&l, &c[0], b)),
        ];
        let got =
            conf_matching_loss_backward(&grad, &loss_tensor, [a, b], &held_valid, &options).map_err(text)?;
        for (k, (got, want)) in got.iter().zip(want).enumerate() {
            let want: Vec<f64> = want.iter().map(|w| 1.5 * w).collect();
            check_equal(got.shape(), shape)?;
            let bound = if f16 && k > 0 { 5e-4 } else { 3e-6 };
            check_close(&floats(got)?, &want, Tolerance::OfLargest(bound))
                .map_err(|e| format!("gradient {k}, {options:?}: {e}"))?;
        }
    }
    Ok(())
}

/// Equal losses have different ranks, and their quantile is what they are.
fn equal_losses(device: &Device) -> Verdict {
    let tensor = |values: [f32; 4]| Tensor::new(device, &[4], values.to_vec()).map_err(text);
    let (loss, c) = (tensor([3.0, 3.0, 3.0, 9.0])?, tensor([1.0; 4])?);
    let valid = Tensor::new(device, &[4], vec![1u8, 1, 1, 0]).map_err(text)?;
    let options = ConfMatchingOptions { negative_quantile: Some(0.7), ..Default::default() };
    check_equal(&floats(&conf_matching_loss(&loss, [&c, &c], &valid, &options).map_err(text)?)?, &[6.0])
}

/// Then what is no match has a weight of 0.
fn no_matches(device: &Device) -> Verdict {
    let tensor = |values: [f32; 2]| Tensor::new(device, &[2], values.to_vec()).map_err(text);
    let (loss, c) = (tensor([3.0, 4.0])?, tensor([2.0, 2.0])?);
    let valid = Tensor::zeros::<u8>(device, &[2]);
    let options = ConfMatchingOptions { negative_quantile: Some(0.7), alpha: 1.0, ..Default::default() };
    let got = floats(&conf_matching_loss(&loss, [&c, &c], &valid, &options).map_err(text)?)?;
    check_close(&got, &[-2f64.ln()], Tolerance::OfLargest(1e-6))?;
    let options = ConfMatchingOptions { negative_quantile: None, ..options };
    check_equal(&floats(&conf_matching_loss(&loss, [&c, &c], &valid, &options).map_err(text)?)?, &[0.0])
}

fn no_rows(device: &Device) -> Verdict {
    let (x, valid) = (Tensor::zeros::<f32>(device, &[0]), Tensor::zeros::<u8>(device, &[0]));
    let grad = Tensor::zeros::<f32>(device, &[]);
    for negative_quantile in [None, Some(0.5)] {
        let options = ConfMatchingOptions { negative_quantile, ..Default::default() };
        check_equal(&floats(&conf_matching_loss(&x, [&x, &x], &valid, &options).map_err(text)?)?, &[0.0])?;
        let got = conf_matching_loss_backward(&grad, &x, [&x, &x], &valid, &options).map_err(text)?;
        check_equal(got[2].shape(), &[0])?;
    }
    Ok(())
}

fn nan(device: &Device) -> Verdict {
    let tensor = |values: [f32; 2]| Tensor::new(device, &[2], values.to_vec()).map_err(text);
    let (loss, c) = (tensor([f32::NAN, 4.0])?, tensor([2.0, 2.0])?);
    let valid = Tensor::new(device, &[2], vec![1u8, 1]).map_err(text)?;
    let got = conf_matching_loss(&loss, [&c, &c], &valid, &ConfMatchingOptions::default()).map_err(text)?;
    check_equal(&[floats(&got)?[0].is_nan()], &[true])
}

fn shapes(device: &Device) -> Verdict {
    let (x, valid) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<u8>(device, &[2, 3]));
    let options = ConfMatchingOptions::default();
    let wrong = Tensor::zeros::<f32>(device, &[6]);
    let run = |c: [&Tensor; 2], valid: &Tensor| conf_matching_loss(&x, c, valid, &options);
    expect_error(run([&wrong, &x], &valid), "`confidences[0]` must be [2, 3], got [6]")?;
    expect_error(run([&x, &wrong], &valid), "`confidences[1]` must be [2, 3], got [6]")?;
    let short = Tensor::zeros::<u8>(device, &[3]);
    expect_error(run([&x, &x], &short), "`valid` must be [2, 3], got [3]")?;
    expect_error(
        conf_matching_loss_backward(&x, &x, [&x, &x], &valid, &options),
        "`grad` must be [] as the loss, got [2, 3]",
    )
}

fn wrong_options(device: &Device) -> Verdict {
    let (x, valid) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<u8>(device, &[2]));
    for alpha in [-1.0, f32::NAN, f32::INFINITY] {
        let options = ConfMatchingOptions { alpha, ..Default::default() };
        expect_error(
            conf_matching_loss(&x, [&x, &x], &valid, &options),
            "`alpha` must be a finite number from 0 on",
        )?;
    }
    for q in [-0.1, 1.1, f32::NAN] {
        let options = ConfMatchingOptions { negative_quantile: Some(q), ..Default::default() };
        expect_error(
            conf_matching_loss(&x, [&x, &x], &valid, &options),
            "`negative_quantile` must be from 0 to 1",
        )?;
    }
    Ok(())
}

fn dtypes(device: &Device) -> Verdict {
    let (x, valid) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<u8>(device, &[2]));
    let options = ConfMatchingOptions::default();
    expect_error(conf_matching_loss(&valid, [&x, &x], &valid, &options), "`loss` must hold f32, got u8")?;
    expect_error(conf_matching_loss(&x, [&x, &valid], &valid, &options), "`confidences[1]` must hold f32")?;
    expect_error(conf_matching_loss(&x, [&x, &x], &x, &options), "`valid` must hold u8, got f32")
}
