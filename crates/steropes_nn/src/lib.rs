//! Layers (named weights plus ops) and the reading of weight files.
//!
//! A [`Checkpoint`] is an opened weight file of any format, [`Weights`] a place in its tree of names. Layers are loaded from
//! [`Weights`], which checks every name, shape and value, so that a forward pass has nothing left to check.

mod attention;
mod checkpoint;
mod conv;
mod encoder_block;
mod error;
mod layer_norm;
mod linear;
mod mlp;
mod weight_type;
mod weights;

pub use attention::{CrossAttention, KeyValues, Rotary, SelfAttention};
pub use checkpoint::{Checkpoint, Codebook, Container, Converted, Family, Summary, Value};
pub use conv::{Conv2d, ConvTranspose2d};
pub use encoder_block::{BlockExtents, EncoderBlock};
pub use error::{LoadError, OneLine};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mlp::Mlp;
pub use weight_type::WeightType;
pub use weights::Weights;
