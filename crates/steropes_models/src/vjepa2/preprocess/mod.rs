//! From frames to the numbers that V-JEPA 2 reads, in the exact forms of the programs that its figures come from.
//!
//! The published programs resize in three ways that all go by the name "bilinear" and differ by up to tens of grey levels; [`Resampling`] names
//! them. A frame is resized so that its short side has a given length, a rectangle is cut out, and bytes become `(v / 255 - mean) / std`.
//!
//! ```
//! use steropes_models::vjepa2::preprocess::{Crop, Preprocess, Resampling};
//!
//! let preprocess = Preprocess { resampling: Resampling::MetaEval, size: 256, crop: Crop::Centre };
//! let placement = preprocess.placements([720, 1280])?[0];
//! assert_eq!((placement.resized, placement.origin), ([292, 519], [18, 132]));
//! let frame = vec![128; 720 * 1280 * 3];
//! let pixels = preprocess.frame(&frame, [720, 1280], &placement);
//! assert_eq!(pixels.len(), 256 * 256 * 3);
//! # Ok::<(), steropes_models::vjepa2::preprocess::PreprocessError>(())
//! ```

mod resize;

use resize::Part;
use std::fmt;
use std::str::FromStr;

/// Mean of each channel, of values in 0..1.
pub const MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of each channel, of values in 0..1.
pub const STD: [f32; 3] = [0.229, 0.224, 0.225];

/// Side of a patch; a crop of the full width is a multiple of it.
const PATCH: usize = 16;

/// Widest and narrowest width over height of what the action-conditioned network sees before it is squeezed to a square.
const ACTION_RATIOS: [f64; 2] = [0.75, 1.35];

/// A frame or setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The frame has no pixels, or so few on one side that the crop does not fit.
    #[error("a frame of {} x {} pixels is too small or too narrow for a crop of {} x {}", size[1], size[0], crop[1], crop[0])]
    TooNarrow {
        /// Height and width of the frame.
        size: [usize; 2],
        /// Height and width of the crop.
        crop: [usize; 2],
    },
    /// The size of the crop is no positive multiple of the patch.
    #[error("the size of the network's pictures must be a positive multiple of {PATCH}, got {given}")]
    Size {
        /// What was asked for.
        given: usize,
    },
    /// A number of views below 1.
    #[error("the number of views must be at least 1, got 0")]
    NoViews,
    /// A word that names no choice.
    #[error("expected one of {expected}, got `{given}`")]
    Unknown {
        /// What was given.
        given: String,
        /// What could be given.
        expected: &'static str,
    },
}

/// How frames are resized and cropped to the byte: the three forms in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Resampling {
    /// The published evaluations: OpenCV's `INTER_LINEAR` on bytes, **without** antialias.
    MetaEval,
    /// Meta's demonstration on torch tensors: torchvision with antialias, in f32, rounded to bytes once.
    MetaTensor,
    /// The video processor of Hugging Face: torchvision with antialias on bytes, and the offset of the crop cut, not rounded: at 16:9 one pixel
    /// to the left of the others.
    #[default]
    Hf,
}

impl fmt::Display for Resampling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MetaEval => "meta-eval",
            Self::MetaTensor => "meta-tensor",
            Self::Hf => "hf",
        })
    }
}

impl FromStr for Resampling {
    type Err = PreprocessError;

    fn from_str(text: &str) -> Result<Self, PreprocessError> {
        match text {
            "meta-eval" => Ok(Self::MetaEval),
            "meta-tensor" => Ok(Self::MetaTensor),
            "hf" => Ok(Self::Hf),
            _ => Err(PreprocessError::Unknown {
                given: text.to_owned(),
                expected: "hf, meta-eval, meta-tensor",
            }),
        }
    }
}

/// What of a frame the network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Crop {
    /// A square in the middle: the short side becomes `size * 256 / 224`, then `size x size` is cut out. Loses 42 % of a 4:3 and 57 % of a 16:9
    /// picture.
    #[default]
    Centre,
    /// The whole width, or height: the short side becomes `size`, the long one is cut to a multiple of the patch. 16:9 gives 256 x 448.
    Full,
    /// So many squares side by side along the long side, from its beginning to its end: the short side becomes `size`.
    Views(usize),
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Centre => f.write_str("centre"),
            Self::Full => f.write_str("full"),
            Self::Views(views) => write!(f, "views-{views}"),
        }
    }
}

impl FromStr for Crop {
    type Err = PreprocessError;

    fn from_str(text: &str) -> Result<Self, PreprocessError> {
        let views = text.strip_prefix("views-").and_then(|n| n.parse().ok()).filter(|&n| n > 0);
        match (text, views) {
            ("centre" | "center", _) => Ok(Self::Centre),
            ("full", _) => Ok(Self::Full),
            (_, Some(views)) => Ok(Self::Views(views)),
            _ => {
                let given = text.to_owned();
                Err(PreprocessError::Unknown { given, expected: "centre, full, views-N" })
            }
        }
    }
}

/// Where a network's picture lies in a frame. Sizes and places are (height, width) and (row, column).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Size of the frame.
    pub frame: [usize; 2],
    /// Size of the whole frame after resizing.
    pub resized: [usize; 2],
    /// Top-left pixel of the network's picture in the resized frame.
    pub origin: [usize; 2],
    /// Size of the network's picture.
    pub size: [usize; 2],
}

impl Placement {
    /// The point of the frame, as (x, y) with pixel centres at halves, at such a point of the network's picture.
    pub fn frame_from_network(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let scale = |axis: usize| self.frame[axis] as f64 / self.resized[axis] as f64;
        [(x + self.origin[1] as f64) * scale(1), (y + self.origin[0] as f64) * scale(0)]
    }

    /// How much of the frame's area the network sees, 0 to 1.
    pub fn area_kept(&self) -> f64 {
        let area = |[height, width]: [usize; 2]| (height * width) as f64;
        area(self.size) / area(self.resized)
    }

    fn part(&self) -> Part {
        Part { whole: self.resized, origin: self.origin, size: self.size }
    }
}

/// How frames become the network's pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preprocess {
    /// To the byte, which program's resizing.
    pub resampling: Resampling,
    /// Short side of the network's picture, in pixels: 256 or 384 for the published networks.
    pub size: usize,
    /// What of the frame is seen.
    pub crop: Crop,
}

impl Preprocess {
    /// Where the network's pictures lie in a frame of `frame` (height, width) pixels: one, or one for each view.
    ///
    /// # Errors
    /// [`PreprocessError::Size`], [`PreprocessError::NoViews`], or [`PreprocessError::TooNarrow`] for a frame without pixels.
    pub fn placements(&self, frame: [usize; 2]) -> Result<Vec<Placement>, PreprocessError> {
        let size = self.size;
        if size == 0 || !size.is_multiple_of(PATCH) {
            return Err(PreprocessError::Size { given: size });
        }
        if frame.contains(&0) {
            return Err(PreprocessError::TooNarrow { size: frame, crop: [size; 2] });
        }
        let place = |resized, origin, size| Placement { frame, resized, origin, size };
        match self.crop {
            Crop::Centre => {
                let resized = resized(frame, size * 256 / 224);
                Ok(vec![place(resized, self.centred(resized, [size; 2]), [size; 2])])
            }
            Crop::Full => {
                let resized = resized(frame, size);
                let seen = resized.map(|side| side / PATCH * PATCH);
                Ok(vec![place(resized, self.centred(resized, seen), seen)])
            }
            Crop::Views(0) => Err(PreprocessError::NoViews),
            Crop::Views(1) => {
                let resized = resized(frame, size);
                Ok(vec![place(resized, self.centred(resized, [size; 2]), [size; 2])])
            }
            Crop::Views(views) => {
                let resized = resized(frame, size);
                let long = usize::from(resized[1] >= resized[0]);
                let step = (resized[long] - size) / (views - 1);
                let origin = |i: usize| if long == 1 { [0, i * step] } else { [i * step, 0] };
                Ok((0..views).map(|i| place(resized, origin(i), [size; 2])).collect())
            }
        }
    }

    /// Top-left pixel of the middle: rounded half to even, except that Hugging Face cuts.
    fn centred(&self, whole: [usize; 2], size: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| {
            let margin = whole[axis] - size[axis];
            match self.resampling {
                Resampling::Hf => margin / 2,
                Resampling::MetaEval | Resampling::MetaTensor => {
                    (margin as f64 / 2.0).round_ties_even() as usize
                }
            }
        })
    }

    /// The network's picture, `[height, width, 3]` bytes, of a frame of RGB bytes.
    ///
    /// # Shapes
    /// `rgb` is `[frame[0], frame[1], 3]`; the result has the size of `placement`.
    ///
    /// # Numerics
    /// The same bytes as the program that the resampling is named after.
    ///
    /// # Panics
    /// `rgb` does not have the length that `frame` says, or `placement` is that of another size.
    ///
    /// # Source
    /// Written from measurements of those programs' outputs and the definitions of the filters.
    pub fn frame(&self, rgb: &[u8], frame: [usize; 2], placement: &Placement) -> Vec<u8> {
        assert_eq!(rgb.len(), 3 * frame[0] * frame[1], "a frame has three bytes a pixel");
        assert_eq!(placement.frame, frame, "the placement is that of another size");
        let part = placement.part();
        if placement.resized == frame {
            return resize::copy(rgb, frame[1], part);
        }
        match self.resampling {
            Resampling::MetaEval => resize::opencv_linear(rgb, frame, part),
            Resampling::MetaTensor => resize::antialias_f32(rgb, frame, part),
            Resampling::Hf => resize::antialias_u8(rgb, frame, part),
        }
    }

    /// The values that [`Model::clip`](super::Model::clip) takes, of bytes `[..., 3]`: pictures one after the other.
    ///
    /// # Numerics
    /// f32: `(v / 255 - mean) / std`, or `(v - 255 mean) / (255 std)` with the resampling `hf`, whose last bits differ.
    ///
    /// # Panics
    /// The number of bytes is no multiple of 3.
    pub fn values(&self, rgb: &[u8]) -> Vec<f32> {
        assert!(rgb.len().is_multiple_of(3), "a pixel has three bytes");
        let normalise = |v: u8, c: usize| match self.resampling {
            Resampling::Hf => (f32::from(v) - MEAN[c] * 255.0) / (STD[c] * 255.0),
            Resampling::MetaEval | Resampling::MetaTensor => (f32::from(v) / 255.0 - MEAN[c]) / STD[c],
        };
        // A byte has few values.
        let table: Vec<[f32; 3]> = (0..=255).map(|v| [0, 1, 2].map(|c| normalise(v, c))).collect();
        rgb.chunks_exact(3).flat_map(|p| [0, 1, 2].map(|c| table[usize::from(p[c])][c])).collect()
    }
}

/// Size of a frame whose short side becomes `short`; the long side is rounded down.
fn resized([height, width]: [usize; 2], short: usize) -> [usize; 2] {
    if width <= height { [short * height / width, short] } else { [short, short * width / height] }
}

/// The values `[size, size, 3]` of one frame for the action-conditioned network (V-JEPA 2-AC).
///
/// A rectangle in the middle of the frame, at most 1.35 and at least 0.75 times as wide as high, is squeezed to a square by bilinear
/// interpolation without antialias (corners not aligned), in f32 and without rounding to bytes; then `(v - 255 mean) / (255 std)`.
///
/// # Errors
/// [`PreprocessError::TooNarrow`] for a frame without pixels, [`PreprocessError::Size`].
///
/// # Panics
/// `rgb` does not have the length that `frame` (height, width) says.
pub fn action_frame(rgb: &[u8], frame: [usize; 2], size: usize) -> Result<Vec<f32>, PreprocessError> {
    assert_eq!(rgb.len(), 3 * frame[0] * frame[1], "a frame has three bytes a pixel");
    if size == 0 || !size.is_multiple_of(PATCH) {
        return Err(PreprocessError::Size { given: size });
    }
    let (origin, rectangle) =
        action_rectangle(frame).ok_or(PreprocessError::TooNarrow { size: frame, crop: [size; 2] })?;
    let values = resize::interpolate_f32(rgb, frame[1], origin, rectangle, [size; 2]);
    let normalise = |p: &[f32]| [0, 1, 2].map(|c| (p[c] - MEAN[c] * 255.0) / (STD[c] * 255.0));
    Ok(values.chunks_exact(3).flat_map(normalise).collect())
}

/// Origin and size of what the action-conditioned network sees of a frame: 972 x 720 of 1280 x 720.
fn action_rectangle([height, width]: [usize; 2]) -> Option<([usize; 2], [usize; 2])> {
    if height == 0 || width == 0 {
        return None;
    }
    let [narrowest, widest] = ACTION_RATIOS;
    let ratio = width as f64 / height as f64;
    let size = if ratio > widest {
        [height, (height as f64 * widest).round_ties_even() as usize]
    } else if ratio < narrowest {
        [(width as f64 / narrowest).round_ties_even() as usize, width]
    } else {
        [height, width]
    };
    Some(([(height - size[0]) / 2, (width - size[1]) / 2], size))
}

#[cfg(test)]
mod tests;
