//! Photos, pair graphs, matching, alignment, bundle adjustment and scene files: 3D vision that is not a
//! network.

pub mod bundle;
mod camera;
pub mod geometry;
pub mod two_view;
pub mod photo;
pub mod write;
pub mod matching;
pub mod pair_graph;

pub use camera::{Camera, Intrinsics};
