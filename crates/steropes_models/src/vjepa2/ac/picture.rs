//! Pictures as the frame encoder reads them.

use crate::ModelError;
use steropes_ops::OpError;

/// Narrowest and widest shape that the training took of a picture, width over height.
const SHAPES: [f64; 2] = [0.75, 1.35];
/// Mean and standard deviation of ImageNet, of values from 0 to 255.
const MEAN: [f32; 3] = [0.485 * 255.0, 0.456 * 255.0, 0.406 * 255.0];
const STD: [f32; 3] = [0.229 * 255.0, 0.224 * 255.0, 0.225 * 255.0];

/// Which part of a picture the network sees, squeezed to a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Crop {
    /// What it saw in training: the whole picture, or of one wider than 1.35 : 1 or narrower than 3 : 4 the middle of that shape.
    #[default]
    Training,
    /// The largest square in the middle.
    Square,
}

impl Crop {
    /// Left, top, width and height of the part of a picture of this size, in pixels.
    ///
    /// A part of `1.35 height` columns is rounded half to even, and lies half a pixel to the left of the middle if it must.
    pub fn part(self, width: usize, height: usize) -> [usize; 4] {
        let shape = width as f64 / height as f64;
        let [narrowest, widest] = if self == Self::Square { [1.0, 1.0] } else { SHAPES };
        let (w, h) = if shape < narrowest {
            (width, (width as f64 / narrowest).round_ties_even() as usize)
        } else if shape > widest {
            ((height as f64 * widest).round_ties_even() as usize, height)
        } else {
            (width, height)
        };
        [(width - w) / 2, (height - h) / 2, w, h]
    }
}

/// A picture as [`super::AcModel::features`] takes it: the part `crop`, brought to `side x side` pixels and normalised.
///
/// Bilinear between pixel centres, without a filter where it is made smaller, as in the training.
///
/// # Shapes
/// - `rgb`: `[height, width, 3]`, row by row
/// - returns: `[side, side, 3]`
///
/// # Numerics
/// f32.
///
/// # Errors
/// [`ModelError::Input`] if there are not as many bytes as the size has, or a side is 0.
pub fn ac_picture(
    rgb: &[u8],
    [height, width]: [usize; 2],
    crop: Crop,
    side: usize,
) -> Result<Vec<f32>, ModelError> {
    let bytes = height.checked_mul(width).and_then(|area| area.checked_mul(3));
    if bytes != Some(rgb.len()) || rgb.is_empty() || side == 0 {
        let expected = format!("[{height}, {width}, 3] bytes, at least one pixel");
        return Err(OpError::value("ac_picture", "rgb", expected, rgb.len()).into());
    }
    let [left, top, w, h] = crop.part(width, height);
    let (columns, rows) = (taps(w, side), taps(h, side));
    let mut out = Vec::with_capacity(side * side * 3);
    for (y, below, down) in &rows {
        for (x, beside, along) in &columns {
            let pixel = |y: usize, x: usize, c: usize| f32::from(rgb[((top + y) * width + left + x) * 3 + c]);
            for c in 0..3 {
                let upper = pixel(*y, *x, c) * (1.0 - along) + pixel(*y, *beside, c) * along;
                let lower = pixel(*below, *x, c) * (1.0 - along) + pixel(*below, *beside, c) * along;
                out.push((upper * (1.0 - down) + lower * down - MEAN[c]) / STD[c]);
            }
        }
    }
    Ok(out)
}

/// For each of `side` outputs two neighbours of `extent` inputs, and the share of the second.
fn taps(extent: usize, side: usize) -> Vec<(usize, usize, f32)> {
    let scale = extent as f32 / side as f32;
    let tap = |i| {
        let place = ((i as f32 + 0.5) * scale - 0.5).max(0.0);
        let first = (place as usize).min(extent - 1);
        (first, (first + 1).min(extent - 1), place - first as f32)
    };
    (0..side).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use steropes_testkit::expect_error;

    #[test]
    fn the_part_of_the_training_is_never_wider_than_its_widest_shape() {
        let training = |w, h| Crop::Training.part(w, h);
        assert_eq!(training(1280, 720), [154, 0, 972, 720]);
        assert_eq!(training(640, 480), [0, 0, 640, 480]);
        assert_eq!(training(480, 640), [0, 0, 480, 640]);
        assert_eq!(training(360, 640), [0, 80, 360, 480]);
        assert_eq!(Crop::Square.part(1280, 720), [280, 0, 720, 720]);
        assert_eq!(Crop::Square.part(720, 1281), [0, 280, 720, 720]);
        assert_eq!(Crop::Square.part(1, 1), [0, 0, 1, 1]);
    }

    #[test]
    fn a_picture_is_taken_between_pixel_centres() {
        // Two columns of grey to four: centres at -0.25, 0.25, 0.75 and 1.25 of the first.
        let rgb = [[0, 0, 0], [200, 200, 200]].concat();
        let got = ac_picture(&[rgb.clone(), rgb].concat(), [2, 2], Crop::Square, 4).unwrap();
        for (x, want) in [0.0f32, 50.0, 150.0, 200.0].into_iter().enumerate() {
            for c in 0..3 {
                let want = (want - MEAN[c]) / STD[c];
                assert!((got[x * 3 + c] - want).abs() < 1e-5, "column {x}: {} {want}", got[x * 3 + c]);
            }
        }
        // Without a filter: of eight columns to two, those at 1.5 and 5.5.
        let row: Vec<u8> = (0..8).flat_map(|x| [x * 10, 0, 255]).collect();
        let got = ac_picture(&row.repeat(8), [8, 8], Crop::Square, 2).unwrap();
        assert!((got[0] - (15.0 - MEAN[0]) / STD[0]).abs() < 1e-5);
        assert!((got[3] - (55.0 - MEAN[0]) / STD[0]).abs() < 1e-5);
        assert!((got[2] - (1.0 - 0.406) / 0.225).abs() < 1e-5);
    }

    #[test]
    fn only_the_part_is_looked_at() {
        let inside = |x: usize| (154..154 + 972).contains(&x);
        let row: Vec<u8> = (0..1280).flat_map(|x| [if inside(x) { 100 } else { 255 }; 3]).collect();
        let got = ac_picture(&row.repeat(720), [720, 1280], Crop::Training, 16).unwrap();
        assert!(got.chunks(3).all(|pixel| (pixel[0] - (100.0 - MEAN[0]) / STD[0]).abs() < 1e-5));
    }

    #[test]
    fn wrong_sizes_are_refused() {
        expect_error(ac_picture(&[0; 11], [2, 2], Crop::Square, 4), "[2, 2, 3] bytes").unwrap();
        expect_error(ac_picture(&[], [0, 2], Crop::Square, 4), "at least one pixel").unwrap();
        expect_error(ac_picture(&[0; 12], [2, 2], Crop::Square, 0), "at least one pixel").unwrap();
    }
}
