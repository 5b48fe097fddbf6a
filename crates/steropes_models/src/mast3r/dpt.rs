//! The dense prediction head: tokens of four stages fused from coarse to fine.

use super::Observer;
use super::decoder::Stages;
use steropes_nn::{Conv2d, ConvTranspose2d, Linear, LoadError, Weights};
use steropes_ops::OpError;
use steropes_ops::elementwise::add::add;
use steropes_ops::vision::conv2d::ConvOptions;
use steropes_ops::vision::crop::crop;
use steropes_ops::vision::resize_bilinear::resize_bilinear;
use steropes_tensor::Tensor;

/// Raw channels x, y, z, confidence.
const OUTPUTS: usize = 4;

/// DPT (arXiv:2103.13413) without batch normalisation. All widths come from the shapes of the tensors.
#[derive(Debug)]
pub(super) struct Dpt {
    project: [Linear; 4],
    enlarge: [ConvTranspose2d; 2],
    shrink: Conv2d,
    to_features: [Conv2d; 4],
    fuse: [Fusion; 4],
    head0: Conv2d,
    head2: Conv2d,
    head4: Conv2d,
}

impl Dpt {
    /// Reads the head for stages whose tokens have the given widths.
    pub(super) fn load(weights: &Weights<'_>, widths: [usize; 4]) -> Result<Self, LoadError> {
        let act = weights.at("act_postprocess");
        let scratch = weights.at("scratch");
        let layer = |i: usize| -> Result<usize, LoadError> { Ok(act.at(i).at(0).shape::<4>("weight")?[0]) };
        let layers = [layer(0)?, layer(1)?, layer(2)?, layer(3)?];
        let project = |i: usize| Linear::load_pointwise(&act.at(i).at(0), widths[i], layers[i]);
        let (name, alias) = (feature_names(0).0, feature_names(0).1);
        let features = scratch.shape::<4>(scratch.either(&name, &alias)?)?[0];
        let to_features = |i: usize| {
            let (name, alias) = feature_names(i);
            Conv2d::load_3x3_unbiased(&scratch, scratch.either(&name, &alias)?, layers[i], features)
        };
        let fuse = |i: usize| Fusion::load(&scratch.at(format!("refinenet{}", i + 1)), features, i < 3);
        let head = weights.at("head");
        let [half, last] = [head.at(0).shape::<4>("weight")?[0], head.at(2).shape::<4>("weight")?[0]];
        Ok(Self {
            project: [project(0)?, project(1)?, project(2)?, project(3)?],
            enlarge: [
                ConvTranspose2d::load(&act.at("0.1"), layers[0], 4)?,
                ConvTranspose2d::load(&act.at("1.1"), layers[1], 2)?,
            ],
            shrink: Conv2d::load_3x3(&act.at("3.1"), layers[3], layers[3], 2)?,
            to_features: [to_features(0)?, to_features(1)?, to_features(2)?, to_features(3)?],
            fuse: [fuse(0)?, fuse(1)?, fuse(2)?, fuse(3)?],
            head0: Conv2d::load_3x3(&head.at(0), features, half, 1)?,
            head2: Conv2d::load_3x3(&head.at(2), half, last, 1)?,
            head4: Conv2d::load_patches(&head.at(4), last, OUTPUTS, 1)?,
        })
    }

    /// The raw channels of every pixel, `[batch, height, width, 4]`.
    pub(super) fn forward(
        &self,
        stages: &Stages,
        mut observe: Option<&mut Observer<'_>>,
    ) -> Result<Tensor, OpError> {
        let mut show = |name: &str, map: &dyn Fn() -> Result<Tensor, OpError>| {
            observe.as_mut().map_or(Ok(()), |observe| map().map(|map| observe(name, &map)))
        };
        let [rows, columns] = stages.grid;
        let mut fused = twice(&self.fuse[3].forward(None, &self.features(stages, 3)?)?)?;
        show("scratch.refinenet4", &|| Ok(fused.clone()))?;
        // Odd grids were rounded up when they were halved.
        fused = crop(&fused, rows, columns)?;
        for i in [2, 1] {
            fused = twice(&self.fuse[i].forward(Some(fused), &self.features(stages, i)?)?)?;
            show(&format!("scratch.refinenet{}", i + 1), &|| Ok(fused.clone()))?;
        }
        fused = self.fuse[0].forward(Some(fused), &self.features(stages, 0)?)?;
        show("scratch.refinenet1", &|| twice(&fused))?;
        let small = self.head0.forward_resized(&fused, twice_size(&fused), None)?;
        drop(fused);
        let raw = self.head2.forward_resized(&small, stages.size, Some(&self.head4))?;
        show("dpt_raw", &|| Ok(raw.clone()))?;
        Ok(raw)
    }

    /// The tokens of stage `i` as an image of features: 4, 2, 1 and 1/2 times the grid of patches.
    fn features(&self, stages: &Stages, i: usize) -> Result<Tensor, OpError> {
        let [rows, columns] = stages.grid;
        let projected = self.project[i].forward(&stages.tokens[i])?;
        let &[batch, _, width] = projected.shape() else {
            unreachable!("tokens have three axes, checked by the encoder")
        };
        let map = projected.reshape(&[batch, rows, columns, width]).expect("a token per patch");
        let map = match i {
            0 | 1 => self.enlarge[i].forward(&map)?,
            2 => map,
            _ => self.shrink.forward(&map, ConvOptions::default())?,
        };
        self.to_features[i].forward(&map, ConvOptions::default())
    }
}

/// The two names of the convolution that brings stage `i` to the width of the features.
fn feature_names(i: usize) -> (String, String) {
    (format!("layer{}_rn.weight", i + 1), format!("layer_rn.{i}.weight"))
}

/// Height and width of twice the image.
fn twice_size(x: &Tensor) -> [usize; 2] {
    [2 * x.shape()[1], 2 * x.shape()[2]]
}

fn twice(x: &Tensor) -> Result<Tensor, OpError> {
    let [height, width] = twice_size(x);
    resize_bilinear(x, height, width)
}

/// `out_conv(unit2(x + unit1(skip)))`, without the first unit where nothing coarser comes in. The network has twice the image before
/// `out_conv`; a 1x1 convolution commutes with an interpolation, whose weights sum to one, and costs a quarter before it.
#[derive(Debug)]
struct Fusion {
    unit1: Option<ResidualUnit>,
    unit2: ResidualUnit,
    out_conv: Linear,
}

impl Fusion {
    fn load(weights: &Weights<'_>, features: usize, has_coarser: bool) -> Result<Self, LoadError> {
        let unit = |name: &str| ResidualUnit::load(&weights.at(name), features);
        Ok(Self {
            unit1: has_coarser.then(|| unit("resConfUnit1")).transpose()?,
            unit2: unit("resConfUnit2")?,
            out_conv: Linear::load_pointwise(&weights.at("out_conv"), features, features)?,
        })
    }

    fn forward(&self, coarser: Option<Tensor>, skip: &Tensor) -> Result<Tensor, OpError> {
        let x = match (&self.unit1, coarser) {
            (Some(unit), Some(coarser)) => self.unit2.forward(&add(unit.forward(skip)?, &coarser)?)?,
            _ => self.unit2.forward(skip)?,
        };
        self.out_conv.forward(&x)
    }
}

/// `x + conv2(relu(conv1(relu(x))))`.
#[derive(Debug)]
struct ResidualUnit {
    conv1: Conv2d,
    conv2: Conv2d,
}

impl ResidualUnit {
    fn load(weights: &Weights<'_>, features: usize) -> Result<Self, LoadError> {
        let conv = |name: &str| Conv2d::load_3x3(&weights.at(name), features, features, 1);
        Ok(Self { conv1: conv("conv1")?, conv2: conv("conv2")? })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor, OpError> {
        let rectified = ConvOptions { relu_input: true, relu_output: true, residual: None };
        let inner = self.conv1.forward(x, rectified)?;
        self.conv2.forward(&inner, ConvOptions { residual: Some(x), ..ConvOptions::default() })
    }
}
