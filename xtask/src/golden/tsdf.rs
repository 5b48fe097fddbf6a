//! Section 6: truncated signed distances and refined depth maps.

use super::registration::number_after;
use super::{Report, TensorFile};
use anyhow::Context as _;
use steropes_ops::geometry::tsdf::{DepthMaps, Samples, View, refine_depth, tsdf};
use steropes_tensor::Tensor;

/// Runs one file: a set of maps, points at which the function is known, and the maps refined with given numbers.
///
/// # Errors
/// The file lacks a tensor or the manifest an entry.
pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let views = views(file)?;
    let pixels = views.iter().map(View::pixels).sum();
    let device = report.device();
    let depth = Tensor::new(&device, &[pixels], file.f32("depth")?)?;
    let confidence = Tensor::new(&device, &[pixels], file.f32("conf")?)?;
    let maps = DepthMaps { views: &views, depth: &depth, confidence: &confidence };
    let threshold = file.entry()["params"]["threshold"].as_f64().context("`threshold` is a number")? as f32;
    values(file, &maps, threshold, report)?;
    refined(file, &maps, threshold, report)
}

fn values(
    file: &TensorFile,
    maps: &DepthMaps<'_>,
    threshold: f32,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let points = file.f32("query_points")?;
    let points = Tensor::new(&report.device(), &[points.len() / 3, 3], points)?;
    let (values, seen) = tsdf(maps, &points, threshold)?;
    let (values, seen) = (values.read::<f32>()?, seen.read::<u32>()?);
    let (want, valid, fragile) =
        (file.f64("query_value")?, file.u8("query_valid")?, file.u8("query_fragile")?);
    let bound = number_after(text(file, "query_value")?, "")?;
    let mut largest = 0.0f64;
    let mut verdict = Ok("exact".to_owned());
    for i in (0..values.len()).filter(|&i| fragile[i] == 0) {
        if seen[i] != u32::from(valid[i]) {
            verdict = Err(format!("point {i}: {}, want {}", seen[i], valid[i]));
        } else if seen[i] == 1 {
            let error = (f64::from(values[i]) - want[i]).abs();
            largest = if error.is_nan() { error } else { largest.max(error) };
        }
    }
    report.verdict(&format!("{}/query_valid", file.stem()), verdict);
    report.at_most(&format!("{}/query_value", file.stem()), largest, bound);
    Ok(())
}

fn refined(
    file: &TensorFile,
    maps: &DepthMaps<'_>,
    threshold: f32,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let numbers = file.f32("gauss")?;
    let pixels = maps.depth.len();
    let numbers = Tensor::new(&report.device(), &[pixels, numbers.len() / pixels], numbers)?;
    let got = refine_depth(maps, Samples::Given(&numbers), threshold)?.read::<f32>()?;
    let fragile = file.u8("fragile")?;
    let text = text(file, "refined_depth")?;
    let bound = number_after(text, "within")?;
    let (of_sound, of_all) = text.split_once(';').context("two shares")?;
    for name in ["refined_depth", "refined_depth_f64"] {
        let want = file.f64(name)?;
        let close = |i: &usize| (f64::from(got[*i]) - want[*i]).abs() <= bound;
        let sound: Vec<usize> = (0..pixels).filter(|&i| fragile[i] == 0).collect();
        for (kind, kept, part) in [("sound", sound, of_sound), ("all", (0..pixels).collect(), of_all)] {
            let share = 100.0 * kept.iter().filter(|i| close(i)).count() as f64 / kept.len() as f64;
            let missing = 100.0 - number_after(part, ">=")?;
            // In percent: the pixels that are elsewhere.
            report.at_most(&format!("{}/{name}/{kind}", file.stem()), 100.0 - share, missing);
        }
    }
    Ok(())
}

fn views(file: &TensorFile) -> anyhow::Result<Vec<View>> {
    let shape = file.shape("depth")?;
    let (poses, focals, centers) = (file.f64("cam2w")?, file.f64("focal")?, file.f64("pp")?);
    let view = |i: usize| {
        let pose = |row: usize, column: usize| poses[16 * i + 4 * row + column];
        // The inverse of a rotation is its transpose.
        let camera_from_world = [0, 1, 2].map(|c| {
            let shift = -(0..3).map(|r| pose(r, c) * pose(r, 3)).sum::<f64>();
            [pose(0, c), pose(1, c), pose(2, c), shift]
        });
        View {
            width: shape[2],
            height: shape[1],
            focal_px: [focals[i]; 2],
            center_px: [centers[2 * i], centers[2 * i + 1]],
            camera_from_world,
        }
    };
    Ok((0..shape[0]).map(view).collect())
}

fn text<'a>(file: &'a TensorFile, quantity: &str) -> anyhow::Result<&'a str> {
    file.entry()["tolerance"][quantity].as_str().with_context(|| format!("a tolerance for `{quantity}`"))
}
