//! V-JEPA 2-AC: what an arm's actions do to the features of a picture.
//!
//! [`AcModel`] is a loaded network. Frames are encoded one by one; the predictor says what the features will be after an action. An
//! [`AcWorld`] is a present and a goal to plan in with [`crate::planner`]. The network was trained on one kind of arm with a fixed camera
//! at 4 pictures a second.

mod model;
mod picture;
mod predictor;
#[cfg(test)]
mod tests;
mod world;

pub use model::{AcModel, AcOptions};
pub use picture::{Crop, ac_picture};
pub use predictor::{AcCache, AcConfig, AcPredictor, Conditions};
pub use world::{AcWorld, Imagined, Observation};
