//! Sections 5.4 and 5.5: registration of point sets, camera pose from points, alignment of pose sets.

use super::{Report, TensorFile};
use anyhow::{Context as _, bail};
use nalgebra::{Isometry3, Matrix3, Matrix4, Rotation3, Translation3, UnitQuaternion, Vector3};
use serde_json::Value;
use steropes_scene::Intrinsics;
use steropes_scene::geometry::pnp::{PnpOptions, PnpPose, fast_pnp, focal_candidates, pnp};
use steropes_scene::geometry::procrustes::{ScaleMode, align_poses, procrustes, weighted_mean_square};

/// Runs a file of weighted similarity and rigid registrations.
///
/// # Errors
/// The file lacks a tensor or the manifest an entry.
pub(super) fn point_sets(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let cases = file.entry()["params"]["cases"].as_object().context("`params.cases` is an object")?.clone();
    for (case, params) in &cases {
        let x = triples(file, &format!("{case}.x"))?;
        let y = triples(file, &format!("{case}.y"))?;
        let weights = match file.has(&format!("{case}.w")) {
            true => Some(file.f64(&format!("{case}.w"))?),
            false => None,
        };
        let mode = if params["scale"] == Value::Bool(false) { ScaleMode::Fixed } else { ScaleMode::Free };
        let name = format!("{}/{case}", file.stem());
        let got = match procrustes(&x, &y, weights.as_deref(), mode) {
            Ok(got) => got,
            Err(error) => {
                report.verdict(&name, Err(error.to_string()));
                continue;
            }
        };
        let rotation = *got.isometry.rotation.to_rotation_matrix().matrix();
        report.at_most(&format!("{name}.det"), (rotation.determinant() - 1.0).abs(), 1e-9);
        let scale = file.f64(&format!("{case}.s"))?[0];
        let bound = tolerance(file, "s", case)?;
        report.at_most(&format!("{name}.s"), (got.scaling() / scale - 1.0).abs(), bound);
        let want = file.f64(&format!("{case}.weighted_mse"))?[0];
        let error = (weighted_mean_square(&got, &x, &y, weights.as_deref()) - want).abs();
        let bound = tolerance(file, "weighted_mse", case)? * want.abs() + 1e-9;
        report.at_most(&format!("{name}.weighted_mse"), error, bound);
        if params["unique"] == Value::Bool(false) {
            continue;
        }
        let want = matrix3(&file.f64(&format!("{case}.R"))?);
        report.at_most(&format!("{name}.R"), (rotation - want).abs().max(), tolerance(file, "R", case)?);
        let want = Vector3::from_column_slice(&file.f64(&format!("{case}.t"))?);
        let centroid = y.iter().map(|p| Vector3::from(*p)).sum::<Vector3<f64>>() / y.len() as f64;
        let error = (got.isometry.translation.vector - want).abs().max();
        // A case's own bound is absolute.
        let relative = if has_own_tolerance(file, "t", case) { 0.0 } else { centroid.norm() };
        let bound = tolerance(file, "t", case)? * (1.0 + relative);
        report.at_most(&format!("{name}.t"), error, bound);
        // The 4 x 4 form scales the rotation, not the translation.
        let form = got.to_homogeneous();
        let expected = scale * matrix3(&file.f64(&format!("{case}.R"))?);
        let error = (form.fixed_view::<3, 3>(0, 0) - expected).abs().max();
        report.at_most(&format!("{name}.matrix"), error / scale, tolerance(file, "R", case)?);
    }
    Ok(())
}

/// Runs a file of camera poses from points and of alignments of pose sets.
///
/// # Errors
/// The file lacks a tensor or the manifest an entry.
pub(super) fn poses(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let cases = file.entry()["params"]["cases"].as_object().context("`params.cases` is an object")?.clone();
    let mut with_points = None;
    for (case, params) in &cases {
        if file.has(&format!("{case}.src")) {
            pose_sets(file, case, report)?;
        } else if file.has(&format!("{case}.pts")) {
            let view = View::read(file, case, params)?;
            if params["focal_given"].is_null() {
                unknown_focal(file, case, &view, report)?;
            } else {
                known_focal(file, case, &view, report)?;
            }
            with_points = with_points.or(Some(view));
        } else if params["upstream_returns_none"] != Value::Bool(true) {
            bail!("case `{case}` has neither points nor poses");
        }
    }
    if let Some(mut view) = with_points {
        view.points.truncate(3);
        view.pixels.truncate(3);
        let verdict = match view.pose()? {
            None => Ok("no result".to_owned()),
            Some(_) => Err("three points gave a pose".to_owned()),
        };
        report.verdict(&format!("{}/three_points", file.stem()), verdict);
    }
    Ok(())
}

/// The masked points of one case with their pixels.
struct View {
    points: Vec<[f64; 3]>,
    pixels: Vec<[f64; 2]>,
    size: [usize; 2],
    focal: Option<f64>,
    options: PnpOptions,
}

impl View {
    fn read(file: &TensorFile, case: &str, params: &Value) -> anyhow::Result<Self> {
        let shape = file.shape(&format!("{case}.pts"))?;
        let size = [shape[1], shape[0]];
        let points = triples(file, &format!("{case}.pts"))?;
        let mask = file.u8(&format!("{case}.mask"))?;
        let kept: Vec<usize> = (0..points.len()).filter(|&i| mask[i] != 0).collect();
        Ok(Self {
            points: kept.iter().map(|&i| points[i]).collect(),
            pixels: kept.iter().map(|&i| [(i % size[0]) as f64, (i / size[0]) as f64]).collect(),
            size,
            focal: params["focal_given"].as_f64(),
            options: PnpOptions {
                seed: 0,
                max_iterations: params["iterations"].as_u64().context("`iterations` is a number")? as usize,
                threshold_px: params["reprojection_px"].as_f64().context("`reprojection_px` is a number")?,
            },
        })
    }

    fn center(&self) -> [f64; 2] {
        self.size.map(|s| s as f64 / 2.0)
    }

    fn pose(&self) -> anyhow::Result<Option<(f64, PnpPose)>> {
        Ok(fast_pnp(&self.points, &self.pixels, self.focal, self.center(), self.size, &self.options)?)
    }

    /// Points in front of the camera and within the threshold of their pixels, counted anew.
    fn inliers(&self, world_from_camera: &Isometry3<f64>, focal: f64) -> usize {
        let center = self.center();
        let agrees = |(point, pixel): &(&[f64; 3], &[f64; 2])| {
            let p = world_from_camera.inverse_transform_point(&(**point).into());
            let (x, y) = (focal * p.x / p.z + center[0], focal * p.y / p.z + center[1]);
            p.z > 0.0 && (x - pixel[0]).hypot(y - pixel[1]) <= self.options.threshold_px
        };
        self.points.iter().zip(&self.pixels).filter(agrees).count()
    }
}

fn known_focal(file: &TensorFile, case: &str, view: &View, report: &mut Report<'_>) -> anyhow::Result<()> {
    let name = format!("{}/{case}", file.stem());
    let Some((_, got)) = view.pose()? else {
        report.verdict(&name, Err("no pose".to_owned()));
        return Ok(());
    };
    let want = isometry(&file.f64(&format!("{case}.cam2w_true"))?);
    let text =
        file.entry()["tolerance"][case].as_str().with_context(|| format!("a tolerance for `{case}`"))?;
    let turn = (want.rotation.inverse() * got.world_from_camera.rotation).angle().to_degrees();
    let shift = (want.translation.vector - got.world_from_camera.translation.vector).norm();
    report.at_most(&format!("{name}.rotation_deg"), turn, number_after(text, "rotation")?);
    report.at_most(&format!("{name}.center"), shift, number_after(text, "centre")?);
    Ok(())
}

/// The focal length is the first of the candidates with the most inliers.
fn unknown_focal(file: &TensorFile, case: &str, view: &View, report: &mut Report<'_>) -> anyhow::Result<()> {
    let name = format!("{}/{case}", file.stem());
    let Some((focal, got)) = view.pose()? else {
        report.verdict(&name, Err("no pose".to_owned()));
        return Ok(());
    };
    let candidates = focal_candidates(view.size);
    let place = candidates.iter().position(|c| (c / focal - 1.0).abs() < 1e-12);
    let count = view.inliers(&got.world_from_camera, focal);
    let mut verdict = match place {
        Some(_) if count == got.inlier_count => Ok(format!("focal {focal:.3}, {count} inliers")),
        Some(_) => Err(format!("says {} inliers, has {count}", got.inlier_count)),
        None => Err(format!("focal {focal} is no candidate")),
    };
    for (i, &candidate) in candidates.iter().enumerate() {
        let k = Intrinsics { focal_px: candidate, center_px: view.center() };
        let other = pnp(&view.points, &view.pixels, &k, &view.options)?.map_or(0, |p| p.inlier_count);
        if other > count || (other == count && place.is_some_and(|p| i < p)) {
            verdict = Err(format!("candidate {candidate:.3} has {other} inliers, {focal:.3} has {count}"));
        }
    }
    report.verdict(&name, verdict);
    // The reference's own pose must not be better.
    let reference = isometry(&file.f64(&format!("{case}.cam2w_upstream"))?);
    let reference = view.inliers(&reference, file.f64(&format!("{case}.focal_upstream"))?[0]);
    report.at_most(
        &format!("{name}.inliers_short_of_reference"),
        reference.saturating_sub(count) as f64,
        0.0,
    );
    Ok(())
}

fn pose_sets(file: &TensorFile, case: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let set = |which: &str| -> anyhow::Result<Vec<Isometry3<f64>>> {
        Ok(file.f64(&format!("{case}.{which}"))?.chunks_exact(16).map(isometry).collect())
    };
    let name = format!("{}/{case}", file.stem());
    let got = match align_poses(&set("src")?, &set("target")?) {
        Ok(got) => got,
        Err(error) => {
            report.verdict(&name, Err(error.to_string()));
            return Ok(());
        }
    };
    let text =
        file.entry()["tolerance"][case].as_str().with_context(|| format!("a tolerance for `{case}`"))?;
    let (of_rotation, of_shift) = (number_after(text, "R ")?, number_after(text, "t ")?);
    let rotation = got.isometry.rotation.to_rotation_matrix();
    let error = (rotation.matrix() - matrix3(&file.f64(&format!("{case}.R"))?)).abs().max();
    report.at_most(&format!("{name}.R"), error, of_rotation);
    let want = Vector3::from_column_slice(&file.f64(&format!("{case}.t"))?);
    report.at_most(&format!("{name}.t"), (got.isometry.translation.vector - want).abs().max(), of_shift);
    let error = (got.scaling() - file.f64(&format!("{case}.s"))?[0]).abs();
    report.at_most(&format!("{name}.s"), error, of_rotation);
    Ok(())
}

/// The bound for a quantity, such as "2e-5 abs (far_origin 2e-3)": the one behind the case's name if it has its own.
fn tolerance(file: &TensorFile, quantity: &str, case: &str) -> anyhow::Result<f64> {
    let text = file.entry()["tolerance"][quantity]
        .as_str()
        .with_context(|| format!("the manifest has a tolerance for `{quantity}`"))?;
    let word = if has_own_tolerance(file, quantity, case) { format!("({case} ") } else { String::new() };
    number_after(text, &word)
}

fn has_own_tolerance(file: &TensorFile, quantity: &str, case: &str) -> bool {
    file.entry()["tolerance"][quantity].as_str().is_some_and(|text| text.contains(&format!("({case} ")))
}

/// The first number in a text after a word.
pub(super) fn number_after(text: &str, word: &str) -> anyhow::Result<f64> {
    let start = text.find(word).with_context(|| format!("`{word}` in `{text}`"))? + word.len();
    text[start..]
        .split(|c: char| !(c.is_ascii_digit() || "+-.e".contains(c)))
        .find_map(|part| part.parse().ok())
        .with_context(|| format!("a number after `{word}` in `{text}`"))
}

fn triples(file: &TensorFile, name: &str) -> anyhow::Result<Vec<[f64; 3]>> {
    Ok(file.f64(name)?.chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect())
}

fn matrix3(row_major: &[f64]) -> Matrix3<f64> {
    Matrix3::from_row_slice(row_major)
}

fn isometry(row_major: &[f64]) -> Isometry3<f64> {
    let m = Matrix4::from_row_slice(row_major);
    let rotation = Rotation3::from_matrix(&m.fixed_view::<3, 3>(0, 0).into_owned());
    let shift = Translation3::new(m[(0, 3)], m[(1, 3)], m[(2, 3)]);
    Isometry3::from_parts(shift, UnitQuaternion::from_rotation_matrix(&rotation))
}
