//! Image retrieval: few vectors of an image, by which photos of one place are found without a network looking at them in pairs.
//!
//! [`Retrieval`] turns the tokens of an encoder into [`LocalFeatures`]: whitened, and only those that stand out. It is
//! read from a file of the MASt3R family, or made from a [`Whitening`] that was learnt.

mod file;
mod projector;
mod whitening;

pub use whitening::Whitening;

use crate::Encoded;
use half::f16;
use projector::Projector;
use std::path::PathBuf;
use steropes_ops::OpError;
use steropes_tensor::{DType, DeviceError};

/// The features of an image, strongest first.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalFeatures {
    /// The vectors, one after the other.
    pub values: Vec<f32>,
    /// Values of each vector.
    pub width: usize,
    /// Length of each vector before the second whitening.
    pub attention: Vec<f32>,
    /// The index of the token that each came from.
    pub tokens: Vec<usize>,
}

impl LocalFeatures {
    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.attention.len()
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.attention.is_empty()
    }
}

/// How many tokens of an image become features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FeatureCount {
    /// So many, or all if there are fewer.
    AtMost(usize),
    /// This share of them, rounded down, and at least one.
    Share(f64),
}

impl FeatureCount {
    /// How many of `tokens` tokens.
    pub fn of(self, tokens: usize) -> usize {
        match self {
            Self::AtMost(count) => count.min(tokens),
            Self::Share(share) => ((share * tokens as f64) as usize).max(1).min(tokens),
        }
    }
}

/// The way from the tokens of an encoder to the features of an image.
#[derive(Debug)]
pub struct Retrieval {
    whitening: Whitening,
    projector: Option<Projector>,
    second_whitening: Option<Whitening>,
    count: FeatureCount,
    file: Option<RetrievalFile>,
}

/// What the file of a [`Retrieval`] says beside its weights.
#[derive(Debug)]
pub struct RetrievalFile {
    /// The file.
    pub path: PathBuf,
    /// Long side in pixels of the images that it was made for, if it says so.
    pub image_size: Option<usize>,
    /// The visual words that belong to it, one after the other, and the file that they are in; `None` if there is none beside it.
    pub words: Option<(PathBuf, Vec<f32>)>,
}

impl Retrieval {
    /// Features by a whitening that was learnt.
    pub fn learnt(whitening: Whitening, count: FeatureCount) -> Self {
        Self { whitening, projector: None, second_whitening: None, count, file: None }
    }

    /// Values of a token.
    pub fn inputs(&self) -> usize {
        self.whitening.inputs()
    }

    /// Values of a feature.
    pub fn width(&self) -> usize {
        match (&self.second_whitening, &self.projector) {
            (Some(whitening), _) => whitening.outputs(),
            (None, Some(projector)) => projector.widths().last().copied().unwrap_or_default(),
            (None, None) => self.whitening.outputs(),
        }
    }

    /// How many tokens of an image become features.
    pub fn count(&self) -> FeatureCount {
        self.count
    }

    /// The file that it was read from, if any.
    pub fn file(&self) -> Option<&RetrievalFile> {
        self.file.as_ref()
    }

    /// The features of one image.
    ///
    /// Tokens are whitened, pass the layers that the file has, and those with the longest vectors are kept, the lower index first
    /// among equals; a second whitening, if the file has one, comes last.
    ///
    /// # Shapes
    /// - `tokens`: `[tokens, inputs]`, row by row, as the encoder's last norm gives them
    ///
    /// # Numerics
    /// Whitening in f64 and rounded once to f32; layers in f32 on the CPU.
    ///
    /// # Errors
    /// [`OpError::Shape`] if `tokens` does not consist of rows of [`Retrieval::inputs`] values.
    pub fn features(&self, tokens: &[f32]) -> Result<LocalFeatures, OpError> {
        let inputs = self.inputs();
        if !tokens.len().is_multiple_of(inputs) {
            let expected = format!("[tokens, {inputs}], row by row");
            return Err(OpError::shape("retrieval::features", "tokens", expected, &[tokens.len()]));
        }
        let mut rows = self.whitening.apply(tokens);
        let mut width = self.whitening.outputs();
        if let Some(projector) = &self.projector {
            rows = projector.forward(rows, width)?;
            width = projector.widths().last().copied().unwrap_or(width);
        }
        let lengths: Vec<f32> = rows.chunks_exact(width).map(length).collect();
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by(|&a, &b| lengths[b].total_cmp(&lengths[a]).then(a.cmp(&b)));
        order.truncate(self.count.of(order.len()));
        let mut values: Vec<f32> =
            order.iter().flat_map(|&token| &rows[token * width..][..width]).copied().collect();
        if let Some(whitening) = &self.second_whitening {
            values = whitening.apply(&values);
            width = whitening.outputs();
        }
        let attention = order.iter().map(|&token| lengths[token]).collect();
        Ok(LocalFeatures { values, width, attention, tokens: order })
    }
}

fn length(row: &[f32]) -> f32 {
    row.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt() as f32
}

/// The tokens of all images of `encoded` on the host, one after the other, in f32.
///
/// # Errors
/// [`DeviceError`] if the device failed.
pub fn token_values(encoded: &Encoded) -> Result<Vec<f32>, DeviceError> {
    let tokens = encoded.tokens();
    if tokens.dtype() == DType::F16 {
        return Ok(tokens.read::<f16>()?.into_iter().map(f16::to_f32).collect());
    }
    tokens.read::<f32>()
}
