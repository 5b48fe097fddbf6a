//! Encoded images and what the network says about pairs of them.

use crate::{Encoded, ModelError, ViewOutput};
use std::time::Duration;
use steropes_ops::elementwise::copy::copy_rows;
use steropes_tensor::Tensor;

/// An image after the encoder, on the device of its engine. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct EncodedImage {
    pub(super) encoded: Encoded,
    pub(super) preprocess: Duration,
    pub(super) encode: Duration,
}

impl EncodedImage {
    /// The image as the network takes it.
    pub fn encoded(&self) -> &Encoded {
        &self.encoded
    }

    /// Height and width in pixels.
    pub fn size_px(&self) -> [usize; 2] {
        self.encoded.size_px()
    }

    /// The time that it took, its share where several were encoded at once; nothing for decoding.
    pub fn timings(&self) -> Timings {
        Timings { preprocess: self.preprocess, encode: self.encode, decode: Duration::ZERO }
    }
}

/// Where the time of a result went, by the clock of the host.
///
/// On the CPU these are the times of the work. A GPU works while the host goes on, so there they are the times to record the work, unless
/// [`EngineConfig::exact_timings`](super::EngineConfig::exact_timings) makes the host wait for the GPU after every stage. Then they are
/// the GPU's, and stages of different pairs no longer overlap.
///
/// Work that several results share is counted once: an image in that result for which it was encoded, a batch in equal shares. So the
/// sum over all results is the time of all the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Bytes to normalised numbers on the device.
    pub preprocess: Duration,
    /// The encoder.
    pub encode: Duration,
    /// Decoder and heads.
    pub decode: Duration,
}

impl Timings {
    /// All stages together.
    pub fn total(&self) -> Duration {
        self.preprocess + self.encode + self.decode
    }

    /// Counts the encoding of an image.
    pub(super) fn add(&mut self, image: &EncodedImage) {
        self.preprocess += image.preprocess;
        self.encode += image.encode;
    }
}

/// What the network says about a pair, on the device; [`Tensor::read`] waits for it and brings it to the host. The memory belongs to the
/// result alone: later work does not change it. Cloning shares it.
#[derive(Clone, Debug)]
pub struct PairResult {
    /// Points of the first image in the frame of its camera, `[height, width, 3]`, f32: x right, y down, z forward; metres for metric
    /// networks.
    pub pts3d_1: Tensor,
    /// Points of the second image in the same frame.
    pub pts3d_2: Tensor,
    /// Confidence of each point, `[height, width]`, f32.
    pub conf_1: Tensor,
    /// The same for the second image.
    pub conf_2: Tensor,
    /// Unit descriptors, `[height, width, dim]`, f32, if the network has them.
    pub desc_1: Option<Tensor>,
    /// The same for the second image.
    pub desc_2: Option<Tensor>,
    /// Confidence of each descriptor, `[height, width]`, f32, if the network has them.
    pub desc_conf_1: Option<Tensor>,
    /// The same for the second image.
    pub desc_conf_2: Option<Tensor>,
    /// Where the time went.
    pub timings: Timings,
}

impl PairResult {
    /// Pair `i` of a batch.
    pub(super) fn of([first, second]: &[ViewOutput; 2], i: usize) -> Result<Self, ModelError> {
        let some = |map: &Option<Tensor>| map.as_ref().map(|map| image(map, i)).transpose();
        Ok(Self {
            pts3d_1: image(&first.points, i)?,
            pts3d_2: image(&second.points, i)?,
            conf_1: image(&first.confidence, i)?,
            conf_2: image(&second.confidence, i)?,
            desc_1: some(&first.descriptors)?,
            desc_2: some(&second.descriptors)?,
            desc_conf_1: some(&first.descriptor_confidence)?,
            desc_conf_2: some(&second.descriptor_confidence)?,
            timings: Timings::default(),
        })
    }

    /// Descriptors and their confidences of both images, if the network has them.
    pub(super) fn described(&self) -> Option<[[&Tensor; 2]; 2]> {
        let first = [self.desc_1.as_ref()?, self.desc_conf_1.as_ref()?];
        Some([first, [self.desc_2.as_ref()?, self.desc_conf_2.as_ref()?]])
    }
}

/// Image `i` of a batch of maps, without the axis of the batch.
fn image(maps: &Tensor, i: usize) -> Result<Tensor, ModelError> {
    let shape = maps.shape()[1..].to_vec();
    let one = if maps.shape()[0] == 1 { maps.clone() } else { copy_rows(maps, i..i + 1)? };
    Ok(one.reshape(&shape).expect("a map without the axis of its batch"))
}
