//! Photos, pair graphs, matching, alignment, bundle adjustment and scene files: 3D vision that is not a
//! network.

pub mod alignment;
pub mod averaging;
pub mod bundle;
mod camera;
pub mod dense_alignment;
pub mod geometry;
pub mod matching;
pub mod pair_graph;
pub mod photo;
pub mod reconstruct;
pub mod two_view;
mod camera;
pub mod geometry;
pub mod two_view;
pub mod photo;
pub mod write;
pub mod matching;
pub mod pair_graph;

pub use camera::{Camera, Intrinsics};
