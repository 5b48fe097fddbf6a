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
pub mod retrieval;
pub mod two_view;
pub mod write;

pub use camera::{Camera, Intrinsics};
