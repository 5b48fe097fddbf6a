//! Closed-form and robust fits of cameras and poses from points; depth maps and transforms.

pub mod depth;
mod error;
pub mod focal;
pub mod pnp;
pub(crate) mod polynomial;
pub mod procrustes;
pub(crate) mod random;
pub mod transform;

pub use error::GeometryError;
pub(crate) use error::{check_finite, check_length, check_weights};
