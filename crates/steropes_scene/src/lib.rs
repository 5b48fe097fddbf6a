//! Photos, pair graphs, matching, alignment, bundle adjustment and scene files: 3D vision that is not a
//! network.

mod camera;
pub mod photo;
pub mod write;

pub use camera::{Camera, Intrinsics};
