//! Golden cases of the sparse alignment: sections 2.2, 4.1 to 4.10 of the pipeline specification.

mod global;
mod scene;

use super::{Report, TensorFile};
use anyhow::Context as _;
use nalgebra::DMatrix;
use serde_json::Value;
use steropes_ops::geometry::canonical_view::{CanonicalSums, CanonicalView, RelativeDepth};
use steropes_ops::geometry::clean_pointcloud::{DenseView, clean_pointcloud};
use steropes_scene::alignment::{KinematicTree, maximum_spanning, ward};
use steropes_scene::geometry::focal::{FocalRange, median, weiszfeld};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Tolerance, check_equal};

/// Whether this file has the checks of a section.
pub(super) fn covers(section: &str) -> bool {
    ["4.1", "4.1, 5.4", "4.3", "4.10", "4.2-4.8"].contains(&section) || section.starts_with("2.2, 4.1")
}

/// Runs the checks of one file; what stops them is a failed check.
pub(super) fn run(file: &TensorFile, section: &str, report: &mut Report<'_>) {
    if !report.wants(&file.stem()) {
        return;
    }
    let result = match section {
        "4.1, 5.4" => focal(file, report),
        "4.1" => canonical(file, report),
        "4.3" => trees(file, report),
        "4.10" => clean(file, report),
        "4.2-4.8" => global::run(file, report),
        _ => scene::run(file, report),
    };
    if let Err(error) = result {
        report.verdict(&file.stem(), Err(format!("{error:#}")));
    }
}

/// The first number after `key` in a text of the manifest.
fn number_after(text: &str, key: &str) -> anyhow::Result<f64> {
    let rest = &text[text.find(key).with_context(|| format!("`{key}` in `{text}`"))? + key.len()..];
    let start = rest.find(|c: char| c.is_ascii_digit()).with_context(|| format!("a number after `{key}`"))?;
    let number = rest[start..].split(|c: char| !(c.is_ascii_digit() || "e.-".contains(c))).next();
    let number = number.unwrap_or_default().trim_end_matches(['.', '-']);
    number.parse().with_context(|| format!("`{number}` after `{key}`"))
}

/// The first number of a tolerance of the file.
fn tolerance(file: &TensorFile, name: &str) -> anyhow::Result<f64> {
    let text = file.entry()["tolerance"][name].as_str().with_context(|| format!("tolerance `{name}`"))?;
    number_after(text, "")
}

fn cases(file: &TensorFile) -> anyhow::Result<Vec<(String, Value)>> {
    let cases = file.entry()["params"]["cases"].as_object().context("`params.cases`")?;
    Ok(cases.iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn scalar(file: &TensorFile, name: &str) -> anyhow::Result<f64> {
    file.f64(name)?.first().copied().with_context(|| format!("`{name}` is empty"))
}

/// The largest relative error.
fn relative_error(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    got.iter().zip(want).map(|(g, w)| (g - w).abs() / w.abs().max(1e-30)).fold(0.0, f64::max)
}

fn focal(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    for (case, params) in cases(file)? {
        let shape = file.shape(&format!("{case}.pts"))?;
        let points = file.f32(&format!("{case}.pts"))?;
        let principal = file.f64(&format!("{case}.pp"))?;
        let range = FocalRange {
            min: params["min_focal"].as_f64().unwrap_or(0.0),
            max: params["max_focal"].as_f64().unwrap_or(f64::INFINITY),
        };
        let (size, principal) = ([shape[1], shape[0]], [principal[0], principal[1]]);
        for (name, got) in [
            ("weiszfeld", weiszfeld(&points, size, principal, range)?),
            ("median", median(&points, size, principal, range)?),
        ] {
            let want = scalar(file, &format!("{case}.{name}"))?;
            let name_of_check = format!("{}/{case}/{name}", file.stem());
            report.at_most(&name_of_check, (got / want - 1.0).abs(), tolerance(file, name)?);
        }
    }
    Ok(())
}

/// The canonical view of `[views, height, width, 3]` points.
fn canonical_view(
    points: &[f32],
    confidence: &[f32],
    [width, height]: [usize; 2],
    subsample: usize,
    mode: RelativeDepth,
    device: &Device,
) -> anyhow::Result<CanonicalView> {
    let mut sums = CanonicalSums::new(width, height, subsample, mode)?;
    let pixels = width * height;
    for (p, c) in points.chunks(3 * pixels).zip(confidence.chunks(pixels)) {
        let points = Tensor::new(device, &[height, width, 3], p.to_vec())?;
        let confidence = Tensor::new(device, &[height, width], c.to_vec())?;
        sums.add(&points, &confidence)?;
    }
    Ok(sums.finish()?)
}

fn canonical(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    for (case, params) in cases(file)? {
        let tensor = |name: &str| format!("{case}.{name}");
        let check = |name: &str| format!("{}/{case}/{name}", file.stem());
        let shape = file.shape(&tensor("pts"))?;
        let size = [shape[2], shape[1]];
        let subsample = params["subsample"].as_u64().context("`subsample`")? as usize;
        let (points, confidence) = (file.f32(&tensor("pts"))?, file.f32(&tensor("conf"))?);
        let device = report.device();
        let view =
            canonical_view(&points, &confidence, size, subsample, RelativeDepth::AverageAngle, &device)?;
        let ratio =
            canonical_view(&points, &confidence, size, subsample, RelativeDepth::AverageRatio, &device)?;
        let canon = Tolerance::Absolute(tolerance(file, "canon")?);
        report.close(&check("canon"), &view.points, &file.f64(&tensor("canon"))?, canon);
        report.close(&check("core_depth"), &view.anchor_depths(), &file.f64(&tensor("core_depth"))?, canon);
        // Irregular cases (centres behind the camera) state their own rounding noise.
        let noise = params["dtype_noise"]["canon2"].as_f64().unwrap_or(0.0);
        let bound = tolerance(file, "canon2")?.max(5.0 * noise);
        let canon2 = file.f64(&tensor("canon2"))?;
        report.close(&check("canon2"), &view.relative_depth, &canon2, Tolerance::Absolute(bound));
        let want = file.f64(&tensor("canon2_reldepth"))?;
        report.close(&check("canon2_reldepth"), &ratio.relative_depth, &want, Tolerance::OfLargest(bound));
        let conf: Vec<f64> = view.confidence.iter().map(|&v| f64::from(v)).collect();
        let error = relative_error(&conf, &file.f64(&tensor("cconf"))?);
        report.at_most(&check("cconf"), error, tolerance(file, "cconf")?);
        let [columns, rows] = view.anchor_grid();
        // Centres behind the camera are not 1 in f64 either.
        let off_one = |&k: &usize| {
            let pixel = view.anchor_pixel(k);
            canon2[pixel] as f32 == 1.0 && view.relative_depth[pixel] != 1.0
        };
        let off_one = (0..columns * rows).filter(off_one).count();
        report.at_most(&check("canon2_at_anchors"), off_one as f64, 0.0);
        let pixels: Vec<[usize; 2]> =
            file.i64(&tensor("pixels"))?.chunks(2).map(|p| [p[0] as usize, p[1] as usize]).collect();
        let anchors: Vec<i64> = pixels.iter().map(|p| view.anchor_of(p[0], p[1]) as i64).collect();
        let verdict = check_equal(&anchors, &file.i64(&tensor("anchor_idx"))?);
        report.verdict(&check("anchor_idx"), verdict.map(|()| "exact".to_owned()));
        let offsets: Vec<f32> = pixels.iter().map(|p| view.offset(p[0], p[1])).collect();
        let bound = Tolerance::Absolute(tolerance(file, "offset")?.max(5.0 * noise));
        report.close(&check("offset"), &offsets, &file.f64(&tensor("offset"))?, bound);
    }
    Ok(())
}

/// Edges lowest image first, in order.
fn undirected(edges: impl IntoIterator<Item = [usize; 2]>) -> Vec<[usize; 2]> {
    let mut edges: Vec<_> = edges.into_iter().map(|[a, b]| [a.min(b), a.max(b)]).collect();
    edges.sort_unstable();
    edges
}

fn edges(file: &TensorFile, name: &str) -> anyhow::Result<Vec<[usize; 2]>> {
    Ok(file.i64(name)?.chunks(2).map(|e| [e[0] as usize, e[1] as usize]).collect())
}

fn trees(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    for (case, params) in cases(file)? {
        let tensor = |name: &str| format!("{case}.{name}");
        let check = |name: &str| format!("{}/{case}/{name}", file.stem());
        let anchors: Vec<usize> = file.i64(&tensor("n_anchors"))?.iter().map(|&v| v as usize).collect();
        let n = anchors.len();
        let counts = DMatrix::from_row_slice(n, n, &file.f64(&tensor("counts"))?);
        let tree = ward(&counts, &anchors)?;
        let want = file.f64(&tensor("merge_distance"))?;
        let error = tree.heights.iter().zip(&want).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
        report.at_most(&check("merge_distance"), error, tolerance(file, "merge_distance")?);
        let rooted = KinematicTree::from_center(&tree.edges, n)?;
        if params["edges_stable_under_1e6_noise"] == true {
            let verdict = check_equal(&undirected(tree.edges.clone()), &edges(file, &tensor("edges"))?);
            report.verdict(&check("edges"), verdict.map(|()| "exact".to_owned()));
            let centers = file.i64(&tensor("centre"))?;
            let off = f64::from(u8::from(!centers.contains(&(rooted.root() as i64))));
            report.at_most(&check("centre"), off, 0.0);
        }
        if file.has(&tensor("mst_edges")) {
            let got = undirected(maximum_spanning(&counts)?);
            let want = undirected(edges(file, &tensor("mst_edges"))?);
            let total = |e: &[[usize; 2]]| e.iter().map(|&[i, j]| counts[(i, j)]).sum::<f64>();
            let mut used: Vec<f64> = counts.upper_triangle().iter().copied().filter(|&c| c > 0.0).collect();
            used.sort_by(f64::total_cmp);
            let ties = used.windows(2).any(|w| w[0] == w[1]);
            let same = if ties { total(&got) == total(&want) } else { got == want };
            let text = format!("total {} of {}", total(&got), total(&want));
            report.verdict(&check("mst"), if same { Ok(text) } else { Err(text) });
        }
    }
    Ok(())
}

fn clean(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let shape = file.shape("conf")?;
    let (n, height, width) = (shape[0], shape[1], shape[2]);
    let pixels = height * width;
    let (confidence, depth, points) = (file.f32("conf")?, file.f32("depth")?, file.f32("pts")?);
    let (k, w2c) = (file.f64("K")?, file.f64("w2c")?);
    let view = |i: usize| DenseView {
        width,
        height,
        focal_center_px: [k[9 * i], k[9 * i + 2], k[9 * i + 5]],
        camera_from_world: std::array::from_fn(|r| std::array::from_fn(|c| w2c[16 * i + 4 * r + c])),
        depth: &depth[i * pixels..(i + 1) * pixels],
        points: &points[3 * i * pixels..3 * (i + 1) * pixels],
        confidence: &confidence[i * pixels..(i + 1) * pixels],
    };
    let views: Vec<_> = (0..n).map(view).collect();
    for (case, params) in cases(file)? {
        let tolerance = params["tol"].as_f64().context("`tol`")?;
        let bad = params["bad_conf"].as_f64().context("`bad_conf`")? as f32;
        let got = clean_pointcloud(&views, tolerance, bad, &report.device())?.concat();
        let want = file.f32(&format!("{case}.conf_out"))?;
        let fragile = file.u8(&format!("{case}.fragile"))?;
        let differing = |wanted: bool| {
            (0..got.len()).filter(|&i| (fragile[i] != 0) == wanted && got[i] != want[i]).count() as f64
        };
        // Only where a fragile pixel went the other way may others follow.
        report.at_most(&format!("{}/{case}/conf_out", file.stem()), differing(false), differing(true));
    }
    Ok(())
}
