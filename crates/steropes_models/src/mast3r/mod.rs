//! MASt3R, DUSt3R and DUNE+MASt3R, two-view networks that predict a point map per view in the frame of the first camera.
//!
//! A transformer encodes each image by itself; two streams of decoder blocks, one per view, look at each other; a
//! head per view turns their tokens into points, confidences and (MASt3R) descriptors. The encoder is CroCo's, or DUNE's with a
//! MASt3R decoder: [`crate::dune`].
//!
//! Sources: DUSt3R, arXiv:2312.14132; MASt3R, arXiv:2406.09756; CroCo v2, arXiv:2211.10408; DPT, arXiv:2103.13413.

mod bench;
mod config;
mod conversion;
mod croco;
mod decoder;
mod dpt;
mod encoder;
mod head;
mod model;
mod stored;
pub mod synthetic;

pub use bench::benches;
pub(crate) use bench::{large_model, work};
pub use config::{Config, EncoderKind, HeadKind, Trunk};
pub use conversion::ConfigSource;
pub use encoder::Encoded;
pub use head::ViewOutput;
pub(crate) use model::name_of;
pub use model::{BothOrders, Model, ModelInfo};
pub use stored::{PairTolerance, StoredPair};

use steropes_tensor::Tensor;

/// What is shown the intermediate results of a forward pass, by name; images are channels last.
///
/// Names: `patch_embed`, `enc_blocks.{i}`, `enc_norm`, of a DUNE encoder `dune.blocks.0.{i}`, `norm`; `dec_blocks.{i}` (view 1),
/// `dec_blocks2.{i}` (view 2), `head{1,2}.scratch.refinenet{4..1}`, `head{1,2}.dpt_raw`.
pub type Observer<'a> = dyn FnMut(&str, &Tensor) + 'a;
