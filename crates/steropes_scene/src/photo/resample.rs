//! Lanczos and bicubic resampling of 8-bit RGB in the fixed-point arithmetic of Pillow.
//!
//! Separable, with an 8-bit image between the two passes. Weights are normalised in f64 and rounded to 22 fractional
//! bits, so the result has the same bytes on every machine.

use image::RgbImage;
use rayon::prelude::*;
use std::f64::consts::PI;

/// Fractional bits of the weights: 8 bits of the pixel, 2 of headroom for overshoot, 32 in all.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The interpolation kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `sinc(x) sinc(x/3)` for `|x| < 3`.
    Lanczos,
    /// Keys' cubic with `a = -0.5`, for `|x| < 2`.
    Bicubic,
}

impl Filter {
    /// Half the kernel's width in source pixels of an enlargement.
    fn support(self) -> f64 {
        match self {
            Self::Lanczos => 3.0,
            Self::Bicubic => 2.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
            Self::Bicubic => bicubic(x.abs()),
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// Source pixels of one output pixel: `weights[i]` belongs to source `first + i`.
#[derive(Debug)]
struct Window {
    first: usize,
    weights: Vec<i32>,
}

/// The windows of all output pixels of one axis.
fn windows(from: usize, to: usize, filter: Filter) -> Vec<Window> {
    let scale = from as f64 / to as f64;
    let filter_scale = scale.max(1.0);
    let support = filter.support() * filter_scale;
    let per_pixel = 1.0 / filter_scale;
    (0..to)
        .map(|i| {
            let center = (i as f64 + 0.5) * scale;
            // Casts truncate towards zero, as the definition asks.
            let first = ((center - support + 0.5) as i64).max(0) as usize;
            let end = ((center + support + 0.5) as usize).min(from);
            let raw: Vec<f64> =
                (first..end).map(|j| filter.weight((j as f64 - center + 0.5) * per_pixel)).collect();
            let sum: f64 = raw.iter().sum();
            let weights = raw.iter().map(|w| fixed_point(w / sum)).collect();
            Window { first, weights }
        })
        .collect()
}

/// Rounds half away from zero.
fn fixed_point(weight: f64) -> i32 {
    let scaled = weight * f64::from(1u32 << PRECISION_BITS);
    (scaled + 0.5f64.copysign(weight)) as i32
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

/// `image` at `width` x `height` pixels, with the bytes of Pillow 13. An axis that keeps its length is not filtered.
///
/// # Panics
/// If a side is zero.
pub fn resize(image: &RgbImage, width: u32, height: u32, filter: Filter) -> RgbImage {
    assert!(width > 0 && height > 0 && image.width() > 0 && image.height() > 0, "sides are positive");
    let [from_width, from_height] = [image.width(), image.height()];
    match (width == from_width, height == from_height) {
        (true, true) => image.clone(),
        (true, false) => resize_columns(image, height, filter),
        (false, true) => resize_rows(image, width, filter),
        (false, false) if columns_come_first([from_width, from_height], [width, height]) => {
            resize_rows(&resize_columns(image, height, filter), width, filter)
        }
        (false, false) => resize_columns(&resize_rows(image, width, filter), height, filter),
    }
}

/// Whether the vertical pass goes first: where rows are lost and more than twice as many as columns, as observed in
/// Pillow 13.0 (up to version 12 the horizontal pass always goes first). The order changes bytes, since the image
/// between the passes is rounded and clamped. Photos more than twice as high as wide are concerned.
fn columns_come_first(from: [u32; 2], to: [u32; 2]) -> bool {
    let [lost_columns, lost_rows] = [0, 1].map(|i| i64::from(from[i]) - i64::from(to[i]));
    lost_rows > 0 && 2 * lost_columns < lost_rows
}

fn resize_rows(image: &RgbImage, width: u32, filter: Filter) -> RgbImage {
    let windows = windows(image.width() as usize, width as usize, filter);
    let mut out = RgbImage::new(width, image.height());
    let row_bytes = 3 * image.width() as usize;
    out.par_chunks_exact_mut(3 * width as usize).zip(image.par_chunks_exact(row_bytes)).for_each(
        |(out, row)| {
            for (pixel, window) in out.chunks_exact_mut(3).zip(&windows) {
                let mut sums = [1i32 << (PRECISION_BITS - 1); 3];
                let taps = row[3 * window.first..].chunks_exact(3).zip(&window.weights);
                for (source, &weight) in taps {
                    for (sum, &value) in sums.iter_mut().zip(source) {
                        *sum += i32::from(value) * weight;
                    }
                }
                for (byte, sum) in pixel.iter_mut().zip(sums) {
                    *byte = to_byte(sum);
                }
            }
        },
    );
    out
}

fn resize_columns(image: &RgbImage, height: u32, filter: Filter) -> RgbImage {
    let windows = windows(image.height() as usize, height as usize, filter);
    let mut out = RgbImage::new(image.width(), height);
    let row_bytes = 3 * image.width() as usize;
    out.par_chunks_exact_mut(row_bytes).zip(&windows).for_each(|(out, window)| {
        let mut sums = vec![1i32 << (PRECISION_BITS - 1); row_bytes];
        let rows = image.chunks_exact(row_bytes).skip(window.first);
        for (row, &weight) in rows.zip(&window.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += i32::from(value) * weight;
            }
        }
        for (byte, sum) in out.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;
    use steropes_testkit::inputs::uniform;

    fn noise(width: u32, height: u32) -> RgbImage {
        let values = uniform(&format!("noise{width}x{height}"), (3 * width * height) as usize);
        RgbImage::from_raw(width, height, values.iter().map(|v| ((v * 0.5 + 0.5) * 256.0) as u8).collect())
            .unwrap()
    }

    const SIZES: [(u32, u32); 5] = [(17, 5), (40, 61), (23, 61), (1, 1), (23, 90)];

    /// Weights sum to one, so a flat image stays flat (fixed-point sums are off by less than half a level).
    #[test]
    fn a_flat_image_stays_flat() {
        for filter in [Filter::Lanczos, Filter::Bicubic] {
            for value in [0, 1, 127, 254, 255] {
                let flat = RgbImage::from_pixel(23, 61, Rgb([value, 255 - value, 7]));
                for (w, h) in SIZES {
                    let out = resize(&flat, w, h, filter);
                    assert!(
                        out.pixels().all(|p| p.0 == [value, 255 - value, 7]),
                        "{filter:?} {value} {w}x{h}"
                    );
                }
            }
        }
    }

    /// The definition, pixel by pixel in f64 without fixed point: never more than one level off per pass.
    #[test]
    fn fixed_point_is_within_a_level_of_the_real_numbers() {
        let image = noise(23, 61);
        for filter in [Filter::Lanczos, Filter::Bicubic] {
            for (w, h) in SIZES {
                let real_columns = |image: &RgbImage| {
                    let turned = image::imageops::rotate90(image);
                    image::imageops::rotate270(&real_rows(&turned, h, filter))
                };
                let want = if columns_come_first([23, 61], [w, h]) {
                    real_rows(&real_columns(&image), w, filter)
                } else {
                    real_columns(&real_rows(&image, w, filter))
                };
                let got = resize(&image, w, h, filter);
                let worst = got.iter().zip(want.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                assert!(worst <= 1, "{filter:?} {w}x{h}: {worst}");
            }
        }
    }

    fn real_rows(image: &RgbImage, width: u32, filter: Filter) -> RgbImage {
        let scale = f64::from(image.width()) / f64::from(width);
        RgbImage::from_fn(width, image.height(), |x, y| {
            let mut sums = [0.0; 3];
            let mut total = 0.0;
            for j in 0..image.width() {
                let weight =
                    filter.weight((f64::from(j) + 0.5 - (f64::from(x) + 0.5) * scale) / scale.max(1.0));
                total += weight;
                for (sum, &value) in sums.iter_mut().zip(&image.get_pixel(j, y).0) {
                    *sum += weight * f64::from(value);
                }
            }
            Rgb(sums.map(|s: f64| (s / total).round().clamp(0.0, 255.0) as u8))
        })
    }

    /// Windows are symmetric, so flipping commutes with resizing up to the rounding of ties.
    #[test]
    fn flipping_commutes_with_resizing() {
        let image = noise(64, 48);
        for (w, h) in [(32, 16), (100, 77)] {
            let a = image::imageops::flip_horizontal(&resize(&image, w, h, Filter::Lanczos));
            let b = resize(&image::imageops::flip_horizontal(&image), w, h, Filter::Lanczos);
            let worst = a.iter().zip(b.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1, "{w}x{h}: {worst}");
        }
    }

    /// The one tall photo of the test is clamped between the passes, so the order shows.
    #[test]
    fn tall_photos_lose_their_rows_first() {
        assert!(columns_come_first([308, 685], [173, 384]));
        assert!(!columns_come_first([480, 640], [384, 512]));
        assert!(!columns_come_first([100, 200], [80, 240]), "no row is lost");
        assert!(!columns_come_first([200, 300], [162, 224]) && columns_come_first([200, 300], [163, 224]));
        let tall = RgbImage::from_fn(30, 80, |x, y| Rgb([if (x / 3 + y / 3) % 2 == 0 { 255 } else { 0 }; 3]));
        let got = resize(&tall, 19, 50, Filter::Lanczos);
        assert_eq!(got, resize_rows(&resize_columns(&tall, 50, Filter::Lanczos), 19, Filter::Lanczos));
        assert_ne!(got, resize_columns(&resize_rows(&tall, 19, Filter::Lanczos), 50, Filter::Lanczos));
    }

    #[test]
    fn the_same_size_is_a_copy() {
        let image = noise(19, 7);
        assert_eq!(resize(&image, 19, 7, Filter::Bicubic), image);
    }

    #[test]
    fn windows_match_hand_computed_weights() {
        // Bicubic 2 -> 4: the first output is centred at 0.25 and sees both sources, at distances 0.25 and 1.25.
        let at = |x: f64| bicubic(x);
        let sum = at(0.25) + at(1.25);
        let window = &windows(2, 4, Filter::Bicubic)[0];
        assert_eq!((window.first, window.weights.len()), (0, 2));
        assert_eq!(window.weights[0], (at(0.25) / sum * 4_194_304.0).round() as i32);
        assert_eq!(window.weights[1], (at(1.25) / sum * 4_194_304.0).round() as i32);
    }
}
