//! V-JEPA 2, video transformers that learn by predicting features: from clips to features, and from features to those of other
//! places.
//!
//! [`Model`] is a loaded network. Clips are cut into tubelets, two frames deep; each square of a tubelet is a token. The encoder looks
//! at all tokens of a clip or at some of them; the mask predictor says what the encoder would say about places that it did not see.
//!
//! Source: V-JEPA 2, arXiv:2506.09985; written from its formulas.

pub mod ac;
mod bench;
mod classifier;
mod clip;
mod config;
mod encoder;
mod model;
mod places;
mod pooler;
mod predictor;
pub mod preprocess;
mod source;
pub mod synthetic;
#[cfg(test)]
mod tests;
mod tokens;

pub use bench::benches;
pub use classifier::{Classifier, Logits, ProbeOptions, join_tokens, mean_probabilities};
pub use clip::Clip;
pub use config::{Config, Positions, PredictorConfig};
pub use encoder::Encoder;
pub use model::{Model, ModelInfo};
pub use places::Grid;
pub use pooler::{AttentivePooler, PoolerConfig};
pub use predictor::Predictor;
pub use source::{Layout, OpenOptions, Source, WhichEncoder};
pub use tokens::Tokens;

use steropes_tensor::Tensor;

/// What is shown the intermediate results of a forward pass, by name; tokens are `[batch, tokens, width]`.
///
/// Names: `patch_embed`, `blocks.{i}`, `norm` of the encoder; `predictor_embed`, `predictor_blocks.{i}`, `predictor_norm` of the
/// predictor, whose tokens are in the order of their numbers.
pub type Observer<'a> = dyn FnMut(&str, &Tensor) + 'a;
