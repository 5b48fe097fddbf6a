//! Images after an encoder, of one kind or the other.

use super::croco::CrocoEncoder;
use super::{Config, Observer};
use crate::ModelError;
use crate::dune::DuneEncoder;
use steropes_nn::Rotary;
use steropes_ops::OpError;
use steropes_ops::elementwise::concat::concat;
use steropes_ops::elementwise::copy::copy_rows;
use steropes_tensor::{Device, Tensor};

/// Images after the encoder. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Encoded {
    pub(super) tokens: Tensor,
    /// Where the tokens stand, as the decoder reads it.
    pub(super) rotary: Rotary,
    rope_base: f32,
    pub(super) grid: [usize; 2],
    pub(super) size: [usize; 2],
}

impl Encoded {
    fn new(tokens: Tensor, rope_base: f32, grid: [usize; 2], size: [usize; 2]) -> Self {
        let rotary = grid_rotary(&tokens.device(), tokens.shape()[0], grid, rope_base);
        Self { tokens, rotary, rope_base, grid, size }
    }

    /// The images in groups of `each`, the last of which may have fewer.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device has no memory for them.
    ///
    /// # Panics
    /// If `each` is 0.
    pub fn split(&self, each: usize) -> Result<Vec<Self>, ModelError> {
        let group = |first: usize| -> Result<Self, ModelError> {
            let tokens = copy_rows(&self.tokens, first..(first + each).min(self.batch()))?;
            Ok(Self::new(tokens, self.rope_base, self.grid, self.size))
        };
        (0..self.batch()).step_by(each).map(group).collect()
    }

    /// Images of one size as one batch, in the order given. A single part shares its memory with the result.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there are none, they differ in size or come from different models, [`ModelError::Device`] if the
    /// device has no memory for them.
    pub fn stack(parts: &[&Self]) -> Result<Self, ModelError> {
        let Some(&first) = parts.first() else {
            return Err(OpError::value("stack", "parts", "at least one", "none").into());
        };
        if let Some(other) = parts.iter().find(|part| part.size != first.size) {
            let expected = format!("images of {:?} pixels as the first", first.size);
            return Err(OpError::value("stack", "parts", expected, format!("{:?}", other.size)).into());
        }
        if parts.len() == 1 {
            return Ok(first.clone());
        }
        let flat = |part: &&Self| {
            let tokens = part.tokens.clone();
            let len = tokens.len();
            tokens.reshape(&[len]).expect("as many elements")
        };
        let batch = parts.iter().map(|part| part.batch()).sum();
        let [_, count, width] = *first.tokens.shape() else {
            unreachable!("tokens have three axes, checked by the encoder")
        };
        let tokens = end_to_end(&parts.iter().map(flat).collect::<Vec<_>>())?;
        let tokens = match tokens.reshape(&[batch, count, width]) {
            Ok(tokens) => tokens,
            Err(_) => return Err(OpError::value("stack", "parts", "of one model", "of several").into()),
        };
        Ok(Self::new(tokens, first.rope_base, first.grid, first.size))
    }

    /// The normalised tokens, `[batch, rows * columns, width]`, row by row.
    pub fn tokens(&self) -> &Tensor {
        &self.tokens
    }

    /// Number of images.
    pub fn batch(&self) -> usize {
        self.tokens.shape()[0]
    }

    /// Height and width of the images in pixels.
    pub fn size_px(&self) -> [usize; 2] {
        self.size
    }

    /// Rows and columns of patches.
    pub fn grid(&self) -> [usize; 2] {
        self.grid
    }
}

/// Lists as one, by halves, so that each element is copied a few times only.
fn end_to_end(lists: &[Tensor]) -> Result<Tensor, OpError> {
    let [one] = lists else {
        let (left, right) = lists.split_at(lists.len() / 2);
        return concat(&end_to_end(left)?, &end_to_end(right)?);
    };
    Ok(one.clone())
}

/// The encoder of a network.
#[derive(Debug)]
pub(super) enum Encoder {
    Croco(Box<CrocoEncoder>),
    Dune(Box<DuneEncoder>),
}

impl Encoder {
    /// Encodes normalised images `[batch, height, width, 3]` whose sides are multiples of the patch size.
    pub(super) fn forward(
        &self,
        images: &Tensor,
        config: &Config,
        observe: &mut Observer<'_>,
    ) -> Result<Encoded, ModelError> {
        let (patch, shape) = (config.patch_size, images.shape());
        let fits = |side: usize| side > 0 && side.is_multiple_of(patch);
        let [batch, height, width] = match *shape {
            [batch, height, width, 3] if batch > 0 && fits(height) && fits(width) => [batch, height, width],
            _ => {
                let expected = format!("[batch, height, width, 3] with sides that are multiples of {patch}");
                return Err(OpError::shape("encode", "image", expected, shape).into());
            }
        };
        let grid = [height / patch, width / patch];
        let rope_base = config.rope_base;
        let rotary = grid_rotary(&images.device(), batch, grid, rope_base);
        let tokens = match self {
            Self::Croco(encoder) => encoder.forward(images, &rotary, observe)?,
            Self::Dune(encoder) => encoder.forward(images, grid, observe)?,
        };
        Ok(Encoded { tokens, rotary, rope_base, grid, size: [height, width] })
    }
}

/// The places of the patches of every image, row by row.
fn grid_rotary(device: &Device, batch: usize, [rows, columns]: [usize; 2], base: f32) -> Rotary {
    let places: Vec<u32> =
        (0..rows as u32).flat_map(|r| (0..columns as u32).flat_map(move |c| [r, c])).collect();
    let positions = Tensor::new(device, &[batch, rows * columns, 2], places.repeat(batch));
    Rotary::Plane { positions: positions.expect("two numbers per patch"), base }
}
