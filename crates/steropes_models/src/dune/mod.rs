//! DUNE, an image encoder that was distilled from several others: a vision transformer with learned positions, a class token,
//! register tokens and LayerScale. With the decoder and the heads of MASt3R it is a network for pairs.
//!
//! Sources: DUNE, arXiv:2503.14405; ViT, arXiv:2010.11929; registers, arXiv:2309.16588; LayerScale, arXiv:2103.17239.

mod encoder;
mod positions;

pub(crate) use encoder::{DuneEncoder, encoder_beside, is_known_unused, root_of};
pub use positions::resize_positions;
