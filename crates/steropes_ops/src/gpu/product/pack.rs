//! Weights as the product reads them.

use crate::error::OpError;
use crate::gpu::{bind, element_window, unsupported};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// The right factor of a product: `[outputs, padded]`, each row an output's weights along the depth with zeros behind them.
#[derive(Clone, Debug)]
pub(crate) struct ProductWeights {
    pub(super) weight: Tensor,
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

    /// Whether the packed weights without padding are the given tensor.
    fn is_identity(&self) -> bool {
        let axes = [self.depth[1], self.depth[0], self.outputs[1], self.outputs[0]];
        let mut step = 1;
        axes.iter().all(|axis| {
            let fits = axis.extent == 1 || axis.step == step;
            step *= axis.extent;
            fits
        })
    }
}

/// The depth is padded to a multiple of every plan's.
const DEPTH_UNIT: usize = 32;

impl ProductWeights {
    /// Packs `weight` and `bias`, both checked; the outer outputs share the bias of the inner ones. The given tensor is kept
    /// where it is as the product reads it.
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
        let weight = if padded == depth && layout.is_identity() {
            weight.clone()
        } else {
            packed(gpu, op, weight, layout, padded)?
        };
        let bias = match bias {
            Some(bias) if layout.outputs[0].extent == 1 => bias.clone(),
            Some(bias) => {
                let [repeats, own] = layout.outputs.map(|axis| axis.extent);
                let depth = [Axis { extent: repeats, step: 0 }, Axis { extent: own, step: 1 }];
                packed(gpu, op, bias, Layout { outputs: [Axis::ONE; 2], depth }, repeats * own)?
            }
            None => {
                let zeros = Tensor::on_gpu(gpu, op, DType::F32, &[outputs])?;
                gpu.clear(zeros.gpu_memory().expect("made on a GPU"))?;
                zeros
            }
        };
        Ok(Self { weight, bias, depth, padded })
    }

    /// Columns of the result.
    pub(crate) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// The weights, for checks of device and dtype.
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }
}

fn packed(
    gpu: &Gpu,
    op: &'static str,
    source: &Tensor,
    layout: Layout,
    padded: usize,
) -> Result<Tensor, OpError> {
    let [outputs, depth] = layout.extents();
    let packed = Tensor::on_gpu(gpu, op, source.dtype(), &[outputs, padded])?;
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
