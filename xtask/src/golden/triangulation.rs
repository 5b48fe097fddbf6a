//! Section 7: points from pixels in several cameras, and from matches with a reference image.

use super::registration::number_after;
use super::{Report, TensorFile};
use anyhow::{Context as _, ensure};
use steropes_ops::geometry::triangulation::{points_from_matches, triangulate};
use steropes_tensor::Tensor;

/// Runs one file. Its cases are told apart by their tensors: pixels with projections, or cameras with matches.
///
/// # Errors
/// The file lacks a tensor or the manifest an entry.
pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    for name in file.names() {
        if let Some(case) = name.strip_suffix(".pts2d") {
            points(file, case, report)?;
        } else if let Some(case) = name.strip_suffix(".matches") {
            matches(file, case, report)?;
        }
    }
    Ok(())
}

fn points(file: &TensorFile, case: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let name = format!("{}/{case}", file.stem());
    let device = report.device();
    let pixels = file.tensor(&format!("{case}.pts2d"), &device)?;
    let projections = file.tensor(&format!("{case}.P"), &device)?;
    let got = triangulate(&pixels, &projections)?.read::<f32>()?;
    if !file.has(&format!("{case}.X")) {
        // A degenerate case: no answer, or one that solves the equations.
        let residual = residual(&got, &pixels.read()?, &projections.read()?);
        let none = got.iter().all(|v| !v.is_finite());
        let verdict = match residual {
            _ if none => Ok("no point".to_owned()),
            r if r <= 1e-4 => Ok(format!("residual {r:.2e}")),
            r => Err(format!("residual {r:.2e} of {got:?}")),
        };
        report.verdict(&name, verdict);
        return Ok(());
    }
    let want = file.f64(&format!("{case}.X"))?;
    let condition = match file.has(&format!("{case}.cond")) {
        true => file.f64(&format!("{case}.cond"))?,
        // A single point: its condition number stands in the manifest.
        false => {
            let entry = &file.entry()["params"]["cases"][case]["cond"];
            vec![entry.as_f64().with_context(|| format!("`cond` of `{case}`"))?; want.len() / 3]
        }
    };
    ensure!(want.len() == got.len() && want.len() == 3 * condition.len(), "`{case}`: shapes do not fit");
    let bound = number_after(text(file, "X")?, "")?;
    // The largest error in units of what its condition allows.
    let mut worst = 0.0f64;
    for (i, &condition) in condition.iter().enumerate() {
        let (got, want) = (&got[3 * i..3 * i + 3], &want[3 * i..3 * i + 3]);
        let size = want.iter().map(|v| v * v).sum::<f64>().sqrt().max(1.0);
        let square: f64 = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).powi(2)).sum();
        let error = square.sqrt() / (condition * size);
        worst = if error.is_nan() { error } else { worst.max(error) };
    }
    report.at_most(&name, worst, bound);
    Ok(())
}

/// The largest residual of the equations of one point, relative to the size of their coefficients.
fn residual(point: &[f32], pixels: &[f32], projections: &[f32]) -> f64 {
    let mut largest = 0.0f64;
    for (pixel, p) in pixels.chunks_exact(2).zip(projections.chunks_exact(12)) {
        for axis in 0..2 {
            let row: Vec<f64> =
                (0..4).map(|c| f64::from(p[4 * axis + c]) - f64::from(pixel[axis] * p[8 + c])).collect();
            let sum = (0..3).map(|c| row[c] * f64::from(point[c])).sum::<f64>() + row[3];
            let size = row.iter().map(|v| v * v).sum::<f64>().sqrt();
            let error = (sum / size).abs();
            largest = if error.is_nan() { error } else { largest.max(error) };
        }
    }
    largest
}

fn matches(file: &TensorFile, case: &str, report: &mut Report<'_>) -> anyhow::Result<()> {
    let device = report.device();
    let intrinsics = file.tensor(&format!("{case}.K"), &device)?;
    // Given as 3x4 or 4x4.
    let shape = file.shape(&format!("{case}.w2c"))?;
    let rows = file.f32(&format!("{case}.w2c"))?;
    let poses = rows.chunks_exact(4 * shape[2]).flat_map(|m| m[..12].to_vec()).collect();
    let poses = Tensor::new(&device, &[shape[0], shape[1], 3, 4], poses)?;
    let share = file.entry()["params"]["cases"][case]["min_num_valids_ratio"]
        .as_f64()
        .with_context(|| format!("`min_num_valids_ratio` of `{case}`"))?;
    let matches = file.tensor(&format!("{case}.matches"), &device)?;
    let found = points_from_matches(&intrinsics, &poses, &matches, share)?;
    let text = text(file, "m2d")?;
    let (median, max) = (number_after(text, "")?, number_after(text, "median")?);
    for (quantity, got) in [("points", found.points), ("depth", found.depth), ("conf", found.confidence)] {
        let want = file.f64(&format!("{case}.{quantity}"))?;
        let got = got.read::<f32>()?;
        let name = format!("{}/{case}.{quantity}", file.stem());
        let same_places = got.iter().zip(&want).all(|(g, w)| g.is_nan() == w.is_nan());
        if got.len() != want.len() || !same_places {
            report.verdict(&name, Err("NaN in other places".to_owned()));
            continue;
        }
        let numbers = got.iter().zip(&want).filter(|(_, w)| !w.is_nan());
        let mut errors: Vec<f64> = numbers.map(|(&g, w)| (f64::from(g) - w).abs()).collect();
        errors.sort_by(f64::total_cmp);
        report.at_most(
            &format!("{name}.median"),
            errors.get(errors.len() / 2).copied().unwrap_or(0.0),
            median,
        );
        report.at_most(&format!("{name}.max"), errors.last().copied().unwrap_or(0.0), max);
    }
    Ok(())
}

fn text<'a>(file: &'a TensorFile, quantity: &str) -> anyhow::Result<&'a str> {
    file.entry()["tolerance"][quantity].as_str().with_context(|| format!("a tolerance for `{quantity}`"))
}
