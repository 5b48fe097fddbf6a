//! The focal length of an image from its pointmap.

/// A range of focal lengths around that of a 60 degree view, `max(width, height) / (2 tan 30°)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalRange {
    /// Smallest factor; 0 for no limit.
    pub min: f64,
    /// Largest factor; infinite for no limit.
    pub max: f64,
}

impl FocalRange {
    /// The range of the sparse alignment: 0.5 to 3.5.
    pub const ALIGNMENT: Self = Self { min: 0.5, max: 3.5 };
    /// No limits.
    pub const ALL: Self = Self { min: 0.0, max: f64::INFINITY };

    fn clamp(self, focal_px: f64, [width, height]: [usize; 2]) -> f64 {
        let usual = width.max(height) as f64 / (2.0 * 30f64.to_radians().tan());
        focal_px.max(self.min * usual).min(self.max * usual)
    }
}

/// Why there is no focal length.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum FocalError {
    /// The list of points does not fit the image.
    #[error("focal: `points` must have {expected} values, got {found}")]
    Length {
        /// `3 width height`
        expected: usize,
        /// Length of the list.
        found: usize,
    },
    /// All points lie on the optical axis or are not finite.
    #[error("focal: `points` must hold a finite point off the optical axis, got none")]
    NoPoint,
}

/// One pixel with the direction of its point.
struct Ray {
    /// Pixel minus principal point.
    u: [f64; 2],
    /// Point divided by its depth; 0 where that is not finite.
    q: [f64; 2],
}

fn rays(points: &[f32], [width, height]: [usize; 2], principal_px: [f64; 2]) -> Result<Vec<Ray>, FocalError> {
    if points.len() != 3 * width * height {
        return Err(FocalError::Length { expected: 3 * width * height, found: points.len() });
    }
    let ray = |(i, p): (usize, &[f32])| {
        let z = f64::from(p[2]);
        let q = [f64::from(p[0]) / z, f64::from(p[1]) / z].map(|v| if v.is_finite() { v } else { 0.0 });
        Ray { u: [(i % width) as f64 - principal_px[0], (i / width) as f64 - principal_px[1]], q }
    };
    Ok(points.chunks_exact(3).enumerate().map(ray).collect())
}

/// The focal length, in pixels, that minimises the sum of the distances between pixels and projected points.
///
/// Starts at the least-squares solution; ten rounds weight each pixel by the inverse of its distance (Weiszfeld's
/// algorithm). `points` is `[height, width, 3]` in the camera frame; points whose direction is not finite count as on
/// the axis.
///
/// # Errors
/// [`FocalError`] if the list does not fit or no point tells anything.
///
/// # Source
/// DUSt3R, arXiv:2312.14132, section 3.3; Weiszfeld 1937. Written from the formulas.
pub fn weiszfeld(
    points: &[f32],
    [width, height]: [usize; 2],
    principal_px: [f64; 2],
    range: FocalRange,
) -> Result<f64, FocalError> {
    let rays = rays(points, [width, height], principal_px)?;
    let round = |weight: &dyn Fn(&Ray) -> f64| {
        let (mut above, mut below) = (0.0, 0.0);
        for r in &rays {
            let w = weight(r);
            above += w * (r.q[0] * r.u[0] + r.q[1] * r.u[1]);
            below += w * (r.q[0] * r.q[0] + r.q[1] * r.q[1]);
        }
        above / below
    };
    let mut focal = round(&|_| 1.0);
    for _ in 0..10 {
        focal = round(&|r| 1.0 / (r.u[0] - focal * r.q[0]).hypot(r.u[1] - focal * r.q[1]).max(1e-8));
    }
    if focal.is_finite() { Ok(range.clamp(focal, [width, height])) } else { Err(FocalError::NoPoint) }
}

/// The median of all votes `u z / x` and `v z / y`, in pixels; the lower of the two middle ones, votes that are no
/// number left out.
///
/// # Errors
/// [`FocalError`] if the list does not fit or there is no vote.
///
/// # Source
/// DUSt3R, arXiv:2312.14132 (released program, behaviour as specified); written from the formula.
pub fn median(
    points: &[f32],
    [width, height]: [usize; 2],
    principal_px: [f64; 2],
    range: FocalRange,
) -> Result<f64, FocalError> {
    if points.len() != 3 * width * height {
        return Err(FocalError::Length { expected: 3 * width * height, found: points.len() });
    }
    let mut votes: Vec<f64> = Vec::with_capacity(2 * width * height);
    for (i, p) in points.chunks_exact(3).enumerate() {
        let u = [(i % width) as f64 - principal_px[0], (i / width) as f64 - principal_px[1]];
        votes.extend((0..2).map(|c| u[c] * f64::from(p[2]) / f64::from(p[c])).filter(|v| !v.is_nan()));
    }
    if votes.is_empty() {
        return Err(FocalError::NoPoint);
    }
    let middle = (votes.len() - 1) / 2;
    let (_, focal, _) = votes.select_nth_unstable_by(middle, f64::total_cmp);
    Ok(range.clamp(*focal, [width, height]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A slanted plane seen with the given focal length.
    fn plane(focal: f64, [width, height]: [usize; 2], principal: [f64; 2]) -> Vec<f32> {
        let point = |i: usize| {
            let (u, v) = ((i % width) as f64 - principal[0], (i / width) as f64 - principal[1]);
            let z = 2.0 + 0.01 * u - 0.02 * v;
            [(u / focal * z) as f32, (v / focal * z) as f32, z as f32]
        };
        (0..width * height).flat_map(point).collect()
    }

    #[test]
    fn exact_maps_give_their_focal_length() {
        let (size, principal) = ([31, 22], [15.2, 10.9]);
        let points = plane(40.0, size, principal);
        for focal in [weiszfeld, median].map(|f| f(&points, size, principal, FocalRange::ALL).expect("fits"))
        {
            assert!((focal / 40.0 - 1.0).abs() < 1e-6, "{focal}");
        }
    }

    #[test]
    fn outliers_move_it_little_and_limits_hold() {
        let (size, principal) = ([32, 24], [16.0, 12.0]);
        let mut points = plane(40.0, size, principal);
        for p in points.chunks_exact_mut(3).step_by(10) {
            p[0] += 3.0;
        }
        let focal = weiszfeld(&points, size, principal, FocalRange::ALL).expect("fits");
        assert!((focal / 40.0 - 1.0).abs() < 0.03, "{focal}");
        let usual = 32.0 / (2.0 * 30f64.to_radians().tan());
        let wide = weiszfeld(&plane(1.0, size, principal), size, principal, FocalRange::ALIGNMENT);
        assert_eq!(wide, Ok(0.5 * usual));
    }

    #[test]
    fn bad_input_is_refused() {
        let length = Err(FocalError::Length { expected: 12, found: 9 });
        assert_eq!(weiszfeld(&[0.0; 9], [2, 2], [1.0; 2], FocalRange::ALL), length);
        assert_eq!(median(&[0.0; 9], [2, 2], [1.0; 2], FocalRange::ALL), length);
        assert_eq!(weiszfeld(&[f32::NAN; 12], [2, 2], [1.0; 2], FocalRange::ALL), Err(FocalError::NoPoint));
        assert_eq!(median(&[f32::NAN; 12], [2, 2], [1.0; 2], FocalRange::ALL), Err(FocalError::NoPoint));
    }
}
