use super::{js_divergence, js_divergence_backward, reference};
use crate::loss::Reduction;
use crate::loss::pointwise::tests::{Subject, log_probabilities};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, floats,
    small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("js_divergence/oracle/one_value", |d| against_oracle(d, &[1])),
        case("js_divergence/oracle/odd_sizes", |d| against_oracle(d, &[3, 5, 37])),
        case("js_divergence/oracle/several_groups", |d| against_oracle(d, &[5, 2000])),
        case("js_divergence/oracle/all_distances", all_distances),
        small_bindings_case("js_divergence/oracle/ranges", 8192, |d| against_oracle(d, &[7, 1000])),
        f16_case("js_divergence/f16/odd_sizes", |d| {
            let [p, q] = arguments(&[3, 5, 37]);
            subject(|s| s.check_f16(d, &[3, 5, 37], &p, &q))
        }),
        case("js_divergence/property/almost_equal", almost_equal),
        case("js_divergence/property/disjoint_is_ln_2", disjoint),
        case("js_divergence/property/slopes", |_| {
            subject(|s| s.check_slopes(&[-0.3, -2.0, -5.0], &[-1.0, -1.9, -0.2]))
        }),
        case("js_divergence/property/empty", |d| subject(|s| s.check_empty(d))),
        cpu_case("js_divergence/property/nan", nan),
        case("js_divergence/error/shapes", shapes),
        case("js_divergence/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn subject(check: impl Fn(&Subject<'_>) -> Verdict) -> Verdict {
    check(&Subject {
        forward: &|a, b, reduction| js_divergence(a, b, reduction),
        backward: &|grad, a, b, reduction| js_divergence_backward(grad, a, b, reduction),
        losses: &|a, b| a.iter().zip(b).map(|(&a, &b)| reference::loss(a, b)).collect(),
        slopes: &reference::slopes,
    })
}

fn arguments(shape: &[usize]) -> [Vec<f32>; 2] {
    let (count, width) = (shape.iter().product(), *shape.last().expect("an axis"));
    ["js_divergence/p", "js_divergence/q"].map(|name| log_probabilities(name, count, width))
}

fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let [p, q] = arguments(shape);
    subject(|s| s.check(device, shape, &p, &q))
}

/// Each loss against itself, not against the largest, on both sides of where the form changes.
fn all_distances(device: &Device) -> Verdict {
    let q: Vec<f32> = (0..400).map(|i| -1.0 - 0.01 * i as f32).collect();
    let p = vec![-1.0f32; 400];
    let tensor = |v: &[f32]| Tensor::new(device, &[400], v.to_vec()).map_err(text);
    let got = floats(&js_divergence(&tensor(&p)?, &tensor(&q)?, Reduction::None).map_err(text)?)?;
    for i in 0..400 {
        let want = reference::loss(p[i].into(), q[i].into());
        check_close(&got[i..=i], &[want], Tolerance::Absolute(5e-6 * want + 1e-16))
            .map_err(|e| format!("{i}: {e}"))?;
    }
    Ok(())
}

fn almost_equal(device: &Device) -> Verdict {
    let p = log_probabilities("js_divergence/p", 64, 64);
    let q: Vec<f32> =
        p.iter().zip(normal("js_divergence/step", 64)).map(|(p, step)| p + 1e-3 * step).collect();
    let want: f64 = p.iter().zip(&q).map(|(&p, &q)| reference::loss(p.into(), q.into())).sum();
    let tensor = |v: Vec<f32>| Tensor::new(device, &[64], v).map_err(text);
    let got = js_divergence(&tensor(p)?, &tensor(q)?, Reduction::Sum).map_err(text)?;
    check_close(&floats(&got)?, &[want], Tolerance::OfLargest(1e-5))
}

fn disjoint(device: &Device) -> Verdict {
    let tensor = |v: [f32; 3]| Tensor::new(device, &[1, 3], v.to_vec()).map_err(text);
    let (p, q) =
        (tensor([0.0, f32::NEG_INFINITY, -1e30])?, tensor([f32::NEG_INFINITY, 0.0, f32::NEG_INFINITY])?);
    let got = js_divergence(&p, &q, Reduction::BatchMean).map_err(text)?;
    check_close(&floats(&got)?, &[2f64.ln()], Tolerance::OfLargest(1e-6))?;
    let grad = Tensor::new(device, &[], vec![1.0f32]).map_err(text)?;
    let [dp, dq] = js_divergence_backward(&grad, &p, &q, Reduction::Sum).map_err(text)?;
    check_close(&floats(&dp)?, &[0.5 * 2f64.ln(), 0.0, 0.0], Tolerance::OfLargest(1e-4))?;
    check_close(&floats(&dq)?, &[0.0, 0.5 * 2f64.ln(), 0.0], Tolerance::OfLargest(1e-4))
}

fn nan(device: &Device) -> Verdict {
    let tensor = |v: [f32; 2]| Tensor::new(device, &[2], v.to_vec()).map_err(text);
    let got =
        js_divergence(&tensor([-1.0, f32::NAN])?, &tensor([-1.0, -1.0])?, Reduction::None).map_err(text)?;
    check_equal(&floats(&got)?.iter().map(|v| v.is_nan()).collect::<Vec<bool>>(), &[false, true])
}

fn shapes(device: &Device) -> Verdict {
    let (x, wrong) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[6]));
    expect_error(js_divergence(&x, &wrong, Reduction::Sum), "`log_q` must be [2, 3], got [6]")?;
    expect_error(
        js_divergence_backward(&x, &x, &x, Reduction::Mean),
        "`grad` must be [] as the loss, got [2, 3]",
    )?;
    let one = Tensor::zeros::<f32>(device, &[]);
    expect_error(js_divergence(&one, &one, Reduction::BatchMean), "`log_p` must be [batch, ..], got []")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, wrong) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<i32>(device, &[2]));
    expect_error(js_divergence(&wrong, &x, Reduction::Sum), "`log_p` must hold f32")?;
    expect_error(js_divergence(&x, &wrong, Reduction::Sum), "`log_q` must hold f32")
}
