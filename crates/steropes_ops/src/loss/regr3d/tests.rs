use super::{PointNorm, PointView, Regr3dOptions, reference, regr3d, regr3d_backward};
use crate::loss::tests_support::differences;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("regr3d/oracle/one_point", |d| against_oracle(d, [1, 1, 1], false)),
        case("regr3d/oracle/odd_sizes", |d| against_oracle(d, [2, 5, 7], false)),
        case("regr3d/oracle/several_groups", |d| against_oracle(d, [3, 300, 41], false)),
        f16_case("regr3d/f16/odd_sizes", |d| against_oracle(d, [2, 5, 7], true)),
        case("regr3d/property/scale_does_not_matter", scale_does_not_matter),
        case("regr3d/property/exact_predictions", exact_predictions),
        case("regr3d/property/nothing_valid", nothing_valid),
        case("regr3d/property/no_items", no_items),
        cpu_case("regr3d/property/nan_outside_the_mask", nan_outside),
        small_bindings_case("regr3d/error/too_long", 1024, |d| {
            let (x, mask) = (Tensor::zeros::<f32>(d, &[1, 100, 3]), Tensor::zeros::<u8>(d, &[1, 100]));
            let view = PointView { prediction: &x, truth: &x, valid: &mask, sky: None };
            let said = "a tensor of 1200 bytes does not fit one binding";
            expect_error(regr3d(&[view, view], None, &Regr3dOptions::default()), said)
        }),
        case("regr3d/error/shapes", shapes),
        case("regr3d/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// One view on a device with the values that it holds.
struct Held {
    prediction: Tensor,
    truth: Tensor,
    valid: Tensor,
    sky: Tensor,
    items: Vec<reference::View>,
}

impl Held {
    fn new(device: &Device, name: &str, [items, points]: [usize; 2], f16: bool) -> Self {
        let shape = [items, points, 3];
        let count = items * points;
        let values = |what: &str| normal(&format!("regr3d/{name}/{what}"), 3 * count);
        let truth: Vec<f32> =
            values("truth").iter().enumerate().map(|(i, v)| v + [0.1, 0.2, 3.0][i % 3]).collect();
        let near: Vec<f32> = truth.iter().zip(values("noise")).map(|(t, n)| 0.4 * t + 0.2 * n).collect();
        let (prediction, near) = if f16 {
            f16_tensor(device, &shape, &near)
        } else {
            (Tensor::new(device, &shape, near.clone()).expect("values for the shape"), near)
        };
        let valid: Vec<u8> = (0..count).map(|i| u8::from(i % 5 != 2)).collect();
        let sky: Vec<u8> = (0..count).map(|i| u8::from(i % 10 == 2 || i % 10 == 3)).collect();
        let part = |i: usize| reference::View {
            prediction: near[3 * points * i..3 * points * (i + 1)].iter().map(|&v| v.into()).collect(),
            truth: truth[3 * points * i..3 * points * (i + 1)].iter().map(|&v| v.into()).collect(),
            valid: valid[points * i..points * (i + 1)].to_vec(),
            sky: sky[points * i..points * (i + 1)].to_vec(),
        };
        let items = (0..items).map(part).collect();
        let mask = |values: Vec<u8>| Tensor::new(device, &shape[..2], values).expect("values for the shape");
        let truth = Tensor::new(device, &shape, truth).expect("values for the shape");
        Self { prediction, truth, valid: mask(valid.clone()), sky: mask(sky.clone()), items }
    }

    fn view(&self) -> PointView<'_> {
        PointView {
            prediction: &self.prediction,
            truth: &self.truth,
            valid: &self.valid,
            sky: Some(&self.sky),
        }
    }
}

fn all_options() -> Vec<Regr3dOptions> {
    let mut all = Vec::new();
    for norm in [PointNorm::None, PointNorm::AvgDis, PointNorm::AvgLog1p] {
        for (truth_as_it_is, log) in [(false, false), (false, true), (true, false)] {
            all.push(Regr3dOptions { norm, truth_as_it_is, log, ..Default::default() });
        }
    }
    all
}

/// All options, with and without items whose scale is known; gradients of small problems against differences.
fn against_oracle(device: &Device, [items, first, second]: [usize; 3], f16: bool) -> Verdict {
    let held =
        [Held::new(device, "first", [items, first], f16), Held::new(device, "second", [items, second], f16)];
    let views = held.each_ref().map(Held::view);
    let is_metric: Vec<u8> = (0..items).map(|i| u8::from(i % 2 == 1)).collect();
    let metric = Tensor::new(device, &[items], is_metric.clone()).map_err(text)?;
    for options in all_options() {
        for known in [None, Some(&metric)] {
            check(&held, &views, known.map(|metric| (metric, is_metric.as_slice())), &options, f16)
                .map_err(|e| format!("{options:?}, {}: {e}", known.is_some()))?;
        }
    }
    Ok(())
}

fn check(
    held: &[Held; 2],
    views: &[PointView<'_>; 2],
    metric: Option<(&Tensor, &[u8])>,
    options: &Regr3dOptions,
    f16: bool,
) -> Verdict {
    let device = views[0].truth.device();
    let items = held[0].items.len();
    let known = |i: usize| metric.is_some_and(|(_, known)| known[i] != 0);
    let item = |i: usize| [held[0].items[i].clone(), held[1].items[i].clone()];
    let mut want = [Vec::new(), Vec::new()];
    for i in 0..items {
        for (all, own) in want.iter_mut().zip(reference::losses(&item(i), known(i), options)) {
            all.extend(own);
        }
    }
    let tensor = metric.map(|(tensor, _)| tensor);
    let got = regr3d(views, tensor, options).map_err(text)?;
    for k in 0..2 {
        check_equal(got[k].shape(), views[k].valid.shape())?;
        check_close(&floats(&got[k])?, &want[k], Tolerance::OfLargest(5e-6))
            .map_err(|e| format!("view {k}: {e}"))?;
    }
    if held[0].items[0].valid.len() > 50 {
        return Ok(());
    }
    let grads = [0, 1].map(|k| normal(&format!("regr3d/grad/{k}"), want[k].len()));
    let grad =
        |k: usize| Tensor::new(&device, views[k].valid.shape(), grads[k].clone()).expect("a value for each");
    let (first, second) = (grad(0), grad(1));
    let got = regr3d_backward([&first, &second], views, tensor, options).map_err(text)?;
    for k in 0..2 {
        let mut want = Vec::new();
        for i in 0..items {
            let views = item(i);
            let total = |x: &[f64]| {
                let mut views = views.clone();
                views[k].prediction = x.to_vec();
                let losses = reference::losses(&views, known(i), options);
                let sum = |v: usize| {
                    let own = &grads[v][i * losses[v].len()..];
                    losses[v].iter().zip(own).map(|(l, &g)| l * f64::from(g)).sum::<f64>()
                };
                sum(0) + sum(1)
            };
            want.extend(differences(&views[k].prediction, 1e-6, total));
        }
        check_equal(got[k].shape(), views[k].truth.shape())?;
        check_equal(&[got[k].dtype()], &[views[k].prediction.dtype()])?;
        let largest = want.iter().fold(1.0f64, |m, w| m.max(w.abs()));
        let bound = if f16 { 1e-3 } else { 2e-5 } * largest;
        check_close(&floats(&got[k])?, &want, Tolerance::Absolute(bound))
            .map_err(|e| format!("gradient {k}: {e}"))?;
    }
    Ok(())
}

fn scale_does_not_matter(device: &Device) -> Verdict {
    let held = [Held::new(device, "first", [1, 30], false), Held::new(device, "second", [1, 20], false)];
    let scaled = |t: &Tensor, by: f32| -> Result<Tensor, String> {
        let values = floats(t)?.iter().map(|v| v * by).collect();
        Tensor::new(device, t.shape(), values).map_err(text)
    };
    let options = Regr3dOptions::default();
    let views = held.each_ref().map(Held::view);
    let want = regr3d(&views, None, &options).map_err(text)?;
    let (p, q) = (scaled(&held[0].prediction, 7.0)?, scaled(&held[1].prediction, 7.0)?);
    let views = [PointView { prediction: &p, ..views[0] }, PointView { prediction: &q, ..views[1] }];
    let got = regr3d(&views, None, &options).map_err(text)?;
    let wide = |t: &Tensor| floats(t).map(|v| v.into_iter().map(f64::from).collect::<Vec<f64>>());
    check_close(&floats(&got[0])?, &wide(&want[0])?, Tolerance::OfLargest(1e-5))
}

fn exact_predictions(device: &Device) -> Verdict {
    let held = Held::new(device, "first", [1, 10], false);
    let view = PointView { prediction: &held.truth, sky: None, ..held.view() };
    let grad = Tensor::new(device, &[1, 10], vec![1f32; 10]).map_err(text)?;
    for options in all_options() {
        if options.truth_as_it_is {
            continue;
        }
        let got = regr3d(&[view, view], None, &options).map_err(text)?;
        // A GPU's quotients of equal numbers may differ by an ulp; a distance of that size has a gradient of length 1.
        let tolerance = Tolerance::Absolute(if device.gpu().is_some() { 1e-6 } else { 0.0 });
        check_close(&floats(&got[1])?, &[0.0; 10], tolerance)?;
        let got = regr3d_backward([&grad, &grad], &[view, view], None, &options).map_err(text)?;
        if device.gpu().is_none() {
            check_equal(&floats(&got[0])?, &[0.0; 30])?;
        }
    }
    Ok(())
}

fn nothing_valid(device: &Device) -> Verdict {
    let held = Held::new(device, "first", [1, 10], false);
    let (none, grad) = (Tensor::zeros::<u8>(device, &[1, 10]), Tensor::zeros::<f32>(device, &[1, 10]));
    let view = PointView { valid: &none, ..held.view() };
    let options = Regr3dOptions { sky_loss: 3.0, ..Default::default() };
    let got = regr3d(&[view, view], None, &options).map_err(text)?;
    check_equal(&floats(&got[0])?, &[0.0, 0.0, 3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])?;
    let got = regr3d_backward([&grad, &grad], &[view, view], None, &options).map_err(text)?;
    check_equal(&floats(&got[1])?, &[0.0; 30])
}

fn no_items(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[0, 4, 3]), Tensor::zeros::<u8>(device, &[0, 4]));
    let view = PointView { prediction: &x, truth: &x, valid: &mask, sky: Some(&mask) };
    let grad = Tensor::zeros::<f32>(device, &[0, 4]);
    let options = Regr3dOptions::default();
    check_equal(regr3d(&[view, view], None, &options).map_err(text)?[0].shape(), &[0, 4])?;
    let got = regr3d_backward([&grad, &grad], &[view, view], None, &options).map_err(text)?;
    check_equal(got[1].shape(), &[0, 4, 3])
}

fn nan_outside(device: &Device) -> Verdict {
    let held = Held::new(device, "first", [1, 10], false);
    let mut values = floats(&held.truth)?;
    values[6] = f32::NAN;
    let truth = Tensor::new(device, &[1, 10, 3], values).map_err(text)?;
    let view = PointView { truth: &truth, ..held.view() };
    let got = regr3d(&[view, view], None, &Regr3dOptions::default()).map_err(text)?;
    check_equal(&[floats(&got[0])?.iter().all(|v| v.is_finite())], &[true])
}

fn shapes(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2, 4, 3]), Tensor::zeros::<u8>(device, &[2, 4]));
    let view = PointView { prediction: &x, truth: &x, valid: &mask, sky: None };
    let options = Regr3dOptions::default();
    let run = |view: PointView<'_>| regr3d(&[view, view], None, &options);
    let flat = Tensor::zeros::<f32>(device, &[8, 4]);
    let other = Tensor::zeros::<f32>(device, &[3, 4, 3]);
    expect_error(
        run(PointView { prediction: &flat, ..view }),
        "`prediction` must be [8, .., 3] with the items",
    )?;
    expect_error(run(PointView { truth: &other, ..view }), "`truth` must be [2, 4, 3], got [3, 4, 3]")?;
    let short = Tensor::zeros::<u8>(device, &[8]);
    expect_error(run(PointView { valid: &short, ..view }), "`valid` must be [2, 4], got [8]")?;
    expect_error(run(PointView { sky: Some(&short), ..view }), "`sky` must be [2, 4], got [8]")?;
    let third = Tensor::zeros::<u8>(device, &[3, 4]);
    let more = PointView { prediction: &other, truth: &other, valid: &third, sky: None };
    expect_error(
        regr3d(&[view, more], None, &options),
        "`prediction` must be [2, .., 3] with the items of the first view",
    )?;
    expect_error(regr3d(&[view, view], Some(&short), &options), "`metric` must be [2], got [8]")?;
    expect_error(
        regr3d_backward([&flat, &flat], &[view, view], None, &options),
        "`grad` must be [2, 4] as the loss",
    )
}

fn dtypes(device: &Device) -> Verdict {
    let (x, mask) = (Tensor::zeros::<f32>(device, &[2, 4, 3]), Tensor::zeros::<u8>(device, &[2, 4]));
    let view = PointView { prediction: &x, truth: &x, valid: &mask, sky: None };
    let options = Regr3dOptions::default();
    let run = |view: PointView<'_>| regr3d(&[view, view], None, &options);
    let whole = Tensor::zeros::<i32>(device, &[2, 4, 3]);
    expect_error(run(PointView { prediction: &whole, ..view }), "`prediction` must hold f32")?;
    expect_error(run(PointView { truth: &whole, ..view }), "`truth` must hold f32, got i32")?;
    let wrong = Tensor::zeros::<f32>(device, &[2, 4]);
    expect_error(run(PointView { valid: &wrong, ..view }), "`valid` must hold u8, got f32")?;
    expect_error(run(PointView { sky: Some(&wrong), ..view }), "`sky` must hold u8, got f32")
}
