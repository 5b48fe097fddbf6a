//! How far the program's confidence in a photo tells its true error.

use anyhow::anyhow;
use plotters::prelude::{
    ChartBuilder, Circle, Color as _, IntoDrawingArea as _, IntoLogRange as _, RGBColor, SVGBackend, WHITE,
};
use std::path::Path;

/// One photo: what the program thinks of its camera, and the camera's true error.
pub(super) struct Dot {
    /// Confidence, 0 to 1.
    pub(super) confidence: f64,
    /// Error of the rotation after alignment, in degrees.
    pub(super) rotation_deg: f64,
    /// Whether the truth is exact (rendered photos).
    pub(super) exact: bool,
}

const SIZE: (u32, u32) = (720, 480);
const RENDERED: RGBColor = RGBColor(31, 119, 180);
const REAL: RGBColor = RGBColor(214, 39, 40);
/// Smaller errors are drawn here.
const LEAST_DEG: f64 = 1e-3;

/// Draws the dots as SVG.
///
/// # Errors
/// The file cannot be written.
pub(super) fn draw(path: &Path, dots: &[Dot]) -> anyhow::Result<()> {
    let wrong = |error: &dyn std::fmt::Display| anyhow!("drawing `{}`: {error}", path.display());
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|e| wrong(&e))?;
    let largest = dots.iter().map(|d| d.rotation_deg).fold(1.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption("confidence of a photo and its true rotation error", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..1.0, (LEAST_DEG..2.0 * largest).log_scale())
        .map_err(|e| wrong(&e))?;
    chart
        .configure_mesh()
        .x_desc("confidence")
        .y_desc("rotation error, degrees (blue: rendered photos, red: real photos)")
        .draw()
        .map_err(|e| wrong(&e))?;
    let circles = dots.iter().map(|d| {
        let color = if d.exact { RENDERED } else { REAL };
        Circle::new((d.confidence, d.rotation_deg.max(LEAST_DEG)), 4, color.mix(0.7).filled())
    });
    chart.draw_series(circles).map_err(|e| wrong(&e))?;
    area.present().map_err(|e| wrong(&e))
}

/// Spearman's rank correlation of confidence and rotation error: -1 if a surer photo is always better.
pub(super) fn rank_correlation(dots: &[Dot]) -> f64 {
    let a = ranks(dots.iter().map(|d| d.confidence).collect());
    let b = ranks(dots.iter().map(|d| d.rotation_deg).collect());
    let middle = (dots.len() as f64 - 1.0) / 2.0;
    let product: f64 = a.iter().zip(&b).map(|(x, y)| (x - middle) * (y - middle)).sum();
    let square = |r: &[f64]| r.iter().map(|x| (x - middle) * (x - middle)).sum::<f64>();
    product / (square(&a) * square(&b)).sqrt()
}

fn ranks(values: Vec<f64>) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for (rank, i) in order.into_iter().enumerate() {
        ranks[i] = rank as f64;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surer_photo_that_is_always_better_correlates_fully() {
        let dot = |confidence: f64, rotation_deg: f64| Dot { confidence, rotation_deg, exact: true };
        let falling = [dot(0.1, 9.0), dot(0.9, 0.1), dot(0.5, 2.0)];
        assert!((rank_correlation(&falling) + 1.0).abs() < 1e-12);
        let mixed = [dot(0.1, 1.0), dot(0.5, 9.0), dot(0.9, 1.1)];
        assert!(rank_correlation(&mixed).abs() < 0.6);
    }
}
