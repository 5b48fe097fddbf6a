//! Closed-form and robust fits of poses: similarity of two point sets, camera pose from points; depth maps and transforms.

pub mod depth;
mod error;
pub mod pnp;
pub(crate) mod polynomial;
pub mod procrustes;
pub(crate) mod random;
pub mod transform;

pub use error::GeometryError;
pub(crate) use error::{check_finite, check_length, check_weights};
//! Estimates of single cameras and poses from points.

pub mod focal;
