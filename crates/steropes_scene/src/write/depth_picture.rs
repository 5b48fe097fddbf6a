//! Depth and confidence maps as pictures.

use super::placement::rank;
use image::{Rgb, RgbImage};

/// Pixels without a value.
const MISSING: Rgb<u8> = Rgb([70, 70, 70]);

/// A depth map in colours: near is red, far is blue (Turbo over the inverse depth between its 2 % and 98 % ranks).
/// Depths that are not positive or not finite are grey.
///
/// # Shapes
/// - `depth`: `[height, width]`, row-major
///
/// # Panics
/// If `depth` does not have `width * height` values.
pub fn depth_picture(depth: &[f32], width: u32, height: u32) -> RgbImage {
    let inverse: Vec<f64> =
        depth.iter().map(|&d| if d > 0.0 { 1.0 / f64::from(d) } else { f64::NAN }).collect();
    // The inverse of an infinite depth is 0, which is no depth either.
    let valid = |v: f64| v.is_finite() && v > 0.0;
    // The ends of Turbo are nearly black.
    colored(&inverse, valid, width, height, |share| colorous::TURBO.eval_continuous(0.05 + 0.9 * share))
}

/// A confidence map in colours: dark is low, yellow is high (Viridis over the logarithm between its 2 % and 98 %
/// ranks). Values that are not positive or not finite are grey.
///
/// # Shapes
/// - `confidence`: `[height, width]`, row-major
///
/// # Panics
/// If `confidence` does not have `width * height` values.
pub fn confidence_picture(confidence: &[f32], width: u32, height: u32) -> RgbImage {
    let logarithm: Vec<f64> = confidence.iter().map(|&c| f64::from(c).ln()).collect();
    colored(&logarithm, f64::is_finite, width, height, |share| colorous::VIRIDIS.eval_continuous(share))
}

fn colored(
    values: &[f64],
    valid: impl Fn(f64) -> bool,
    width: u32,
    height: u32,
    colors: impl Fn(f64) -> colorous::Color,
) -> RgbImage {
    assert_eq!(values.len(), width as usize * height as usize, "one value for each pixel");
    let known: Vec<f64> = values.iter().copied().filter(|&v| valid(v)).collect();
    if known.is_empty() {
        return RgbImage::from_pixel(width, height, MISSING);
    }
    let (low, high) = (rank(known.clone(), 0.02), rank(known, 0.98));
    let span = if high > low { high - low } else { 1.0 };
    let pixel = |&value: &f64| {
        if !valid(value) {
            return MISSING;
        }
        let color = colors(((value - low) / span).clamp(0.0, 1.0));
        Rgb([color.r, color.g, color.b])
    };
    let bytes = values.iter().flat_map(|value| pixel(value).0).collect();
    RgbImage::from_raw(width, height, bytes).expect("three bytes a pixel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_is_red_far_is_blue_and_nothing_is_grey() {
        let mut depth: Vec<f32> = (0..100).map(|i| 1.0 + i as f32 * 0.1).collect();
        depth[50] = f32::NAN;
        depth[51] = -1.0;
        depth[52] = f32::INFINITY;
        let picture = depth_picture(&depth, 20, 5);
        let at = |i: u32| picture.get_pixel(i % 20, i / 20).0;
        assert!(at(4)[0] > at(4)[2] && at(99)[2] > at(99)[0], "{:?} {:?}", at(4), at(99));
        assert_eq!([at(50), at(51), at(52)], [MISSING.0; 3]);
    }

    #[test]
    fn confidence_grows_brighter() {
        let confidence: Vec<f32> = (0..50).map(|i| (i as f32 * 0.1).exp()).collect();
        let picture = confidence_picture(&confidence, 50, 1);
        let sum = |x: u32| picture.get_pixel(x, 0).0.iter().map(|&v| u32::from(v)).sum::<u32>();
        assert!(sum(0) < sum(25) && sum(25) < sum(49));
    }

    #[test]
    fn flat_and_empty_maps_are_pictures_too() {
        assert_eq!(
            depth_picture(&[2.0; 4], 2, 2).get_pixel(0, 0),
            depth_picture(&[2.0; 4], 2, 2).get_pixel(1, 1)
        );
        assert_eq!(depth_picture(&[f32::NAN; 4], 2, 2).get_pixel(0, 0), &MISSING);
    }
}
