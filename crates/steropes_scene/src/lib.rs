//! Photos, pair graphs, matching, alignment, bundle adjustment and scene files: 3D vision that is not a
//! network.

pub mod alignment;
mod camera;
pub mod geometry;

pub use camera::{Camera, Intrinsics};
