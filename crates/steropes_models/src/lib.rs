//! MASt3R, DUSt3R and DUNE+MASt3R: from image pairs to raw network outputs.
//!
//! [`Model`] is a loaded network of the family; it encodes single images and decodes pairs of them. An
//! [`Engine`](engine::Engine) is a model with its settings, its threads and its device, for programs that look at many images.

pub mod dune;
pub mod engine;
mod error;
mod known;
pub mod mast3r;
mod memory;
mod place;
pub mod planner;
mod precision;
pub mod retrieval;
mod settings;
pub mod vjepa2;

pub use error::ModelError;
pub use known::{Holds, KNOWN_MODELS, KnownModel, Licence};
pub use mast3r::{BothOrders, Config, ConfigSource, Encoded, Model, ModelInfo, ViewOutput};
pub use place::{Place, cached, locate, weights_folder};
pub use precision::Precision;
pub use steropes_nn::WeightType;
