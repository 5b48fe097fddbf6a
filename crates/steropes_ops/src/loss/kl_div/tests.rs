use super::{KlTarget, kl_div, kl_div_backward, reference};
use crate::loss::Reduction;
use crate::loss::pointwise::tests::{Subject, log_probabilities};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, floats,
    small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("kl_div/oracle/one_value", |d| against_oracle(d, &[1])),
        case("kl_div/oracle/odd_sizes", |d| against_oracle(d, &[3, 5, 37])),
        case("kl_div/oracle/several_groups", |d| against_oracle(d, &[5, 2000])),
        small_bindings_case("kl_div/oracle/ranges", 8192, |d| against_oracle(d, &[7, 1000])),
        f16_case("kl_div/f16/odd_sizes", f16_against_oracle),
        case("kl_div/property/of_equal_distributions_is_zero", equal_distributions),
        case("kl_div/property/no_probability_no_divergence", no_probability),
        case("kl_div/property/slopes", slopes),
        case("kl_div/property/empty", |d| {
            subject(KlTarget::Probabilities, |s| s.check_empty(d))?;
            subject(KlTarget::Logarithms, |s| s.check_empty(d))
        }),
        cpu_case("kl_div/property/nan", nan),
        case("kl_div/error/shapes", shapes),
        case("kl_div/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn subject(kind: KlTarget, check: impl Fn(&Subject<'_>) -> Verdict) -> Verdict {
    let pair = |a: f64, b: f64| match kind {
        KlTarget::Probabilities => reference::loss(a, b),
        KlTarget::Logarithms => reference::loss(a, b.exp()),
    };
    check(&Subject {
        forward: &|a, b, reduction| kl_div(a, b, kind, reduction),
        backward: &|grad, a, b, reduction| kl_div_backward(grad, a, b, kind, reduction),
        losses: &|a, b| a.iter().zip(b).map(|(&a, &b)| pair(a, b)).collect(),
        slopes: &|a, b| match kind {
            KlTarget::Probabilities => reference::slopes(a, b),
            KlTarget::Logarithms => reference::log_slopes(a, b),
        },
    })
    .map_err(|e| format!("{kind:?}: {e}"))
}

fn arguments(shape: &[usize]) -> [Vec<f32>; 3] {
    let (count, width) = (shape.iter().product(), *shape.last().expect("an axis"));
    let [q, log_p] = ["kl_div/q", "kl_div/p"].map(|name| log_probabilities(name, count, width));
    let mut p: Vec<f32> = log_p.iter().map(|v| v.exp()).collect();
    // Labels are often exactly 0.
    p.iter_mut().skip(1).step_by(3).for_each(|p| *p = 0.0);
    [q, log_p, p]
}

fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let [q, log_p, p] = arguments(shape);
    subject(KlTarget::Probabilities, |s| s.check(device, shape, &q, &p))?;
    subject(KlTarget::Logarithms, |s| s.check(device, shape, &q, &log_p))
}

fn f16_against_oracle(device: &Device) -> Verdict {
    let shape = [3, 5, 37];
    let [q, log_p, p] = arguments(&shape);
    subject(KlTarget::Probabilities, |s| s.check_f16(device, &shape, &q, &p))?;
    subject(KlTarget::Logarithms, |s| s.check_f16(device, &shape, &q, &log_p))
}

fn equal_distributions(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[4, 9], log_probabilities("kl_div/p", 36, 9)).map_err(text)?;
    check_equal(&floats(&kl_div(&x, &x, KlTarget::Logarithms, Reduction::BatchMean).map_err(text)?)?, &[0.0])
}

fn no_probability(device: &Device) -> Verdict {
    let tensor = |values: Vec<f32>| Tensor::new(device, &[3], values).map_err(text);
    let input = tensor(vec![-1.0, -2.0, -1e30])?;
    let grad = tensor(vec![1.0; 3])?;
    for (target, kind) in [
        (vec![0.5, 0.0, 0.0], KlTarget::Probabilities),
        (vec![0.5f32.ln(), -1e30, -300.0], KlTarget::Logarithms),
    ] {
        let target = tensor(target)?;
        let got = floats(&kl_div(&input, &target, kind, Reduction::None).map_err(text)?)?;
        check_close(&got, &[0.5 * (0.5f64.ln() + 1.0), 0.0, 0.0], Tolerance::OfLargest(2e-6))?;
        for gradient in kl_div_backward(&grad, &input, &target, kind, Reduction::None).map_err(text)? {
            check_equal(&floats(&gradient)?[1..], &[0.0; 2])?;
        }
    }
    Ok(())
}

fn slopes(_: &Device) -> Verdict {
    let (input, target) = ([-0.3, -2.0, -5.0], [0.7, 0.2, 0.05]);
    subject(KlTarget::Probabilities, |s| s.check_slopes(&input, &target))?;
    subject(KlTarget::Logarithms, |s| s.check_slopes(&input, &[-0.1, -1.0, -4.0]))
}

fn nan(device: &Device) -> Verdict {
    let tensor = |values: Vec<f32>| Tensor::new(device, &[3], values).map_err(text);
    let (input, target) = (tensor(vec![-1.0, f32::NAN, -1.0])?, tensor(vec![0.5, 0.5, f32::NAN])?);
    let got = floats(&kl_div(&input, &target, KlTarget::Probabilities, Reduction::None).map_err(text)?)?;
    check_equal(&got.iter().map(|v| v.is_nan()).collect::<Vec<bool>>(), &[false, true, true])
}

fn shapes(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let wrong = Tensor::zeros::<f32>(device, &[3, 2]);
    let kind = KlTarget::Probabilities;
    expect_error(kl_div(&x, &wrong, kind, Reduction::Sum), "`target` must be [2, 3], got [3, 2]")?;
    expect_error(
        kl_div_backward(&x, &x, &x, kind, Reduction::Sum),
        "`grad` must be [] as the loss, got [2, 3]",
    )?;
    let one = Tensor::zeros::<f32>(device, &[]);
    expect_error(kl_div(&one, &one, kind, Reduction::BatchMean), "`input` must be [batch, ..], got []")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, wrong) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<i32>(device, &[2]));
    let kind = KlTarget::Logarithms;
    expect_error(kl_div(&wrong, &x, kind, Reduction::Sum), "`input` must hold f32")?;
    expect_error(kl_div(&x, &wrong, kind, Reduction::Sum), "`target` must hold f32")?;
    let grad = Tensor::zeros::<u8>(device, &[]);
    expect_error(kl_div_backward(&grad, &x, &x, kind, Reduction::Sum), "`grad` must hold f32, got u8")
}
