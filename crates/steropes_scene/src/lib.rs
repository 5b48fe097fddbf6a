//! Photos, pair graphs, matching, alignment, bundle adjustment and scene files: 3D vision that is not a
//! network.

pub mod averaging;
mod camera;
pub mod geometry;
pub mod two_view;

pub use camera::{Camera, Intrinsics};
