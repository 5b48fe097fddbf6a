//! Three forms, chosen when the weights are packed:
//!
//! | convolution | form |
//! |---|---|
//! | 3x3, stride 1, padding 1, at least 16 inputs | Winograd, `winograd.rs` |
//! | 1x1, stride 1, at most 4 outputs | pixels in lanes, `narrow.rs` |
//! | all others | one product whose left rows are the patches, read where they lie in the image |

use super::Geometry;
use super::narrow::{self, Narrow};
use super::winograd::{Between, Winograd};
use crate::cpu::Activation;
use crate::cpu::pack::{PackedWeights, RowSource};
use crate::cpu::product::{Epilogue, Residual, product};

/// Inputs from which Winograd's transforms cost less than the products they save.
const LEAST_WINOGRAD_INPUTS: usize = 16;

#[derive(Debug)]
pub(super) struct Packed {
    form: Form,
    bias: Option<Vec<f32>>,
    geometry: Geometry,
}

#[derive(Debug)]
enum Form {
    Winograd(Winograd),
    Narrow(Narrow),
    Patches(PackedWeights),
}

#[derive(Clone, Copy)]
pub(super) struct Fused<'a> {
    pub(super) relu_input: bool,
    pub(super) relu_output: bool,
    pub(super) residual: Option<&'a [f32]>,
}

impl Fused<'_> {
    /// What inputs are raised to as they are read.
    pub(super) fn floor(&self) -> f32 {
        if self.relu_input { 0.0 } else { f32::NEG_INFINITY }
    }
}

/// Whether Winograd's form is taken.
pub(super) fn is_winograd(g: Geometry) -> bool {
    (g.kernel, g.stride, g.padding) == (3, 1, 1) && g.inputs >= LEAST_WINOGRAD_INPUTS
}

fn is_narrow(g: Geometry) -> bool {
    (g.kernel, g.stride, g.padding) == (1, 1, 0) && g.outputs <= narrow::MOST_OUTPUTS
}

impl Packed {
    pub(super) fn new(weight: &[f32], bias: Option<&[f32]>, g: Geometry) -> Self {
        let taps = g.kernel * g.kernel;
        let form = if is_winograd(g) {
            Form::Winograd(Winograd::new(weight, g.inputs, g.outputs))
        } else if is_narrow(g) {
            Form::Narrow(Narrow::new(weight, g.inputs, g.outputs))
        } else {
            Form::Patches(PackedWeights::from_fn(g.outputs, taps * g.inputs, |o, d| {
                let (tap, i) = (d / g.inputs, d % g.inputs);
                weight[(o * g.inputs + i) * taps + tap]
            }))
        };
        Self { form, bias: bias.map(<[f32]>::to_vec), geometry: g }
    }
}

pub(super) fn conv2d(
    x: &[f32],
    extents: [usize; 3],
    shape: [usize; 4],
    packed: &Packed,
    fused: &Fused<'_>,
) -> Vec<f32> {
    let bias = packed.bias.as_deref();
    match &packed.form {
        Form::Winograd(winograd) => winograd.conv2d(x, extents, bias, fused, None),
        Form::Narrow(narrow) => narrow.conv2d(x, bias, fused),
        Form::Patches(weights) => {
            let patches = Patches::new(x, extents, shape, packed.geometry, fused.floor());
            let activation = if fused.relu_output { Activation::Relu } else { Activation::Identity };
            let residual = fused.residual.map_or(Residual::Nothing, Residual::Values);
            product(&patches, weights, Epilogue { bias, activation, residual })
        }
    }
}

/// [`super::resized_conv2d`] without the maps between its parts; `None` if the convolutions have other forms.
pub(super) fn resized_conv2d(
    x: &[f32],
    extents: [usize; 3],
    size: [usize; 2],
    packed: &Packed,
    pointwise: Option<&Packed>,
) -> Option<Vec<f32>> {
    let Form::Winograd(winograd) = &packed.form else {
        return None;
    };
    let pointwise = match pointwise {
        None => None,
        Some(Packed { form: Form::Narrow(narrow), bias, .. }) => Some((narrow, bias.as_deref())),
        Some(_) => return None,
    };
    let fused = Fused { relu_input: false, relu_output: pointwise.is_some(), residual: None };
    let between = Between { size, pointwise };
    Some(winograd.conv2d(x, extents, packed.bias.as_deref(), &fused, Some(&between)))
}

/// The patch under the kernel as a row for every pixel of the result: `[tap row, tap column, input]`.
struct Patches<'a> {
    x: &'a [f32],
    extents: [usize; 3],
    out: [usize; 3],
    geometry: Geometry,
    /// Taps that lie side by side in memory: a whole row of the kernel where no tap can fall outside the image.
    run: usize,
    floor: f32,
}

impl<'a> Patches<'a> {
    fn new(x: &'a [f32], extents: [usize; 3], shape: [usize; 4], g: Geometry, floor: f32) -> Self {
        let [batch, out_h, out_w, _] = shape;
        let run = if g.padding == 0 { g.kernel } else { 1 };
        Self { x, extents, out: [batch, out_h, out_w], geometry: g, run, floor }
    }
}

impl RowSource for Patches<'_> {
    fn rows(&self) -> usize {
        self.out.iter().product()
    }
    fn segments(&self) -> usize {
        self.geometry.kernel * self.geometry.kernel / self.run
    }
    fn segment_len(&self) -> usize {
        self.run * self.geometry.inputs
    }
    fn segment(&self, row: usize, segment: usize) -> Option<&[f32]> {
        let ([_, height, width], [_, out_h, out_w], g) = (self.extents, self.out, self.geometry);
        let (image, r, c) = (row / (out_h * out_w), row / out_w % out_h, row % out_w);
        let tap = segment * self.run;
        let r = (r * g.stride + tap / g.kernel).checked_sub(g.padding)?;
        let c = (c * g.stride + tap % g.kernel).checked_sub(g.padding)?;
        let inside = r < height && c < width;
        inside.then(|| &self.x[((image * height + r) * width + c) * g.inputs..][..self.segment_len()])
    }
    fn floor(&self) -> f32 {
        self.floor
    }
}
