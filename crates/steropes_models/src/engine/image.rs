//! Images as an engine takes them.

use crate::{Model, ModelError};
use steropes_ops::OpError;
use steropes_tensor::Tensor;

/// An image at the size that the network sees: RGB bytes, row by row. `steropes_scene::photo` reads photos and brings them to such a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    size_px: [usize; 2],
    rgb: Vec<u8>,
}

impl Image {
    /// An image of `size_px` (height, width) pixels.
    ///
    /// # Errors
    /// [`ModelError::Input`] if `rgb` does not hold three bytes for each pixel.
    pub fn new(size_px: [usize; 2], rgb: Vec<u8>) -> Result<Self, ModelError> {
        let [height, width] = size_px;
        if rgb.len() != 3 * height * width {
            let expected = format!("3 bytes for each of {height} x {width} pixels");
            return Err(OpError::value("image", "rgb", expected, rgb.len()).into());
        }
        Ok(Self { size_px, rgb })
    }

    /// Height and width in pixels.
    pub fn size_px(&self) -> [usize; 2] {
        self.size_px
    }

    /// The numbers that a network of the family reads, `[height, width, 3]`: `(byte / 255 - 0.5) / 0.5` in f32, in that order of
    /// operations.
    pub fn normalised(&self) -> Vec<f32> {
        self.rgb.iter().map(|&byte| normalised(byte)).collect()
    }

    /// The input of `model`, `[1, height, width, 3]`, on its device and in its precision.
    ///
    /// # Errors
    /// [`ModelError::Device`] if the device has no memory for it.
    pub fn on(&self, model: &Model) -> Result<Tensor, ModelError> {
        let [height, width] = self.size_px;
        model.image([1, height, width, 3], self.normalised())
    }
}

/// The number that the network reads for a byte.
pub fn normalised(byte: u8) -> f32 {
    (f32::from(byte) / 255.0 - 0.5) / 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_and_white_are_the_ends_of_the_range() {
        let image = Image::new([1, 2], vec![0, 255, 127, 255, 0, 128]).unwrap();
        let [below, above] = [127.0f32, 128.0].map(|byte| (byte / 255.0 - 0.5) / 0.5);
        assert_eq!(image.normalised(), [-1.0, 1.0, below, 1.0, -1.0, above]);
        let error = Image::new([2, 2], vec![0; 11]).unwrap_err().to_string();
        assert_eq!(error, "image: `rgb` must be 3 bytes for each of 2 x 2 pixels, got 11");
    }
}
