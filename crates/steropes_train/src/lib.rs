//! Gradients: a tape over the kernels of `steropes_ops`.
//!
//! A [`Tape`] is an ordinary value that its owner hands to whatever computes; there is no global state and no mode of a thread. What
//! is computed on it is [`Var`]s: tensors that know where on the tape they came from.

mod ops;
mod tape;

pub use tape::{Gradients, Tape, TapeError, Var};
