//! Dense depth for cameras that were refined without it: the depths of triangulated tracks say by how much the
//! network's depth must grow, per image and, smoothly, per region.

use super::{AlignmentError, DenseImage};
use crate::camera::Camera;
use nalgebra::{DMatrix, DVector};
use steropes_ops::geometry::canonical_view::CanonicalView;

/// The depth of a triangulated point at a pixel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackDepth {
    /// Pixel (x, y).
    pub pixel: [f32; 2],
    /// Depth along the optical axis of the refined camera.
    pub depth: f32,
    /// Weight, above 0: the inverse variance of the logarithm of the depth, up to a factor.
    pub weight: f32,
}

/// How well a depth map agrees with the tracks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rescaling {
    /// Median factor.
    pub scale: f64,
    /// 1.4826 times the median absolute deviation of the logarithms of the tracks' factors from the factor applied.
    pub spread: f64,
    /// Number of tracks.
    pub tracks: usize,
}

/// How the factor may vary within an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Correction {
    /// One factor per image.
    Constant,
    /// A smooth field: the value is the variance of a track's logarithm over that of the change between two
    /// neighbours of the grid of factors (about 16 per image side). 4 suits tracks that are right within 1 or 2 %.
    Smooth(f64),
}

/// Nodes along the longer side of the field.
const NODES: f64 = 16.0;
/// Rounds of reweighting.
const ROUNDS: usize = 6;

/// Bilinear weights of a pixel on the grid of factors.
struct Grid {
    columns: usize,
    rows: usize,
    spacing: f64,
}

impl Grid {
    fn new([width, height]: [usize; 2]) -> Self {
        let spacing = (width.max(height) as f64 / NODES).max(1.0);
        let nodes = |side: usize| (side as f64 / spacing).ceil() as usize + 1;
        Self { columns: nodes(width), rows: nodes(height), spacing }
    }

    fn weights(&self, x: f64, y: f64) -> [(usize, f64); 4] {
        let place = |v: f64, nodes: usize| {
            let v = (v / self.spacing).clamp(0.0, (nodes - 1) as f64);
            let low = (v as usize).min(nodes.saturating_sub(2));
            (low, v - low as f64)
        };
        let ((i, a), (j, b)) = (place(x, self.columns), place(y, self.rows));
        let node = |i: usize, j: usize| j.min(self.rows - 1) * self.columns + i.min(self.columns - 1);
        [
            (node(i, j), (1.0 - a) * (1.0 - b)),
            (node(i + 1, j), a * (1.0 - b)),
            (node(i, j + 1), (1.0 - a) * b),
            (node(i + 1, j + 1), a * b),
        ]
    }

    fn edges(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        (0..self.rows * self.columns).flat_map(move |k| {
            let right = (k % self.columns + 1 < self.columns).then_some((k, k + 1));
            let below = (k / self.columns + 1 < self.rows).then_some((k, k + self.columns));
            right.into_iter().chain(below)
        })
    }
}

/// Multiplies a depth map so that it agrees with the tracks: by one robust factor, or by a smooth field of them.
///
/// The logarithms of the factors minimise a Huber loss at the tracks plus the squared differences of neighbouring
/// nodes; tracks whose pixel has no positive depth are left out.
///
/// # Errors
/// [`AlignmentError::Value`] if the map does not fit the size, a track is outside or not positive, or no track is
/// left.
pub fn rescale_to_tracks(
    [width, height]: [usize; 2],
    depth: &mut [f32],
    tracks: &[TrackDepth],
    correction: Correction,
) -> Result<Rescaling, AlignmentError> {
    if depth.len() != width * height {
        return Err(AlignmentError::value("depth", format!("{} values", width * height), depth.len()));
    }
    let samples = samples([width, height], depth, tracks)?;
    let Some(center) = weighted_median(samples.iter().map(|s| (s.log_factor, s.weight)).collect()) else {
        return Err(AlignmentError::value("tracks", "at least one on a positive depth", "none"));
    };
    let grid = Grid::new([width, height]);
    let field = match correction {
        Correction::Smooth(stiffness) if stiffness.is_finite() && stiffness > 0.0 => {
            fit(&grid, &samples, center, stiffness)
        }
        Correction::Smooth(stiffness) => {
            return Err(AlignmentError::value("correction", "a positive number", stiffness));
        }
        Correction::Constant => vec![center; grid.columns * grid.rows],
    };
    let at = |x: f64, y: f64| grid.weights(x, y).iter().map(|&(k, w)| w * field[k]).sum::<f64>();
    let spread = 1.4826 * deviation(&samples, &|s| s.log_factor - at(s.x, s.y));
    for (i, z) in depth.iter_mut().enumerate() {
        *z *= at((i % width) as f64, (i / width) as f64).exp() as f32;
    }
    Ok(Rescaling { scale: center.exp(), spread, tracks: samples.len() })
}

/// A track on the depth map.
struct Sample {
    x: f64,
    y: f64,
    log_factor: f64,
    weight: f64,
}

fn samples(
    [width, height]: [usize; 2],
    depth: &[f32],
    tracks: &[TrackDepth],
) -> Result<Vec<Sample>, AlignmentError> {
    let mut samples = Vec::with_capacity(tracks.len());
    for t in tracks {
        let [x, y] = t.pixel.map(f64::from);
        let inside = x >= -0.5 && y >= -0.5 && x < width as f64 - 0.5 && y < height as f64 - 0.5;
        if !inside {
            let expected = format!("inside {width} x {height}");
            return Err(AlignmentError::value("tracks", expected, format!("({x}, {y})")));
        }
        for (name, v) in [("track depth", t.depth), ("track weight", t.weight)] {
            if !(v.is_finite() && v > 0.0) {
                return Err(AlignmentError::value(name, "positive", v));
            }
        }
        // The nearest sample: between samples of different surfaces there is no meaningful mean.
        let pixel = (y.round().max(0.0) as usize) * width + x.round().max(0.0) as usize;
        let own = f64::from(depth[pixel]);
        if own.is_finite() && own > 0.0 {
            let log_factor = (f64::from(t.depth) / own).ln();
            samples.push(Sample { x, y, log_factor, weight: f64::from(t.weight) });
        }
    }
    let mean = samples.iter().map(|s| s.weight).sum::<f64>() / samples.len().max(1) as f64;
    for s in &mut samples {
        s.weight /= mean;
    }
    Ok(samples)
}

/// Logarithms of the factors at the nodes.
fn fit(grid: &Grid, samples: &[Sample], center: f64, stiffness: f64) -> Vec<f64> {
    let nodes = grid.columns * grid.rows;
    let mut field = DVector::from_element(nodes, center);
    let weights: Vec<_> = samples.iter().map(|s| grid.weights(s.x, s.y)).collect();
    for _ in 0..ROUNDS {
        let value = |i: usize| weights[i].iter().map(|&(k, w)| w * field[k]).sum::<f64>();
        let errors: Vec<f64> = samples.iter().enumerate().map(|(i, s)| s.log_factor - value(i)).collect();
        let scale = 1.4826 * median_of(errors.iter().map(|e| e.abs()).collect());
        let limit = (1.345 * scale).max(1e-6);
        let mut normal = DMatrix::zeros(nodes, nodes);
        let mut right = DVector::zeros(nodes);
        for ((s, w), e) in samples.iter().zip(&weights).zip(&errors) {
            let robust = s.weight * (limit / e.abs()).min(1.0);
            for &(a, wa) in w {
                right[a] += robust * wa * (s.log_factor - center);
                for &(b, wb) in w {
                    normal[(a, b)] += robust * wa * wb;
                }
            }
        }
        for (a, b) in grid.edges() {
            normal[(a, a)] += stiffness;
            normal[(b, b)] += stiffness;
            normal[(a, b)] -= stiffness;
            normal[(b, a)] -= stiffness;
        }
        // Holds the field at the median where nothing else does, and the matrix positive.
        for k in 0..nodes {
            normal[(k, k)] += 1e-6 * stiffness;
        }
        let Some(cholesky) = normal.cholesky() else { break };
        field = cholesky.solve(&right).add_scalar(center);
    }
    field.iter().copied().collect()
}

fn deviation(samples: &[Sample], error: &dyn Fn(&Sample) -> f64) -> f64 {
    median_of(samples.iter().map(|s| error(s).abs()).collect())
}

fn median_of(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

/// The value at which half of the weight is reached.
fn weighted_median(mut values: Vec<(f64, f64)>) -> Option<f64> {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = values.iter().map(|v| v.1).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    values
        .into_iter()
        .find(|v| {
            sum += v.1;
            sum >= half
        })
        .map(|v| v.0)
}

/// Dense points for given cameras, not cleaned.
///
/// `depths` holds a depth map per image in any scale (of the alignment, or of the canonical view); each is rescaled
/// to its `tracks`. An image without tracks takes the median factor of the others.
///
/// # Errors
/// [`AlignmentError::Value`] if the lists do not fit each other or no image has a track.
pub fn dense_for_cameras(
    cameras: &[Camera],
    views: &[&CanonicalView],
    depths: Vec<Vec<f32>>,
    tracks: &[Vec<TrackDepth>],
    correction: Correction,
) -> Result<Vec<(DenseImage, Rescaling)>, AlignmentError> {
    for (name, len) in [("views", views.len()), ("depths", depths.len()), ("tracks", tracks.len())] {
        if len != cameras.len() {
            return Err(AlignmentError::value(name, format!("one per camera ({})", cameras.len()), len));
        }
    }
    let mut depths = depths;
    let mut results = vec![None; cameras.len()];
    for (i, view) in views.iter().enumerate() {
        if !tracks[i].is_empty() {
            let size = [view.width, view.height];
            results[i] = Some(rescale_to_tracks(size, &mut depths[i], &tracks[i], correction)?);
        }
    }
    let known: Vec<f64> = results.iter().flatten().map(|r: &Rescaling| r.scale).collect();
    if known.is_empty() && !cameras.is_empty() {
        return Err(AlignmentError::value("tracks", "at least one in some image", "none"));
    }
    let image = |(i, mut depth): (usize, Vec<f32>)| {
        let rescaling = results[i].unwrap_or_else(|| {
            let scale = median_of(known.clone());
            for z in &mut depth {
                *z *= scale as f32;
            }
            Rescaling { scale, spread: 0.0, tracks: 0 }
        });
        let view = views[i];
        let size = [view.width, view.height];
        Ok((DenseImage::from_depth(&cameras[i], size, depth, view.confidence.clone())?, rescaling))
    };
    depths.into_iter().enumerate().map(image).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: [usize; 2] = [64, 48];

    /// The true factor over the image, and tracks with 1 % noise of which every eighth is wrong by a half.
    fn tracks(factor: impl Fn(f64, f64) -> f64) -> Vec<TrackDepth> {
        let mut tracks = Vec::new();
        for i in 0..400usize {
            let (x, y) = ((i * 37 % 64) as f64, (i * 53 % 48) as f64);
            let noise = 0.01 * ((i * 7919 % 101) as f64 / 50.0 - 1.0);
            let wrong = if i % 8 == 0 { 1.5 } else { 1.0 };
            let depth = 2.0 * factor(x, y) * (1.0 + noise) * wrong;
            tracks.push(TrackDepth { pixel: [x as f32, y as f32], depth: depth as f32, weight: 1.0 });
        }
        tracks
    }

    fn worst(correction: Correction, factor: impl Fn(f64, f64) -> f64 + Copy) -> f64 {
        let mut depth = vec![2.0f32; 64 * 48];
        let result = rescale_to_tracks(SIZE, &mut depth, &tracks(factor), correction).expect("fits");
        assert_eq!(result.tracks, 400);
        let error = |i: usize| f64::from(depth[i]) / (2.0 * factor((i % 64) as f64, (i / 64) as f64)) - 1.0;
        (0..depth.len()).map(|i| error(i).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn a_constant_factor_is_found_despite_outliers() {
        for correction in [Correction::Constant, Correction::Smooth(4.0)] {
            let error = worst(correction, |_, _| 1.7);
            assert!(error < 0.01, "{correction:?}: {error}");
        }
    }

    #[test]
    fn a_varying_factor_needs_the_field() {
        let factor = |x: f64, y: f64| 1.2 + 0.002 * x + 0.05 * (y / 16.0).sin();
        let (constant, smooth) =
            (worst(Correction::Constant, factor), worst(Correction::Smooth(4.0), factor));
        assert!(constant > 0.05 && smooth < 0.5 * constant, "{constant} {smooth}");
    }

    #[test]
    fn bad_input_is_refused() {
        let text = |size, tracks: &[TrackDepth], correction| {
            rescale_to_tracks(size, &mut [1.0; 12], tracks, correction).expect_err("refused").to_string()
        };
        let track = TrackDepth { pixel: [1.0, 1.0], depth: 1.0, weight: 1.0 };
        assert!(text([5, 3], &[track], Correction::Constant).contains("`depth` must be 15 values, got 12"));
        assert!(text([4, 3], &[], Correction::Constant).contains("`tracks` must be at least one"));
        let outside = TrackDepth { pixel: [4.0, 1.0], ..track };
        assert!(text([4, 3], &[outside], Correction::Constant).contains("`tracks` must be inside 4 x 3"));
        let flat = TrackDepth { depth: 0.0, ..track };
        assert!(
            text([4, 3], &[flat], Correction::Constant).contains("`track depth` must be positive, got 0")
        );
        let weightless = TrackDepth { weight: f32::NAN, ..track };
        assert!(
            text([4, 3], &[weightless], Correction::Constant).contains("`track weight` must be positive")
        );
        assert!(text([4, 3], &[track], Correction::Smooth(0.0)).contains("`correction` must be a positive"));
    }
}
