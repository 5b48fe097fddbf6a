//! Clips as the encoder reads them.

use super::places::Grid;
use steropes_tensor::Tensor;

/// Frames of one or several clips on the device of a network, from [`Model::clip`](super::Model::clip). Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Clip {
    /// `[batch * tubelets, height, width, frames * 3]`: the frames of a tubelet side by side in each pixel.
    pub(super) tubelets: Tensor,
    pub(super) batch: usize,
    pub(super) grid: Grid,
    /// Whether it is one frame that is embedded as an image.
    pub(super) is_image: bool,
}

impl Clip {
    /// Number of clips.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Tubelets, rows and columns of the tokens.
    pub fn grid(&self) -> Grid {
        self.grid
    }
}

/// The frames of each tubelet side by side in each pixel: `[batch, frames, pixels, 3]` as `[batch, tubelets, pixels, depth * 3]`. A
/// frame behind the last whole tubelet is left out; a single frame stands for all of its tubelet.
pub(super) fn interleave(values: &[f32], [batch, frames, pixels]: [usize; 3], depth: usize) -> Vec<f32> {
    let tubelets = (frames / depth).max(1);
    let mut out = Vec::with_capacity(batch * tubelets * pixels * depth * 3);
    for b in 0..batch {
        for t in 0..tubelets {
            let frame = |i: usize| {
                &values[(b * frames + (t * depth + i).min(frames - 1)) * pixels * 3..][..pixels * 3]
            };
            for pixel in 0..pixels {
                (0..depth).for_each(|i| out.extend_from_slice(&frame(i)[pixel * 3..][..3]));
            }
        }
    }
    out
}
