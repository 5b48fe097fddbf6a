use super::super::{bytes, normal};
use super::{ConfidenceMode, DepthMode, confidence, pointmap, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor,
};

const OPEN: ConfidenceMode = ConfidenceMode::Exp { min: 1.0, max: f32::INFINITY };
const CAPPED: ConfidenceMode = ConfidenceMode::Exp { min: 0.5, max: 2.0 };
const SIGMOID: ConfidenceMode = ConfidenceMode::Sigmoid { min: 0.5, max: 3.0 };

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = vec![
        case("pointmap/oracle/one_pixel", |d| against_oracle(d, [1, 1, 1, 4], DepthMode::Exp, OPEN)),
        case("pointmap/oracle/odd_sizes", |d| against_oracle(d, [3, 7, 11, 4], DepthMode::Exp, OPEN)),
        case("pointmap/oracle/square_capped", |d| {
            against_oracle(d, [2, 5, 13, 4], DepthMode::Square, CAPPED)
        }),
        case("pointmap/oracle/linear_sigmoid", |d| {
            against_oracle(d, [2, 5, 13, 4], DepthMode::Linear, SIGMOID)
        }),
        case("pointmap/oracle/mast3r", |d| against_oracle(d, [1, 96, 128, 4], DepthMode::Exp, OPEN)),
        case("pointmap/oracle/all_magnitudes", all_magnitudes),
        f16_case("pointmap/f16/all_magnitudes", f16_all_magnitudes),
        f16_case("pointmap/f16/nan_comes_through", |d| nan_comes_through(d, true)),
        f16_case("pointmap/f16/odd_sizes", |d| f16_against_oracle(d, [3, 7, 11, 4], DepthMode::Exp, OPEN)),
        f16_case("pointmap/f16/sigmoid", |d| f16_against_oracle(d, [1, 5, 9, 4], DepthMode::Square, SIGMOID)),
        case("confidence/oracle/odd_sizes", confidence_against_oracle),
        case("confidence/oracle/all_magnitudes", |d| confidences_of_all_magnitudes(d, false)),
        f16_case("confidence/f16/odd_sizes", f16_confidence),
        f16_case("confidence/f16/all_magnitudes", |d| confidences_of_all_magnitudes(d, true)),
        case("confidence/property/nan_comes_through", |d| confidence_of_nan(d, false)),
        f16_case("confidence/f16/nan_comes_through", |d| confidence_of_nan(d, true)),
        case("confidence/property/nothing", |d| {
            let y = confidence(&normal(d, "raw", &[2, 0]), OPEN).map_err(|e| e.to_string())?;
            check_equal(y.shape(), &[2, 0])
        }),
        case("confidence/error/dtype", |d| {
            expect_error(confidence(&bytes(d, &[4]), OPEN), "`raw` must hold f32")
        }),
        case("confidence/error/bounds", |d| {
            let mode = ConfidenceMode::Exp { min: 1.0, max: 1.0 };
            expect_error(
                confidence(&normal(d, "raw", &[4]), mode),
                "vision::confidence: `confidence` must be",
            )
        }),
        case("pointmap/property/direction_is_kept", direction_is_kept),
        case("pointmap/property/nan_comes_through", |d| nan_comes_through(d, false)),
        case("pointmap/property/apply_agrees", apply_agrees),
        case("pointmap/error/rank", |d| {
            expect_error(
                pointmap(&normal(d, "raw", &[4, 4, 4]), DepthMode::Exp, OPEN),
                "`raw` must be [batch",
            )
        }),
        case("pointmap/error/channels", |d| {
            expect_error(pointmap(&normal(d, "raw", &[1, 4, 4, 3]), DepthMode::Exp, OPEN), "width, 4]")
        }),
        case("pointmap/error/dtype", |d| {
            expect_error(pointmap(&bytes(d, &[1, 4, 4, 4]), DepthMode::Exp, OPEN), "`raw` must hold f32")
        }),
    ];
    for (name, mode, part) in [
        (
            "pointmap/error/sigmoid_infinite",
            ConfidenceMode::Sigmoid { min: 0.0, max: f32::INFINITY },
            "min < max, both finite",
        ),
        (
            "pointmap/error/sigmoid_nan",
            ConfidenceMode::Sigmoid { min: f32::NAN, max: 1.0 },
            "min < max, both finite",
        ),
        (
            "pointmap/error/exp_min_infinite",
            ConfidenceMode::Exp { min: f32::NEG_INFINITY, max: 1.0 },
            "min < max, min finite",
        ),
        (
            "pointmap/error/exp_not_increasing",
            ConfidenceMode::Exp { min: 1.0, max: 1.0 },
            "min < max, min finite",
        ),
        ("pointmap/error/exp_nan", ConfidenceMode::Exp { min: 1.0, max: f32::NAN }, "min < max, min finite"),
    ] {
        cases.push(case(name, move |d| {
            expect_error(pointmap(&normal(d, "raw", &[1, 4, 4, 4]), DepthMode::Exp, mode), part)
        }));
    }
    cases
}

fn against_oracle(device: &Device, shape: [usize; 4], depth: DepthMode, mode: ConfidenceMode) -> Verdict {
    check(&normal(device, "pointmap/raw", &shape), depth, mode)
}

fn check(raw: &Tensor, depth: DepthMode, mode: ConfidenceMode) -> Verdict {
    let (points, confidences) = pointmap(raw, depth, mode).map_err(|e| e.to_string())?;
    let &[batch, height, width, _] = raw.shape() else { return Err("four extents".into()) };
    check_equal(points.shape(), &[batch, height, width, 3])?;
    check_equal(confidences.shape(), &[batch, height, width])?;
    check_against(&raw.read::<f32>().unwrap(), &points, &confidences, depth, mode)
}

fn check_against(
    values: &[f32],
    points: &Tensor,
    confidences: &Tensor,
    depth: DepthMode,
    mode: ConfidenceMode,
) -> Verdict {
    let want = reference::pointmap(values, depth, mode);
    let longest = values.chunks(4).map(|v| v[0].hypot(v[1]).hypot(v[2])).fold(0.0, f32::max);
    check_close(&points.read::<f32>().unwrap(), &want.0, Tolerance::Ulps(8 + longest as u32))?;
    check_close(&confidences.read::<f32>().unwrap(), &want.1, Tolerance::Ulps(4))
}

/// The results are f32, so that only the input is rounded.
fn f16_against_oracle(device: &Device, shape: [usize; 4], depth: DepthMode, mode: ConfidenceMode) -> Verdict {
    let values = normal(device, "pointmap/raw", &shape).read::<f32>().unwrap();
    let (raw, rounded) = f16_tensor(device, &shape, &values);
    let (points, confidences) = pointmap(&raw, depth, mode).map_err(|e| e.to_string())?;
    check_against(&rounded, &points, &confidences, depth, mode)
}

/// Raw values as the fourth channel of pixels.
fn confidences_wanted(values: &[f32], mode: ConfidenceMode) -> Vec<f64> {
    let pixels: Vec<f32> = values.iter().flat_map(|&c| [0.0, 0.0, 0.0, c]).collect();
    reference::pointmap(&pixels, DepthMode::Linear, mode).1
}

fn confidence_against_oracle(device: &Device) -> Verdict {
    let raw = normal(device, "confidence/raw", &[3, 7, 11, 1]);
    for mode in [OPEN, CAPPED, SIGMOID] {
        let y = confidence(&raw, mode).map_err(|e| e.to_string())?;
        check_equal(y.shape(), raw.shape())?;
        let want = confidences_wanted(&raw.read().unwrap(), mode);
        check_close(&y.read::<f32>().unwrap(), &want, Tolerance::Ulps(4))?;
    }
    Ok(())
}

fn f16_confidence(device: &Device) -> Verdict {
    let values = normal(device, "confidence/raw", &[5, 41]).read::<f32>().unwrap();
    let (raw, rounded) = f16_tensor(device, &[5, 41], &values);
    let y = confidence(&raw, OPEN).map_err(|e| e.to_string())?;
    check_close(&y.read::<f32>().unwrap(), &confidences_wanted(&rounded, OPEN), Tolerance::Ulps(4))
}

/// The raw values of pixels, in every mode.
fn confidences_of_all_magnitudes(device: &Device, f16: bool) -> Verdict {
    for (_, mode) in EVERY_KERNEL {
        let values: Vec<f32> = magnitudes(device, mode).chunks(4).map(|v| v[3]).collect();
        let (raw, values) = match f16 {
            true => f16_tensor(device, &[60, 50], &values),
            false => (Tensor::new(device, &[60, 50], values.clone()).unwrap(), values),
        };
        let y = confidence(&raw, mode).map_err(|e| e.to_string())?;
        check_close(&y.read::<f32>().unwrap(), &confidences_wanted(&values, mode), Tolerance::Ulps(4))
            .map_err(|e| format!("{mode:?}: {e}"))?;
    }
    Ok(())
}

fn confidence_of_nan(device: &Device, f16: bool) -> Verdict {
    let raw = vec![0.0f32, f32::NAN, f32::INFINITY];
    let raw = match f16 {
        true => f16_tensor(device, &[3], &raw).0,
        false => Tensor::new(device, &[3], raw).unwrap(),
    };
    let y = confidence(&raw, CAPPED).map_err(|e| e.to_string())?;
    check_close(&y.read::<f32>().unwrap(), &[1.5, f64::NAN, 2.0], Tolerance::Exact)
}

/// Modes that differ in their kernels, where results keep their digits however small they are.
const EVERY_KERNEL: [(DepthMode, ConfidenceMode); 3] = [
    (DepthMode::Exp, ConfidenceMode::Exp { min: 0.0, max: f32::INFINITY }),
    (DepthMode::Square, ConfidenceMode::Sigmoid { min: 0.0, max: 3.0 }),
    (DepthMode::Linear, ConfidenceMode::Exp { min: 0.0, max: 1e30 }),
];

/// Vectors of length 1e-12 to 88 and raw confidences of either sign, up to where the exponential ends or the sigmoid is 0.
fn magnitudes(device: &Device, mode: ConfidenceMode) -> Vec<f32> {
    let range = if matches!(mode, ConfidenceMode::Exp { .. }) { 174.0 } else { 158.0 };
    let mut values = normal(device, "pointmap/magnitudes", &[1, 60, 50, 4]).read::<f32>().unwrap();
    for (i, v) in values.chunks_mut(4).enumerate() {
        let length = v[0].hypot(v[1]).hypot(v[2]);
        let wanted = 88.0 * 10f32.powf(-14.0 * (i % 100) as f32 / 99.0);
        v[..3].iter_mut().for_each(|x| *x *= wanted / length);
        v[3] = (i as f32 / 3000.0 - 0.5) * range;
    }
    values
}

fn all_magnitudes(device: &Device) -> Verdict {
    for (depth, mode) in EVERY_KERNEL {
        let raw = Tensor::new(device, &[1, 60, 50, 4], magnitudes(device, mode)).unwrap();
        check(&raw, depth, mode).map_err(|e| format!("{depth:?}: {e}"))?;
    }
    Ok(())
}

fn f16_all_magnitudes(device: &Device) -> Verdict {
    for (depth, mode) in EVERY_KERNEL {
        let (raw, rounded) = f16_tensor(device, &[1, 60, 50, 4], &magnitudes(device, mode));
        let (points, confidences) = pointmap(&raw, depth, mode).map_err(|e| e.to_string())?;
        check_against(&rounded, &points, &confidences, depth, mode).map_err(|e| format!("{depth:?}: {e}"))?;
    }
    Ok(())
}

fn direction_is_kept(device: &Device) -> Verdict {
    let raw = normal(device, "pointmap/direction", &[1, 9, 11, 4]);
    let (points, _) = pointmap(&raw, DepthMode::Exp, OPEN).map_err(|e| e.to_string())?;
    let lengths = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let cosines: Vec<f32> = raw
        .read::<f32>()
        .unwrap()
        .chunks(4)
        .zip(points.read::<f32>().unwrap().chunks(3))
        .map(|(raw, point)| {
            let dot: f64 = raw.iter().zip(point).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            (dot / lengths(&raw[..3]) / lengths(point)) as f32
        })
        .collect();
    check_close(&cosines, &[1.0; 99], Tolerance::Ulps(1))
}

fn nan_comes_through(device: &Device, f16: bool) -> Verdict {
    let raw = vec![f32::NAN, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0, f32::NAN, f32::INFINITY];
    let raw = match f16 {
        true => f16_tensor(device, &[1, 1, 3, 4], &raw).0,
        false => Tensor::new(device, &[1, 1, 3, 4], raw).unwrap(),
    };
    let nan = f64::NAN;
    for (depth, mode, confidence) in
        [(DepthMode::Exp, CAPPED, 1.5), (DepthMode::Exp, OPEN, 2.0), (DepthMode::Square, SIGMOID, 1.75)]
    {
        let (points, confidences) = pointmap(&raw, depth, mode).map_err(|e| e.to_string())?;
        let want = [nan, nan, nan, 0.0, 0.0, 0.0, nan, nan, nan];
        check_close(&points.read::<f32>().unwrap(), &want, Tolerance::Exact)?;
        let largest = f64::from(mode.apply(f32::INFINITY));
        let want = [confidence, nan, largest];
        check_close(&confidences.read::<f32>().unwrap(), &want, Tolerance::Ulps(4))?;
    }
    Ok(())
}

fn apply_agrees(device: &Device) -> Verdict {
    let raw = normal(device, "pointmap/apply", &[1, 7, 13, 4]);
    for mode in [OPEN, CAPPED, SIGMOID] {
        let (_, confidences) = pointmap(&raw, DepthMode::Linear, mode).map_err(|e| e.to_string())?;
        let single: Vec<f32> = raw.read::<f32>().unwrap().chunks(4).map(|v| mode.apply(v[3])).collect();
        // Rounded alike, but not to the bit on every device.
        let single: Vec<f64> = single.into_iter().map(f64::from).collect();
        check_close(&confidences.read::<f32>().unwrap(), &single, Tolerance::Ulps(4))?;
    }
    Ok(())
}
