//! Global alignment of dense pointmaps, as DUSt3R does it: every pixel of every pair is a residual.
//!
//! The model: image `n` has a pose, a focal length and a depth per pixel, and so a world point per pixel.
//! Pair `(i, j)` predicts points of both images in the frame of `i`; one similarity per pair brings them to the
//! world. Minimised is the confidence-weighted distance between the two. Memory and time grow with
//! the number of pairs times the number of pixels: for a few photos; [`crate::alignment`] is for many.
//!
//! Source: arXiv:2312.14132, section 3.4; written from the formulas.

mod initialise;
mod loss;
mod optimise;
mod pair_viewer;
mod parameters;

pub use initialise::{InitialCamera, initialise};
pub use loss::{ConfidenceWeight, Distance, Gradient, Problem};
pub use optimise::{Schedule, Settings, optimise};
pub use pair_viewer::{PairView, view_pair};
pub use parameters::{Parameters, edge_similarity};

/// What the network says about one ordered pair, both maps in the frame of the first image.
#[derive(Clone, Debug)]
pub struct Edge {
    /// Index of the first image, whose frame the points are in.
    pub first: usize,
    /// Index of the second image.
    pub second: usize,
    /// A point per pixel of the first image.
    pub points_first: Vec<[f32; 3]>,
    /// A point per pixel of the second image.
    pub points_second: Vec<[f32; 3]>,
    /// A confidence above 1 per pixel of the first image.
    pub confidence_first: Vec<f32>,
    /// A confidence above 1 per pixel of the second image.
    pub confidence_second: Vec<f32>,
}

/// Why pairs cannot be aligned.
#[derive(Debug, thiserror::Error, PartialEq)]
#[non_exhaustive]
pub enum AlignError {
    /// A pair names an image that does not exist.
    #[error("pair ({first}, {second}) names an image beyond the {images} given")]
    Index {
        /// First image of the pair.
        first: usize,
        /// Second image of the pair.
        second: usize,
        /// Number of images.
        images: usize,
    },
    /// A map has another number of pixels than its image.
    #[error("a map of image {image} has {found} pixels, the image has {expected}")]
    Pixels {
        /// The image.
        image: usize,
        /// Its pixels.
        expected: usize,
        /// Pixels of the map.
        found: usize,
    },
    /// An image is in no pair, or the pairs fall into several groups.
    #[error("the pairs do not connect image {image} with the others")]
    Disconnected {
        /// An image that cannot be reached.
        image: usize,
    },
    /// A map has no focal length.
    #[error("the points of image {image} fit no focal length")]
    NoFocal {
        /// The image.
        image: usize,
    },
    /// The pair viewer needs the two pairs (0, 1) and (1, 0).
    #[error("two images need exactly the pairs (0, 1) and (1, 0)")]
    NotAPair,
}
