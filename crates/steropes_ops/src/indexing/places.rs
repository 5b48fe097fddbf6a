//! Where in a tensor the elements lie that an index names along one axis.

use crate::error::OpError;
use crate::gpu::{flat_ranges, index_header, one_binding, unsupported, window};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// The most extents that kernels take apart.
const RANK: usize = 4;

/// How kernels see the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexLayout {
    /// A number for each element of the result.
    Elements,
    /// A number for each place along the axis, of so many places with so many elements each.
    Axis(usize, usize),
}

/// Element `i` of a result of some shape, with its coordinate along an axis replaced by an index, as an offset into a tensor.
/// Neighbouring extents that lie alike in both are one.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Extents of the result and the distances of their steps in the tensor; 0 for the axis.
    steps: Vec<(usize, usize)>,
    /// The distance of a step along the axis.
    pub(super) stride: usize,
    /// The tensor's extent along the axis.
    pub(super) extent: usize,
}

impl Places {
    /// For a tensor of shape `x` and a result of shape `result`, of the same rank.
    pub(super) fn new(x: &[usize], result: &[usize], axis: usize) -> Self {
        let mut steps: Vec<(usize, usize)> = Vec::new();
        let mut stride = 1;
        // From the last axis on, each before those that were seen.
        for (d, (&extent, &own)) in x.iter().zip(result).enumerate().rev() {
            let step = if d == axis { 0 } else { stride };
            match steps.last_mut() {
                Some((below, low)) if d != axis && d + 1 != axis && step == *low * *below => *below *= own,
                _ => steps.push((own, step)),
            }
            stride *= extent;
        }
        steps.reverse();
        Self { steps, stride: x[axis + 1..].iter().product(), extent: x[axis] }
    }

    /// The offset of element `i` without its index.
    pub(super) fn base(&self, i: usize) -> usize {
        let (mut rest, mut base) = (i, 0);
        for &(extent, step) in self.steps[1..].iter().rev() {
            base += rest % extent * step;
            rest /= extent;
        }
        base + rest * self.steps[0].1
    }

    /// The words `e1 e2 e3 s0 s1 s2 s3 stride extent` that [`Places::header`] reads.
    fn params(&self, op: &'static str, gpu: &Gpu) -> Result<Vec<u32>, OpError> {
        if self.steps.len() > RANK {
            let why = format!("{} runs of axes around the index, not more than {RANK}", self.steps.len());
            return Err(unsupported(op, gpu, why));
        }
        let mut steps = vec![(1, 0); RANK - self.steps.len()];
        steps.extend(&self.steps);
        let extents = steps[1..].iter().map(|s| s.0);
        let numbers = extents.chain(steps.iter().map(|s| s.1)).chain([self.stride, self.extent]);
        Ok(numbers.map(|n| n as u32).collect())
    }

    /// The header with the first members `PLACES` of `Params`, `base_of(i: u32) -> u32`, `index_at` and `index_is_below` for the
    /// array `index`, and `index_place(i: u32) -> u32`.
    fn header(header: Header, index: DType, layout: IndexLayout) -> Header {
        let place = match layout {
            IndexLayout::Elements => "return i - params.first;".to_owned(),
            IndexLayout::Axis(count, inner) => format!("return i / {inner}u % {count}u;"),
        };
        index_header(header, "index", index)
            .text(include_str!("places.wgsl"))
            .text(&format!("fn index_place(i: u32) -> u32 {{ {place} }}\n"))
    }

    /// Fills `y` with the elements of `x` at these places.
    pub(super) fn launch_gather(
        &self,
        op: &'static str,
        gpu: &Gpu,
        x: &Tensor,
        (index, layout): (&Tensor, IndexLayout),
        y: &Tensor,
    ) -> Result<(), OpError> {
        let (size, index_size) = (x.dtype().size_bytes(), index.dtype().size_bytes());
        let header = Self::header(Header::new().element(x.dtype()), index.dtype(), layout);
        let kernel = Kernel::new("gather", &header, include_str!("gather.wgsl"));
        let places = self.params(op, gpu)?;
        if layout != IndexLayout::Elements {
            one_binding(op, gpu, &[index])?;
        }
        let mut sources: Vec<_> = flat_ranges(gpu, x.len(), &[(x, size)]).collect();
        if sources.is_empty() {
            // Without elements every number is out of its range.
            sources.push(0..0);
        }
        for to in flat_ranges(gpu, y.len(), &[(y, size), (index, index_size)]) {
            let numbers = if layout == IndexLayout::Elements { to.clone() } else { 0..index.len() };
            for from in &sources {
                let bindings =
                    [window(x, size, from), window(index, index_size, &numbers), window(y, size, &to)];
                let mut params = places.clone();
                params.extend([to.len(), to.start, from.start, from.len()].map(|n| n as u32));
                params.push(f32::NAN.to_bits());
                let groups = spread(to.len().div_ceil(256) as u64);
                gpu.launch(&kernel, &bindings.map(|window| window.binding), &params, groups)?;
            }
        }
        Ok(())
    }

    /// The place of each element of `index`, u32; `none` for numbers out of their range.
    pub(super) fn launch_places(
        &self,
        op: &'static str,
        gpu: &Gpu,
        index: &Tensor,
        none: u32,
    ) -> Result<Tensor, OpError> {
        let header = Self::header(Header::new(), index.dtype(), IndexLayout::Elements);
        let kernel = Kernel::new("places", &header, include_str!("place_of.wgsl"));
        let places = Tensor::on_gpu(gpu, op, DType::U32, &[index.len()])?;
        one_binding(op, gpu, &[index, &places])?;
        let mut params = self.params(op, gpu)?;
        params.extend([index.len() as u32, 0, none]);
        let bindings = [crate::gpu::bind(index), crate::gpu::bind(&places)];
        gpu.launch(&kernel, &bindings, &params, spread(index.len().div_ceil(256) as u64))?;
        Ok(places)
    }
}

/// Checks that `index` has the rank of `x` and fits it along all axes but `axis`.
pub(super) fn check_shapes(op: &'static str, x: &Tensor, axis: usize, index: &Tensor) -> Result<(), OpError> {
    check_axis(op, x, axis)?;
    let rank = x.shape().len();
    let fits = index.shape().len() == rank
        && index.shape().iter().zip(x.shape()).enumerate().all(|(d, (own, all))| d == axis || own <= all);
    if fits {
        return Ok(());
    }
    let expected = format!("at most {:?} along all axes but axis {axis}", x.shape());
    Err(OpError::shape(op, "index", expected, index.shape()))
}

/// Refuses an axis that `x` does not have.
pub(super) fn check_axis(op: &'static str, x: &Tensor, axis: usize) -> Result<(), OpError> {
    match x.shape().len() {
        rank if axis < rank => Ok(()),
        rank => Err(OpError::value(op, "axis", format!("below the rank {rank}"), axis)),
    }
}
