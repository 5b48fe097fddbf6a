use super::{conf_loss, conf_loss_backward, reference};
use crate::loss::tests_support::differences;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("conf_loss/oracle/one_value", |d| against_oracle(d, &[1])),
        case("conf_loss/oracle/odd_sizes", |d| against_oracle(d, &[2, 9, 11])),
        case("conf_loss/oracle/several_groups", |d| against_oracle(d, &[2, 4500])),
        f16_case("conf_loss/f16/odd_sizes", f16_against_oracle),
        case("conf_loss/property/nothing_in_the_mask", nothing),
        case("conf_loss/property/outside_the_mask_does_not_count", outside),
        case("conf_loss/property/slopes", slopes),
        cpu_case("conf_loss/property/nan", nan),
        small_bindings_case("conf_loss/error/too_long", 1024, |d| {
            let (x, mask) = (Tensor::zeros::<f32>(d, &[300]), Tensor::zeros::<u8>(d, &[300]));
            expect_error(conf_loss(&x, &x, &mask, 0.2), "a tensor of 1200 bytes does not fit one binding")
        }),
        case("conf_loss/error/shapes", shapes),
        case("conf_loss/error/alpha", alpha),
        case("conf_loss/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v.into()).collect()
}

/// Losses, confidences above 1 and a mask.
fn arguments(count: usize) -> (Vec<f32>, Vec<f32>, Vec<u8>) {
    let loss = normal("conf_loss/loss", count).iter().map(|v| v.abs()).collect();
    let confidence = normal("conf_loss/confidence", count).iter().map(|v| 1.0 + v.exp()).collect();
    (loss, confidence, (0..count).map(|i| u8::from(i % 4 != 1) * 3).collect())
}

fn check(loss: &Tensor, confidence: &Tensor, held: [&[f32]; 2], mask: &[u8], f16: bool) -> Verdict {
    let device = loss.device();
    let [l, c] = held.map(wide);
    let alpha = 0.2f32;
    let want = reference::conf_loss(&l, &c, mask, f64::from(alpha));
    let held_mask = Tensor::new(&device, loss.shape(), mask.to_vec()).map_err(text)?;
    let got = conf_loss(loss, confidence, &held_mask, alpha).map_err(text)?;
    check_equal(got.shape(), &[])?;
    let size: f64 = l.iter().zip(&c).map(|(l, c)| l * c + 0.2 * c.ln()).sum::<f64>() / l.len() as f64;
    check_close(&floats(&got)?, &[want], Tolerance::Absolute(4e-6 * size))?;
    let grad = Tensor::new(&device, &[], vec![1.5f32]).map_err(text)?;
    let got = conf_loss_backward(&grad, loss, confidence, &held_mask, alpha).map_err(text)?;
    for (k, want) in reference::gradients(&l, &c, mask, f64::from(alpha)).into_iter().enumerate() {
        let want: Vec<f64> = want.iter().map(|w| 1.5 * w).collect();
        let bound = if f16 && k == 1 { 5e-4 } else { 3e-6 };
        check_equal(got[k].shape(), loss.shape())?;
        check_close(&floats(&got[k])?, &want, Tolerance::OfLargest(bound))
            .map_err(|e| format!("gradient {k}: {e}"))?;
    }
    Ok(())
}

fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let (loss, confidence, mask) = arguments(shape.iter().product());
    let tensor = |values: &[f32]| Tensor::new(device, shape, values.to_vec()).map_err(text);
    check(&tensor(&loss)?, &tensor(&confidence)?, [&loss, &confidence], &mask, false)
}

fn f16_against_oracle(device: &Device) -> Verdict {
    let shape = [2, 9, 11];
    let (loss, confidence, mask) = arguments(198);
    let (held, rounded) = f16_tensor(device, &shape, &confidence);
    let tensor = Tensor::new(device, &shape, loss.clone()).map_err(text)?;
    check(&tensor, &held, [&loss, &rounded], &mask, true)
}

fn nothing(device: &Device) -> Verdict {
    for count in [0, 5] {
        let (loss, confidence, _) = arguments(count);
        let tensor = |values: Vec<f32>| Tensor::new(device, &[count], values).map_err(text);
        let (loss, confidence, mask) =
            (tensor(loss)?, tensor(confidence)?, Tensor::zeros::<u8>(device, &[count]));
        check_equal(&floats(&conf_loss(&loss, &confidence, &mask, 0.2).map_err(text)?)?, &[0.0])?;
        let grad = Tensor::new(device, &[], vec![1f32]).map_err(text)?;
        for gradient in conf_loss_backward(&grad, &loss, &confidence, &mask, 0.2).map_err(text)? {
            check_equal(&floats(&gradient)?, &vec![0.0; count])?;
        }
    }
    Ok(())
}

/// A confidence of 0 outside the mask has no logarithm that matters.
fn outside(device: &Device) -> Verdict {
    let tensor = |values: Vec<f32>| Tensor::new(device, &[2], values).map_err(text);
    let (loss, confidence) = (tensor(vec![3.0, 1e30])?, tensor(vec![2.0, 0.0])?);
    let mask = Tensor::new(device, &[2], vec![1u8, 0]).map_err(text)?;
    let got = conf_loss(&loss, &confidence, &mask, 0.5).map_err(text)?;
    check_close(&floats(&got)?, &[6.0 - 0.5 * 2f64.ln()], Tolerance::OfLargest(1e-6))?;
    let grad = Tensor::new(device, &[], vec![1f32]).map_err(text)?;
    let [by_loss, by_confidence] = conf_loss_backward(&grad, &loss, &confidence, &mask, 0.5).map_err(text)?;
    check_equal(&floats(&by_loss)?, &[2.0, 0.0])?;
    check_equal(&floats(&by_confidence)?, &[2.75, 0.0])
}

/// The gradients of the oracle against differences.
fn slopes(_: &Device) -> Verdict {
    let (loss, confidence, mask) = arguments(7);
    let (l, c) = (wide(&loss), wide(&confidence));
    let [by_loss, by_confidence] = reference::gradients(&l, &c, &mask, 0.2);
    let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect::<Vec<f32>>();
    let want = differences(&l, 1e-5, |l| reference::conf_loss(l, &c, &mask, 0.2));
    check_close(&narrow(by_loss), &want, Tolerance::OfLargest(1e-6))?;
    let want = differences(&c, 1e-5, |c| reference::conf_loss(&l, c, &mask, 0.2));
    check_close(&narrow(by_confidence), &want, Tolerance::OfLargest(1e-6))
}

fn nan(device: &Device) -> Verdict {
    let tensor = |values: Vec<f32>| Tensor::new(device, &[2], values).map_err(text);
    let (loss, confidence) = (tensor(vec![3.0, f32::NAN])?, tensor(vec![2.0, 2.0])?);
    let mask = Tensor::new(device, &[2], vec![1u8, 1]).map_err(text)?;
    check_equal(&[floats(&conf_loss(&loss, &confidence, &mask, 0.5).map_err(text)?)?[0].is_nan()], &[true])
}

fn shapes(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<u8>(device, &[2, 3]));
    let wrong = Tensor::zeros::<f32>(device, &[6]);
    expect_error(conf_loss(&x, &wrong, &mask, 0.2), "`confidence` must be [2, 3], got [6]")?;
    let short = Tensor::zeros::<u8>(device, &[3]);
    expect_error(conf_loss(&x, &x, &short, 0.2), "`mask` must be [2, 3], got [3]")?;
    expect_error(conf_loss_backward(&x, &x, &x, &mask, 0.2), "`grad` must be [] as the loss, got [2, 3]")
}

fn alpha(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<u8>(device, &[2]));
    for alpha in [-0.1, f32::NAN, f32::INFINITY] {
        expect_error(conf_loss(&x, &x, &mask, alpha), "`alpha` must be a finite number from 0 on")?;
    }
    Ok(())
}

fn dtypes(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<u8>(device, &[2]));
    expect_error(conf_loss(&mask, &x, &mask, 0.2), "`loss` must hold f32, got u8")?;
    expect_error(conf_loss(&x, &mask, &mask, 0.2), "`confidence` must hold f32")?;
    expect_error(conf_loss(&x, &x, &x, 0.2), "`mask` must hold u8, got f32")
}
