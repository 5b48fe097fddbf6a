//! Training losses and their gradients.

use super::registration::number_after;
use super::{Report, TensorFile};
use anyhow::Context as _;
use steropes_ops::indexing::gather::gather;
use steropes_ops::indexing::scatter_add::scatter_add;
use steropes_ops::loss::conf_loss::{conf_loss, conf_loss_backward};
use steropes_ops::loss::conf_matching_loss::{
    ConfMatchingOptions, ConfidenceMode, conf_matching_loss, conf_matching_loss_backward,
};
use steropes_ops::loss::info_nce::{InfoNceMode, InfoNceOptions, Similarity, info_nce, info_nce_backward};
use steropes_ops::loss::regr3d::{PointNorm, PointView, Regr3dOptions, regr3d, regr3d_backward};
use steropes_tensor::Tensor;
use steropes_testkit::Tolerance;

/// Runs all cases of the file.
///
/// # Errors
/// The manifest or the file lacks something.
pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let cases = file.entry()["params"]["cases"].as_object().context("the entry lists cases")?;
    for case in cases.keys() {
        match case.split_once('.') {
            Some(("nce", mode)) => similarities(file, case, mode, report)?,
            Some(("match", _)) => matches(file, case, report)?,
            Some(("regr", kind)) => points(file, case, kind, report)?,
            // The parameters that cases share.
            _ => {}
        }
    }
    Ok(())
}

/// The bound of a value: the tolerance of f64 and the noise of f32, both relative.
fn value_bound(file: &TensorFile, noise: Option<f64>) -> anyhow::Result<Tolerance> {
    let text = file.entry()["tolerance"]["values"].as_str().context("a tolerance for values")?;
    Ok(Tolerance::OfLargest(number_after(text, "")? + 4.0 * noise.unwrap_or(0.0)))
}

fn gradient_bound(file: &TensorFile) -> anyhow::Result<Tolerance> {
    let text = file.entry()["tolerance"]["gradients"].as_str().context("a tolerance for gradients")?;
    Ok(Tolerance::OfLargest(number_after(text, "")?))
}

fn gradient(
    file: &TensorFile,
    case: &str,
    name: &str,
    got: &Tensor,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let want = file.f64(&format!("{case}.{name}"))?;
    let got = got.read::<f32>()?;
    report.close(&format!("{}/{case}/{name}", file.stem()), &got, &want, gradient_bound(file)?);
    Ok(())
}

/// A mask of the file on the device of the run.
fn mask(file: &TensorFile, name: &str, report: &Report<'_>) -> anyhow::Result<Tensor> {
    Ok(Tensor::new(&report.device(), &file.shape(name)?, file.u8(name)?)?)
}

fn mode_of(name: &str) -> anyhow::Result<InfoNceMode> {
    Ok(match name {
        "proper" => InfoNceMode::Proper,
        "dual" => InfoNceMode::Dual,
        "all" => InfoNceMode::All,
        other => anyhow::bail!("`{other}` is no mode"),
    })
}

/// InfoNCE of given descriptors.
fn similarities(file: &TensorFile, case: &str, mode: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let device = report.device();
    let params = &file.entry()["params"]["cases"];
    let number = |key: &str| params["nce"][key].as_f64().with_context(|| format!("`{key}`"));
    let (mode, similarity) = match mode.strip_suffix("_euc") {
        Some(mode) => (mode, Similarity::Euclidean),
        None => (mode, Similarity::Dot),
    };
    let options = InfoNceOptions {
        mode: mode_of(mode)?,
        similarity,
        temperature: number("temperature")? as f32,
        epsilon: number("eps")? as f32,
    };
    let (a, b) = (file.tensor("nce.desc1", &device)?, file.tensor("nce.desc2", &device)?);
    let (valid, flags) = (mask(file, "nce.valid", report)?, file.u8("nce.valid")?);
    let losses = info_nce([&a, &b], &valid, &options)?.read::<f32>()?;
    let got: Vec<f32> = losses.iter().zip(&flags).filter(|(_, v)| **v != 0).map(|(l, _)| *l).collect();
    let want = file.f64(&format!("{case}.per_match"))?;
    let bound = value_bound(file, params[case]["f32_noise"]["value"].as_f64())?;
    report.close(&format!("{}/{case}/per_match", file.stem()), &got, &want, bound);
    let share = vec![1.0 / want.len() as f32; flags.len()];
    let grad = Tensor::new(&device, valid.shape(), share)?;
    let [da, db] = info_nce_backward(&grad, [&a, &b], &valid, &options)?;
    gradient(file, case, "grad1", &da, report)?;
    gradient(file, case, "grad2", &db, report)
}

/// A map of the file at the pixels of one view's correspondences, and how to bring gradients back.
struct AtPixels {
    map: Tensor,
    index: Tensor,
    values: Tensor,
}

impl AtPixels {
    fn new(file: &TensorFile, name: &str, pixels: &str, report: &Report<'_>) -> anyhow::Result<Self> {
        let device = report.device();
        let shape = file.shape(name)?;
        let channels = shape.get(3).copied().unwrap_or(1);
        let map = file.tensor(name, &device)?.reshape(&[shape[0], shape[1] * shape[2], channels])?;
        let count = file.shape(pixels)?[1];
        let places: Vec<i64> = file
            .i64(pixels)?
            .chunks_exact(2)
            .flat_map(|xy| vec![xy[1] * shape[2] as i64 + xy[0]; channels])
            .collect();
        let index = Tensor::new(&device, &[shape[0], count, channels], places)?;
        let values = gather(&map, 1, &index)?;
        Ok(Self { map, index, values })
    }

    fn brought_back(&self, gradient: Tensor, report: &Report<'_>) -> anyhow::Result<Tensor> {
        let zeros = Tensor::zeros::<f32>(&report.device(), self.map.shape());
        Ok(scatter_add(&zeros, 1, &self.index, &gradient.reshape(self.index.shape())?)?)
    }
}

/// The matching loss of descriptor maps at given correspondences.
fn matches(file: &TensorFile, case: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let device = report.device();
    let params = &file.entry()["params"]["cases"][case];
    if params["negatives_padding"].as_u64() != Some(0) {
        // Descriptors of one view without a counterpart.
        report.not_built(&format!("{}/{case}", file.stem()));
        return Ok(());
    }
    let options = InfoNceOptions {
        mode: mode_of(params["mode"].as_str().context("a mode")?)?,
        temperature: params["temperature"].as_f64().context("a temperature")? as f32,
        ..Default::default()
    };
    let [first, second] =
        [1, 2].map(|v| AtPixels::new(file, &format!("match.desc{v}"), &format!("match.corres{v}"), report));
    let (first, second) = (first?, second?);
    let valid = mask(file, "match.valid_corres", report)?;
    let losses = info_nce([&first.values, &second.values], &valid, &options)?;
    let (value, by_loss) = match params["alpha"].as_f64() {
        None => {
            let flags = file.u8("match.valid_corres")?;
            let count = flags.iter().filter(|&&v| v != 0).count() as f32;
            let sum: f64 = losses.read::<f32>()?.iter().map(|&l| f64::from(l)).sum();
            let share = vec![1.0 / count; flags.len()];
            (vec![sum as f32 / count], Tensor::new(&device, valid.shape(), share)?)
        }
        Some(alpha) => {
            let options = &params["options"];
            let options = ConfMatchingOptions {
                alpha: alpha as f32,
                mode: match options["confmode"].as_str() {
                    Some("prod") => ConfidenceMode::Product,
                    _ => ConfidenceMode::Mean,
                },
                negative_quantile: options["neg_conf_loss_quantile"].as_f64().map(|q| q as f32),
            };
            let [a, b] = [1, 2].map(|v| {
                AtPixels::new(file, &format!("match.desc_conf{v}"), &format!("match.corres{v}"), report)
            });
            let (a, b) = (a?, b?);
            let rows = |t: &AtPixels| t.values.clone().reshape(valid.shape());
            let (at_a, at_b) = (rows(&a)?, rows(&b)?);
            let value = conf_matching_loss(&losses, [&at_a, &at_b], &valid, &options)?.read::<f32>()?;
            let one = Tensor::new(&device, &[], vec![1f32])?;
            let [by_loss, by_a, by_b] =
                conf_matching_loss_backward(&one, &losses, [&at_a, &at_b], &valid, &options)?;
            gradient(file, case, "grad_desc_conf1", &a.brought_back(by_a, report)?, report)?;
            gradient(file, case, "grad_desc_conf2", &b.brought_back(by_b, report)?, report)?;
            (value, by_loss)
        }
    };
    let want = file.f64(&format!("{case}.loss"))?;
    let bound = value_bound(file, params["f32_noise_rel"].as_f64())?;
    report.close(&format!("{}/{case}/loss", file.stem()), &value, &want, bound);
    let [da, db] = info_nce_backward(&by_loss, [&first.values, &second.values], &valid, &options)?;
    gradient(file, case, "grad_desc1", &first.brought_back(da, report)?, report)?;
    gradient(file, case, "grad_desc2", &second.brought_back(db, report)?, report)
}

/// One view of the file, its true points in the frame of the first camera.
struct FileView {
    prediction: Tensor,
    truth: Tensor,
    valid: Tensor,
    sky: Tensor,
    confidence: Tensor,
    /// Where there is a loss: valid pixels, and sky if it counts.
    counted: Vec<u8>,
}

impl FileView {
    fn new(file: &TensorFile, view: usize, with_sky: bool, report: &Report<'_>) -> anyhow::Result<Self> {
        let device = report.device();
        let name = |what: &str| format!("regr.{what}{view}");
        let poses = file.f64("regr.camera_pose1")?;
        let world = file.f64(&name("gt_pts"))?;
        let each = world.len() / (poses.len() / 16);
        let in_camera = |(item, points): (usize, &[f64])| {
            let pose = &poses[16 * item..16 * (item + 1)];
            let local = |x: &[f64]| {
                // Rigid, so the inverse of the rotation is its transpose.
                let step: Vec<f64> = (0..3).map(|r| x[r] - pose[4 * r + 3]).collect();
                (0..3)
                    .map(|c| (0..3).map(|r| pose[4 * r + c] * step[r]).sum::<f64>() as f32)
                    .collect::<Vec<f32>>()
            };
            points.chunks_exact(3).flat_map(local).collect::<Vec<f32>>()
        };
        let truth: Vec<f32> = world.chunks_exact(each).enumerate().flat_map(in_camera).collect();
        let (valid, sky) = (file.u8(&name("valid"))?, file.u8(&name("sky"))?);
        let counted =
            valid.iter().zip(&sky).map(|(v, s)| u8::from(*v != 0 || (with_sky && *s != 0))).collect();
        Ok(Self {
            prediction: file.tensor(&name("pred"), &device)?,
            truth: Tensor::new(&device, &file.shape(&name("gt_pts"))?, truth)?,
            valid: mask(file, &name("valid"), report)?,
            sky: mask(file, &name("sky"), report)?,
            confidence: file.tensor(&name("conf"), &device)?,
            counted,
        })
    }
}

/// The regression losses of both views.
fn points(file: &TensorFile, case: &str, kind: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let device = report.device();
    let (kind, with_confidence) = match kind.strip_suffix(".conf") {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    let norm = |norm| Regr3dOptions { norm, ..Default::default() };
    let (options, metric) = match kind {
        "dust3r_avg" | "mast3r_all_avg" => (norm(PointNorm::AvgDis), false),
        "dust3r_nonorm" => (norm(PointNorm::None), false),
        "dust3r_log1p" => (norm(PointNorm::AvgLog1p), false),
        "dust3r_gtscale" => (Regr3dOptions { truth_as_it_is: true, ..Default::default() }, false),
        "mast3r_metric_avg" => (norm(PointNorm::AvgDis), true),
        "mast3r_metric_log" => (Regr3dOptions { log: true, ..Default::default() }, true),
        "mast3r_sky2" => (Regr3dOptions { sky_loss: 2.0, ..Default::default() }, true),
        _ => {
            report.not_built(&format!("{}/{case}", file.stem()));
            return Ok(());
        }
    };
    let with_sky = kind == "mast3r_sky2";
    let (first, second) =
        (FileView::new(file, 1, with_sky, report)?, FileView::new(file, 2, with_sky, report)?);
    let held = [&first, &second];
    let views = held.map(|view| PointView {
        prediction: &view.prediction,
        truth: &view.truth,
        valid: &view.valid,
        sky: with_sky.then_some(&view.sky),
    });
    let is_metric = mask(file, "regr.is_metric", report)?;
    let metric = metric.then_some(&is_metric);
    let losses = regr3d(&views, metric, &options)?;
    let mut value = 0.0;
    let mut grads = Vec::new();
    for (v, (view, loss)) in held.iter().zip(&losses).enumerate() {
        if with_confidence {
            let alpha =
                file.entry()["params"]["cases"]["regr"]["conf_alpha"].as_f64().context("`conf_alpha`")?;
            let counted = Tensor::new(&device, loss.shape(), view.counted.clone())?;
            let one = Tensor::new(&device, &[], vec![1f32])?;
            value += conf_loss(loss, &view.confidence, &counted, alpha as f32)?.read::<f32>()?[0];
            let [by_loss, by_confidence] =
                conf_loss_backward(&one, loss, &view.confidence, &counted, alpha as f32)?;
            gradient(file, case, &format!("grad_conf{}", v + 1), &by_confidence, report)?;
            grads.push(by_loss);
        } else {
            let count = view.counted.iter().filter(|&&v| v != 0).count() as f32;
            let sum: f64 = loss.read::<f32>()?.iter().map(|&l| f64::from(l)).sum();
            value += sum as f32 / count;
            grads.push(Tensor::new(&device, loss.shape(), vec![1.0 / count; view.counted.len()])?);
        }
    }
    let want = file.f64(&format!("{case}.loss"))?;
    let noise = file.entry()["params"]["cases"][case]["f32_noise_rel"].as_f64();
    report.close(&format!("{}/{case}/loss", file.stem()), &[value], &want, value_bound(file, noise)?);
    let gradients = regr3d_backward([&grads[0], &grads[1]], &views, metric, &options)?;
    gradient(file, case, "grad_pred1", &gradients[0], report)?;
    gradient(file, case, "grad_pred2", &gradients[1], report)
}
