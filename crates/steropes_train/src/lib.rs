//! Gradients: a tape over the kernels of `steropes_ops`, and the fine-tuning of two-view networks with it.
//!
//! A [`Tape`] is an ordinary value that its owner hands to whatever computes; there is no global state and no mode of a thread. What
//! is computed on it is [`Var`]s: tensors that know where on the tape they came from.
//!
//! A [`Trainer`] runs a [`Network`] on a tape with its [`Parameters`], on pairs of views of generated [`scenes`], and writes folders
//! that `steropes_models::Model` opens.

mod error;
mod network;
mod ops;
mod parameters;
pub mod scenes;
mod state;
mod tape;
mod trainer;

pub use error::TrainError;
pub use network::{Named, Network, Tokens, Views};
pub use parameters::{Parameters, Source};
pub use tape::{Gradients, Tape, TapeError, Var};
pub use trainer::{Batch, Report, Settings, Trained, Trainer};
