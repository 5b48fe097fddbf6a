//! MASt3R, DUSt3R and DUNE+MASt3R: from image pairs to raw network outputs.
//!
//! [`Model`] is a loaded network of the family; it encodes single images and decodes pairs of them.

pub mod dune;
mod error;
mod known;
pub mod mast3r;
mod precision;
pub mod retrieval;
mod settings;

pub use error::ModelError;
pub use known::{Holds, KNOWN_MODELS, KnownModel, Licence};
pub use mast3r::{BothOrders, Config, ConfigSource, Encoded, Model, ModelInfo, ViewOutput};
pub use precision::Precision;
pub use steropes_nn::WeightType;
