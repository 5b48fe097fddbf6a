//! From the tokens of a view to its points, confidences and descriptors.

use super::decoder::Stages;
use super::dpt::Dpt;
use super::{Config, HeadKind, Observer};
use std::sync::Arc;
use steropes_nn::{Linear, LoadError, Mlp, Weights};
use steropes_ops::OpError;
use steropes_ops::elementwise::concat::concat;
use steropes_ops::vision::descriptors::descriptors;
use steropes_ops::vision::pixel_shuffle::pixel_shuffle;
use steropes_ops::vision::pointmap::{ConfidenceMode, DepthMode, confidence, pointmap};
use steropes_tensor::Tensor;

/// What the network says about one view of a pair. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct ViewOutput {
    /// Points in the frame of the first camera, `[batch, height, width, 3]`; metres for metric models, else up
    /// to one scale per pair.
    pub points: Tensor,
    /// Confidence of each point, `[batch, height, width]`.
    pub confidence: Tensor,
    /// Unit descriptors, `[batch, height, width, dim]`, if the model has them.
    pub descriptors: Option<Tensor>,
    /// Confidence of each descriptor, `[batch, height, width]`, if the model has them.
    pub descriptor_confidence: Option<Tensor>,
}

/// The head of one slot of the pair. Parts that two heads have in common are held in common.
#[derive(Debug)]
pub(super) struct Head {
    points: Arc<PointHead>,
    features: Option<Arc<FeatureHead>>,
}

/// Points and confidences of a view.
type PointMap = (Tensor, Tensor);
/// Descriptors and, if the head has a channel for it, their confidences.
type Features = (Tensor, Option<Tensor>);

impl Head {
    /// Reads the heads of the first and the second view.
    pub(super) fn load_pair(weights: &Weights<'_>, config: &Config) -> Result<[Self; 2], LoadError> {
        let paths = [weights.at("downstream_head1"), weights.at("downstream_head2")];
        let name = if config.head == HeadKind::Linear { "proj" } else { "dpt" };
        let points = pair_of(&paths, name, |w| PointHead::load(w, config))?;
        let features = match config.head {
            HeadKind::DptWithFeatures { .. } => {
                pair_of(&paths, "head_local_features", |w| FeatureHead::load(w, config))?.map(Some)
            }
            HeadKind::Linear | HeadKind::Dpt => [None, None],
        };
        let ([points1, points2], [features1, features2]) = (points, features);
        Ok([Self { points: points1, features: features1 }, Self { points: points2, features: features2 }])
    }

    pub(super) fn forward(
        &self,
        stages: &Stages,
        observe: Option<&mut Observer<'_>>,
    ) -> Result<ViewOutput, OpError> {
        let points = self.points.forward(stages, observe)?;
        let features = self.features.as_ref().map(|head| head.forward(stages)).transpose()?;
        Ok(output(points, features))
    }

    /// What both heads say about one view; parts that they have in common run once.
    pub(super) fn forward_both(heads: &[Self; 2], stages: &Stages) -> Result<[ViewOutput; 2], OpError> {
        let [first, second] = heads;
        let points1 = first.points.forward(stages, None)?;
        let points2 = if Arc::ptr_eq(&first.points, &second.points) {
            points1.clone()
        } else {
            second.points.forward(stages, None)?
        };
        let features1 = first.features.as_ref().map(|head| head.forward(stages)).transpose()?;
        let features2 = match (&first.features, &second.features) {
            (Some(one), Some(other)) if !Arc::ptr_eq(one, other) => Some(other.forward(stages)?),
            _ => features1.clone(),
        };
        Ok([output(points1, features1), output(points2, features2)])
    }
}

fn output((points, confidence): PointMap, features: Option<Features>) -> ViewOutput {
    // Without a channel of its own the confidence of a descriptor is that of its point.
    let (descriptors, own) = features.map_or((None, None), |(d, own)| (Some(d), own));
    let descriptor_confidence = descriptors.as_ref().map(|_| own.unwrap_or_else(|| confidence.clone()));
    ViewOutput { points, confidence, descriptors, descriptor_confidence }
}

/// One part of both heads, held once where the second is tied to the first.
fn pair_of<T>(
    paths: &[Weights<'_>; 2],
    name: &str,
    load: impl Fn(&Weights<'_>) -> Result<T, LoadError>,
) -> Result<[Arc<T>; 2], LoadError> {
    let [one, other] = paths.each_ref().map(|path| path.at(name));
    let first = Arc::new(load(&one)?);
    let tied = one.stored_path() == other.stored_path();
    let second = if tied { Arc::clone(&first) } else { Arc::new(load(&other)?) };
    Ok([first, second])
}

/// The part of a head that gives points.
#[derive(Debug)]
struct PointHead {
    raw: RawPoints,
    depth: DepthMode,
    confidence: ConfidenceMode,
}

#[derive(Debug)]
enum RawPoints {
    /// One linear layer to all pixels of a patch.
    Linear {
        proj: Linear,
        patch: usize,
    },
    Dpt(Box<Dpt>),
}

impl PointHead {
    fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, LoadError> {
        let (enc, dec, patch) = (config.encoder.width(), config.decoder.width, config.patch_size);
        let raw = match config.head {
            HeadKind::Linear => {
                let proj = Linear::load(&weights.in_value_type(), dec, 4 * patch * patch)?;
                RawPoints::Linear { proj, patch }
            }
            HeadKind::Dpt | HeadKind::DptWithFeatures { .. } => {
                RawPoints::Dpt(Box::new(Dpt::load(weights, [enc, dec, dec, dec])?))
            }
        };
        Ok(Self { raw, depth: config.depth_mode, confidence: config.confidence_mode })
    }

    fn forward(&self, stages: &Stages, observe: Option<&mut Observer<'_>>) -> Result<PointMap, OpError> {
        let raw = match &self.raw {
            RawPoints::Linear { proj, patch } => {
                pixel_shuffle(&as_map(proj.forward(&stages.tokens[3])?, stages.grid), *patch)?
            }
            RawPoints::Dpt(dpt) => dpt.forward(stages, observe)?,
        };
        pointmap(&raw, self.depth, self.confidence)
    }
}

/// The part of a head that gives descriptors.
#[derive(Debug)]
struct FeatureHead {
    mlp: Mlp,
    patch: usize,
    dim: usize,
    confidence: Option<ConfidenceMode>,
}

impl FeatureHead {
    fn load(weights: &Weights<'_>, config: &Config) -> Result<Self, LoadError> {
        let HeadKind::DptWithFeatures { descriptor_dim: dim, confidence } = config.head else {
            unreachable!("only heads with descriptors have this part")
        };
        let patch = config.patch_size;
        let inputs = config.encoder.width() + config.decoder.width;
        let [hidden, _] = weights.shape("fc1.weight")?;
        let channels = dim + usize::from(confidence.is_some());
        // Few inputs of the last layer are much larger than the others, and the confidence is an exponential of its outputs: it is the
        // one layer in which the error of a block shows.
        let mlp = Mlp::load_with_finer_outputs(weights, inputs, hidden, channels * patch * patch)?;
        Ok(Self { mlp, patch, dim, confidence })
    }

    fn forward(&self, stages: &Stages) -> Result<Features, OpError> {
        let tokens = concat(&stages.tokens[0], &stages.tokens[3])?;
        let raw = pixel_shuffle(&as_map(self.mlp.forward(&tokens)?, stages.grid), self.patch)?;
        let (unit, rest) = descriptors(&raw, self.dim)?;
        let Some(mode) = self.confidence else {
            return Ok((unit, None));
        };
        let shape = unit.shape()[..3].to_vec();
        let confidence = confidence(&rest, mode)?.reshape(&shape).expect("one value per pixel");
        Ok((unit, Some(confidence)))
    }
}

/// Tokens `[batch, rows * columns, width]` as an image `[batch, rows, columns, width]`.
fn as_map(tokens: Tensor, [rows, columns]: [usize; 2]) -> Tensor {
    let shape = [tokens.shape()[0], rows, columns, tokens.shape()[2]];
    tokens.reshape(&shape).expect("a token per patch")
}
