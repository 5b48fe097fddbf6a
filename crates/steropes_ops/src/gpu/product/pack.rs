//! Weights as the product reads them.

use super::integers::{Held, Integers};
use crate::error::{Holds, OpError};
use crate::gpu::{bind, element_window, unsupported};
use std::ops::Range;
use steropes_tensor::{Binding, DType, Gpu, Header, Kernel, Tensor, spread};

/// The right factor of a product: panels of [`PANEL`] outputs, each `[padded, PANEL]` with zeros behind the depth and behind the last
/// output. Matrices of a subgroup load twice as fast from lines of outputs than from lines along the depth (measured on an NVIDIA
/// H100: 4096^3 in f16 runs at 196 instead of 102 TFLOP/s), and other forms need not turn what they load.
#[derive(Clone, Debug)]
pub(crate) struct ProductWeights {
    pub(super) weight: Tensor,
    pub(super) held: Held,
    /// `[outputs]`, f32.
    pub(super) bias: Tensor,
    pub(super) depth: usize,
    pub(super) padded: usize,
}

/// One axis of a tensor: how many steps, and how many elements each leads on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Axis {
    pub(crate) extent: usize,
    pub(crate) step: usize,
}

impl Axis {
    /// An axis of one step.
    pub(crate) const ONE: Self = Self { extent: 1, step: 0 };
}

/// Where the packed weights lie in a given tensor: outputs and depth are pairs of axes, the outer one first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) outputs: [Axis; 2],
    pub(crate) depth: [Axis; 2],
}

impl Layout {
    /// `[outputs, depth]`, row-major.
    pub(crate) fn rows(outputs: usize, depth: usize) -> Self {
        let outputs = Axis { extent: outputs, step: depth };
        Self { outputs: [Axis::ONE, outputs], depth: [Axis::ONE, Axis { extent: depth, step: 1 }] }
    }

    fn extents(&self) -> [usize; 2] {
        [self.outputs, self.depth].map(|[outer, inner]| outer.extent * inner.extent)
    }
}

/// The depth is padded to a multiple of every plan's.
const DEPTH_UNIT: usize = 32;
/// Outputs in a panel: 128 bytes of f16, what a GPU reads at once, and a part of every tile.
pub(super) const PANEL: usize = 64;

impl ProductWeights {
    /// Packs `weight` and `bias`, both checked; the outer outputs share the bias of the inner ones.
    ///
    /// # Errors
    /// [`OpError`] if the device failed or has no memory.
    pub(crate) fn pack(
        gpu: &Gpu,
        op: &'static str,
        weight: &Tensor,
        bias: Option<&Tensor>,
        layout: Layout,
    ) -> Result<Self, OpError> {
        let [outputs, depth] = layout.extents();
        // At least one step, so that loads before the first have something to read.
        let padded = depth.next_multiple_of(DEPTH_UNIT).max(DEPTH_UNIT);
        let weight = packed(gpu, op, weight, layout, (padded, PANEL))?;
        let bias = match bias {
            Some(bias) if layout.outputs[0].extent == 1 => bias.clone(),
            Some(bias) => {
                let [repeats, own] = layout.outputs.map(|axis| axis.extent);
                let depth = [Axis { extent: repeats, step: 0 }, Axis { extent: own, step: 1 }];
                packed(gpu, op, bias, Layout { outputs: [Axis::ONE; 2], depth }, (repeats * own, 1))?
            }
            None => zeros(gpu, op, outputs)?,
        };
        Ok(Self { weight, held: Held::Values, bias, depth, padded })
    }

    /// Lays out a matrix of small integers, `[outputs, depth]`, and `bias`, checked.
    ///
    /// # Errors
    /// [`OpError`] if the device failed or has no memory.
    pub(crate) fn of_integers(
        gpu: &Gpu,
        op: &'static str,
        integers: Integers<'_>,
        bias: Option<&Tensor>,
    ) -> Result<Self, OpError> {
        let ([outputs, depth], held) = (integers.shape(), integers.held());
        // Panels begin where bindings may.
        let padded = depth.next_multiple_of(2 * DEPTH_UNIT).max(2 * DEPTH_UNIT).next_multiple_of(held.step());
        let weight = integers.packed(gpu, padded)?;
        let bias = match bias {
            Some(bias) => bias.clone(),
            None => zeros(gpu, op, outputs)?,
        };
        Ok(Self { weight, held, bias, depth, padded })
    }

    /// Columns of the result.
    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The weights, for checks of device and dtype.
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// What [`ProductWeights::weight`] must hold: values of the dtype of the rows, or the words of integers.
    pub(crate) fn holds(&self) -> Holds {
        if self.held == Held::Values { Holds::Float } else { Holds::U32 }
    }

    /// Ranges of columns, whole panels, whose weights have at most `bytes` bytes; `None` where a single panel has more.
    pub(super) fn column_ranges(&self, bytes: usize) -> Option<Vec<Range<usize>>> {
        let panels = self.outputs().div_ceil(PANEL);
        let panel_bytes = self.panel_len() * self.weight.dtype().size_bytes();
        // Kernels count the elements of all panels in 32 bits.
        let most = (bytes / panel_bytes).min((1 << 31) / (self.padded * PANEL));
        let some = if panels <= most { self.outputs().max(1) } else { most * PANEL };
        let range = |first: usize| first..(first + some).min(self.outputs());
        (some > 0).then(|| (0..self.outputs()).step_by(some).map(range).collect())
    }

    /// The weights of a range of columns.
    pub(super) fn columns(&self, columns: &Range<usize>) -> Binding<'_> {
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        // A panel is a multiple of what a binding may begin at.
        element_window(&self.weight, panels.start * self.panel_len(), panels.len() * self.panel_len()).0
    }

    /// Elements of the tensor in a panel.
    fn panel_len(&self) -> usize {
        match self.held {
            Held::Values => self.padded * PANEL,
            held => held.panel_words(self.padded),
        }
    }
}

/// A bias of zeros.
fn zeros(gpu: &Gpu, op: &'static str, outputs: usize) -> Result<Tensor, OpError> {
    let zeros = Tensor::on_gpu(gpu, op, DType::F32, &[outputs])?;
    gpu.clear(zeros.gpu_memory().expect("made on a GPU"))?;
    Ok(zeros)
}

fn packed(
    gpu: &Gpu,
    op: &'static str,
    source: &Tensor,
    layout: Layout,
    (padded, panel): (usize, usize),
) -> Result<Tensor, OpError> {
    let [outputs, depth] = layout.extents();
    let packed = Tensor::on_gpu(gpu, op, source.dtype(), &[outputs.next_multiple_of(panel), padded])?;
    let caps = gpu.capabilities();
    let source_bytes = (source.len() * source.dtype().size_bytes()) as u64;
    if source_bytes > caps.max_binding_bytes {
        let why = format!("weights of {source_bytes} bytes do not fit one of its bindings");
        return Err(unsupported(op, gpu, why));
    }
    let header = Header::new().element(source.dtype());
    let kernel = Kernel::new("pack", &header, include_str!("pack.wgsl"));
    // Whole rows of the packed form, a multiple of what a binding may begin at.
    let most = (caps.max_binding_bytes as usize / source.dtype().size_bytes()) & !255;
    for first in (0..packed.len()).step_by(most) {
        let count = most.min(packed.len() - first);
        let (target, _) = element_window(&packed, first, count);
        let [outer, inner] = layout.outputs;
        let [outer_depth, inner_depth] = layout.depth;
        let words = [
            count,
            first,
            depth,
            padded,
            outputs,
            panel,
            inner.extent,
            inner_depth.extent,
            outer.step,
            inner.step,
            outer_depth.step,
            inner_depth.step,
        ];
        let params = words.map(|word| word as u32);
        gpu.launch(&kernel, &[bind(source), target], &params, spread(count.div_ceil(128) as u64))?;
    }
    Ok(packed)
}
