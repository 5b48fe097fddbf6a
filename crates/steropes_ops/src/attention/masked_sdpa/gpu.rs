//! Choice of the form; that of multiply-adds by single invocations, for every device, element type and head: tiles, kernels, launches.

mod matrix;

pub(super) use matrix::{Cut, Forms, Gradient, Of, backward as backward_as, forward as forward_as};

use super::{Attended, BACKWARD, Extents, Gradients, Mask, OP, Problem};
use crate::error::OpError;
use crate::gpu::{bind, largest_binding, row_ranges, unsupported, window};
use std::ops::Range;
use steropes_tensor::{Binding, DType, Gpu, Header, Kernel, KernelCache, Tensor, spread};

/// Tokens that pass in a step, and invocations of a row, as the kernels have them.
const PASSING: usize = 32;
const ROW: usize = 8;

/// Rows of a workgroup of the kernel for sums over rows.
const ROWS_OF_SIDES: u32 = 64;

/// Tiles that keep all cores of a large GPU busy; below it smaller tiles are worth reading the other side more often.
const FULL_GPU: usize = 512;

/// What a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pass {
    Forward,
    QueryGradient,
    KeyGradient,
}

/// Which kernel of a pass, and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Form {
    pass: Pass,
    mask: MaskKind,
    dtype: DType,
    head_dim: usize,
    /// Tokens of an invocation, 4 or 8.
    per_thread: usize,
    /// The most vectors of four values that a chunk of a head has.
    most_in_chunk: usize,
    /// Whether the invocations of a row meet by subgroup operations.
    subgroups: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum MaskKind {
    None,
    Causal,
    Boolean,
    Additive,
    Segments,
}

impl MaskKind {
    fn of(mask: Mask<'_>) -> Self {
        match mask {
            Mask::None => Self::None,
            Mask::Causal => Self::Causal,
            Mask::Boolean(_) => Self::Boolean,
            Mask::Additive(_) => Self::Additive,
            Mask::Segments(_) => Self::Segments,
        }
    }

    /// The header with `logit`, `keys_of` and `queries_of`, and the array of the mask as `binding`.
    fn header(self, header: Header, binding: usize) -> Header {
        let array = |element: &str| {
            format!("@group(0) @binding({binding}) var<storage, read> mask: array<{element}>;\n")
        };
        match self {
            Self::None => header.text(include_str!("mask_none.wgsl")).text(include_str!("bounds_none.wgsl")),
            Self::Causal => header.text(include_str!("mask_causal.wgsl")),
            Self::Boolean => header
                .text(&array("u32"))
                .text(include_str!("mask_at.wgsl"))
                .text(include_str!("mask_boolean.wgsl"))
                .text(include_str!("bounds_none.wgsl")),
            Self::Additive => header
                .text(&array("Elem"))
                .text(include_str!("mask_at.wgsl"))
                .text(include_str!("mask_additive.wgsl"))
                .text(include_str!("bounds_none.wgsl")),
            Self::Segments => header.text(&array("vec2<u32>")).text(include_str!("mask_segments.wgsl")),
        }
    }
}

impl Form {
    /// The largest tile that fits the workgroup memory and leaves enough workgroups.
    fn choose(gpu: &Gpu, op: &'static str, pass: Pass, problem: &Problem<'_>) -> Result<Self, OpError> {
        let capabilities = gpu.capabilities();
        let e = problem.extents;
        let subgroups = capabilities.subgroup_size().is_some_and(|n| n.is_power_of_two() && n >= ROW as u32);
        let tiles = e.batch * e.heads * e.queries.div_ceil(ROW * 8);
        // Beyond 64 values in a head, the sums of eight tokens do not fit the registers; those of keys are two.
        let wide = pass != Pass::KeyGradient && e.head_dim <= 64 && tiles >= FULL_GPU;
        let (mask, dtype, head_dim) = (MaskKind::of(problem.mask), problem.dtype(), e.head_dim);
        let form = |(per_thread, most_in_chunk)| Self {
            pass,
            mask,
            dtype,
            head_dim,
            per_thread,
            most_in_chunk,
            subgroups,
        };
        [(8, 16), (4, 16), (4, 8)]
            .into_iter()
            .filter(|&(per_thread, _)| wide || per_thread == 4)
            .map(form)
            .find(|form| form.workgroup_bytes() <= capabilities.workgroup_bytes as usize)
            .ok_or_else(|| {
                let why = format!("{} bytes of workgroup memory are too few", capabilities.workgroup_bytes);
                unsupported(op, gpu, why)
            })
    }

    fn own(&self) -> usize {
        ROW * self.per_thread
    }

    /// Chunks of a head, and vectors of four values in each.
    fn chunks(&self) -> [usize; 2] {
        let vectors = self.head_dim.div_ceil(4);
        let chunks = vectors.div_ceil(self.most_in_chunk);
        [chunks, vectors.div_ceil(chunks)]
    }

    fn workgroup_bytes(&self) -> usize {
        let [_, chunk] = self.chunks();
        let tile = (chunk * PASSING).max(PASSING * chunk.next_multiple_of(ROW));
        16 * (chunk * self.own() + tile + PASSING * self.own() / 4)
    }

    fn kernel(self) -> Kernel {
        static KERNELS: KernelCache<Form> = KernelCache::new();
        KERNELS.get(self, || self.text())
    }

    fn text(self) -> Kernel {
        let [chunks, chunk] = self.chunks();
        let header = arrays_header(self.dtype, self.head_dim)
            .count("PER_THREAD", self.per_thread as u32)
            .count("CHUNKS", chunks as u32)
            .count("CHUNK", chunk as u32)
            .count("COLUMNS", chunk.div_ceil(ROW) as u32)
            .text(include_str!("tiles.wgsl"));
        match self.pass {
            Pass::Forward => {
                let header = self.arrays(header, &["q", "k", "v"], &["result"]);
                let header = self.mask.header(
                    header.text("@group(0) @binding(4) var<storage, read_write> logs: array<f32>;\n"),
                    5,
                );
                let header = header.text(if self.subgroups {
                    include_str!("../sdpa/plain_row_subgroup.wgsl")
                } else {
                    include_str!("../sdpa/plain_row_workgroup.wgsl")
                });
                Kernel::new("sdpa_masked", &header, include_str!("forward.wgsl"))
            }
            Pass::QueryGradient => {
                let header = self.arrays(header, &["q", "k", "v", "g"], &["result"]);
                let header = self.mask.header(header.text(&sides(5)), 6);
                Kernel::new("sdpa_backward", &header, include_str!("query_gradient.wgsl"))
            }
            Pass::KeyGradient => {
                let header = self.arrays(header, &["q", "k", "v", "g"], &["result", "second"]);
                let header = self.mask.header(header.text(&sides(6)), 7);
                Kernel::new("sdpa_backward", &header, include_str!("key_gradient.wgsl"))
            }
        }
    }

    /// The header with arrays to read and arrays to write, in the order of their bindings, and their loads.
    fn arrays(self, mut header: Header, read: &[&str], written: &[&str]) -> Header {
        for (binding, name) in read.iter().enumerate() {
            header = header.text(&read_array(self.head_dim, name, binding));
            header = header.text(&include_str!("loads.wgsl").replace("NAME", name));
        }
        for (i, name) in written.iter().enumerate() {
            let text = if self.head_dim.is_multiple_of(4) {
                include_str!("put_vectors.wgsl")
            } else {
                include_str!("put_scalars.wgsl")
            };
            let binding = (read.len() + i).to_string();
            header = header.text(&text.replace("NAME", name).replace("BINDING", &binding));
        }
        header
    }
}

/// The header with the parameters and the extents of a head.
fn arrays_header(dtype: DType, head_dim: usize) -> Header {
    Header::new()
        .element(dtype)
        .count("HEAD_DIM", head_dim as u32)
        .count("VECTORS", head_dim.div_ceil(4) as u32)
        .text(include_str!("params.wgsl"))
}

fn read_array(head_dim: usize, name: &str, binding: usize) -> String {
    let text =
        if head_dim.is_multiple_of(4) { include_str!("vectors.wgsl") } else { include_str!("scalars.wgsl") };
    text.replace("NAME", name).replace("BINDING", &binding.to_string())
}

fn sides(binding: usize) -> String {
    format!("@group(0) @binding({binding}) var<storage, read> sides: array<vec2<f32>>;\n")
}

/// The small numbers of a launch, in the order of the kernels' `Params`.
struct Params {
    words: [u32; 20],
}

/// Places of the numbers that say where an array begins.
mod first {
    pub(super) const MASK: usize = 8;
    pub(super) const Q: usize = 12;
    pub(super) const K: usize = 13;
    pub(super) const V: usize = 14;
    pub(super) const G: usize = 15;
    pub(super) const Y: usize = 16;
    pub(super) const SIDE: usize = 17;
    pub(super) const RESULT: usize = 18;
    pub(super) const SECOND: usize = 19;
}

impl Params {
    fn new(problem: &Problem<'_>, tiles: usize, groups: usize) -> Self {
        let (e, layout) = (problem.extents, problem.layout);
        let counts = [e.queries, e.keys, e.heads, e.group(), tiles, groups].map(|n| n as u32);
        let mut words = [0; 20];
        words[..6].copy_from_slice(&counts);
        words[6] = problem.scale.to_bits();
        words[7] = f32::NEG_INFINITY.to_bits();
        words[9..12].copy_from_slice(&[layout.batch, layout.head, layout.query].map(|n| n as u32));
        Self { words }
    }
}

/// A launch for some batch elements.
struct Launch<'a> {
    problem: &'a Problem<'a>,
    batch: Range<usize>,
    params: Params,
    bindings: Vec<Binding<'a>>,
}

impl<'a> Launch<'a> {
    fn new(problem: &'a Problem<'a>, batch: &Range<usize>, tiles: usize, groups: usize) -> Self {
        let params = Params::new(problem, tiles, groups);
        Self { problem, batch: batch.clone(), params, bindings: Vec::new() }
    }

    /// Binds these batch elements of a tensor that a kernel sees in units of `unit` elements, and says where they begin.
    fn bind(&mut self, tensor: &'a Tensor, unit: usize, place: usize) {
        let size = tensor.dtype().size_bytes();
        let window = window(tensor, bytes_of_batch(tensor, self.problem), &self.batch);
        self.params.words[place] = window.shift(unit * size);
        self.bindings.push(window.binding);
    }

    /// As [`Launch::bind`] for tensors of heads.
    fn bind_heads(&mut self, tensor: &'a Tensor, place: usize) {
        let unit = if self.problem.extents.head_dim.is_multiple_of(4) { 4 } else { 1 };
        self.bind(tensor, unit, place);
    }

    /// Queries, keys, values and the gradient of the result.
    fn bind_inputs(&mut self, gradient: &'a Tensor) {
        self.bind_heads(self.problem.q, first::Q);
        self.bind_heads(self.problem.k, first::K);
        self.bind_heads(self.problem.v, first::V);
        self.bind_heads(gradient, first::G);
    }

    fn bind_mask(&mut self) {
        let Some(mask) = self.problem.mask_tensor() else { return };
        match mask_bytes(self.problem) {
            Some(bytes) => {
                let window = window(mask, bytes, &self.batch);
                self.params.words[first::MASK] = window.shift(mask.dtype().size_bytes());
                self.bindings.push(window.binding);
            }
            None => self.bindings.push(bind(mask)),
        }
    }

    /// Runs workgroups of which each takes `each` of the groups that the kernel counts.
    fn run(self, gpu: &Gpu, kernel: &Kernel, each: u32) -> Result<(), OpError> {
        let groups = u64::from(self.params.words[5].div_ceil(each));
        Ok(gpu.launch(kernel, &self.bindings, &self.params.words, spread(groups))?)
    }
}

fn bytes_of_batch(tensor: &Tensor, problem: &Problem<'_>) -> usize {
    tensor.len() / problem.extents.batch * tensor.dtype().size_bytes()
}

/// Bytes of the mask for a batch element, if each has its own.
fn mask_bytes(problem: &Problem<'_>) -> Option<usize> {
    let mask = problem.mask_tensor()?;
    (problem.layout.batch > 0).then(|| problem.layout.batch * mask.dtype().size_bytes())
}

/// Ranges of batch elements whose tensors and masks fit bindings.
fn batches(
    gpu: &Gpu,
    op: &'static str,
    problem: &Problem<'_>,
    tensors: &[&Tensor],
) -> Result<Vec<Range<usize>>, OpError> {
    let mut bytes: Vec<usize> = tensors.iter().map(|tensor| bytes_of_batch(tensor, problem)).collect();
    match (problem.mask_tensor(), mask_bytes(problem)) {
        (_, Some(mask)) => bytes.push(mask),
        (Some(mask), None) if bind(mask).bytes > largest_binding(gpu) as u64 => {
            let why = format!("a mask of {} bytes does not fit one binding", bind(mask).bytes);
            return Err(unsupported(op, gpu, why));
        }
        _ => {}
    }
    row_ranges(op, gpu, problem.extents.batch, &bytes)
}

pub(super) fn forward(gpu: &Gpu, problem: &Problem<'_>) -> Result<Attended, OpError> {
    let Extents { batch, queries, heads, .. } = problem.extents;
    let out = Tensor::on_gpu(gpu, OP, problem.dtype(), problem.q.shape())?;
    let lse = Tensor::on_gpu(gpu, OP, DType::F32, &[batch, heads, queries])?;
    if out.is_empty() {
        return Ok(Attended { out, lse });
    }
    if let Some(forms) = Forms::choose(gpu.capabilities(), problem) {
        return forward_as(gpu, problem, forms.forward);
    }
    let form = Form::choose(gpu, OP, Pass::Forward, problem)?;
    let tiles = queries.div_ceil(form.own());
    for range in batches(gpu, OP, problem, &[&out, problem.k])? {
        let mut launch = Launch::new(problem, &range, tiles, range.len() * heads * tiles);
        launch.bind_heads(problem.q, first::Q);
        launch.bind_heads(problem.k, first::K);
        launch.bind_heads(problem.v, first::V);
        launch.bind_heads(&out, first::RESULT);
        launch.bind(&lse, 1, first::SIDE);
        launch.bind_mask();
        launch.run(gpu, &form.kernel(), 1)?;
    }
    Ok(Attended { out, lse })
}

pub(super) fn backward(
    gpu: &Gpu,
    problem: &Problem<'_>,
    attended: &Attended,
    gradient: &Tensor,
) -> Result<Gradients, OpError> {
    let Extents { batch, queries, keys, heads, kv_heads, .. } = problem.extents;
    let [dq, dk, dv] = [problem.q, problem.k, problem.v]
        .map(|tensor| Tensor::on_gpu(gpu, BACKWARD, problem.dtype(), tensor.shape()));
    let (dq, dk, dv) = (dq?, dk?, dv?);
    if batch == 0 {
        return Ok(Gradients { q: dq, k: dk, v: dv });
    }
    if let Some(forms) = Forms::choose(gpu.capabilities(), problem).filter(|_| queries > 0) {
        return backward_as(gpu, problem, attended, gradient, &forms);
    }
    let query_form = Form::choose(gpu, BACKWARD, Pass::QueryGradient, problem)?;
    let key_form = Form::choose(gpu, BACKWARD, Pass::KeyGradient, problem)?;
    // A logarithm and a sum for each query.
    let sides = Tensor::on_gpu(gpu, BACKWARD, DType::F32, &[batch, heads, queries, 2])?;
    for range in batches(gpu, BACKWARD, problem, &[&dq, &dk, &sides])? {
        sides_of(gpu, problem, &range, [gradient, &attended.out], &attended.lse, &sides)?;

        let tiles = queries.div_ceil(query_form.own());
        let mut launch = Launch::new(problem, &range, tiles, range.len() * heads * tiles);
        launch.bind_inputs(gradient);
        launch.bind_heads(&dq, first::RESULT);
        launch.bind(&sides, 2, first::SIDE);
        launch.bind_mask();
        launch.run(gpu, &query_form.kernel(), 1)?;

        let tiles = keys.div_ceil(key_form.own());
        let mut launch = Launch::new(problem, &range, tiles, range.len() * kv_heads * tiles);
        launch.bind_inputs(gradient);
        launch.bind_heads(&dk, first::RESULT);
        launch.bind_heads(&dv, first::SECOND);
        launch.bind(&sides, 2, first::SIDE);
        launch.bind_mask();
        launch.run(gpu, &key_form.kernel(), 1)?;
    }
    Ok(Gradients { q: dq, k: dk, v: dv })
}

/// For each query of a batch range, the logarithm and the sum over its row of the gradient times the result.
fn sides_of(
    gpu: &Gpu,
    problem: &Problem<'_>,
    range: &Range<usize>,
    [gradient, out]: [&Tensor; 2],
    lse: &Tensor,
    sides: &Tensor,
) -> Result<(), OpError> {
    let Extents { queries, heads, head_dim, .. } = problem.extents;
    let mut launch = Launch::new(problem, range, 0, range.len() * queries * heads);
    launch.bind_heads(gradient, first::G);
    launch.bind_heads(out, first::Y);
    launch.bind(lse, 1, first::SIDE);
    launch.bind(sides, 2, first::SECOND);
    launch.run(gpu, &sides_kernel(problem.dtype(), head_dim), ROWS_OF_SIDES)
}

fn sides_kernel(dtype: DType, head_dim: usize) -> Kernel {
    let header = arrays_header(dtype, head_dim)
        .text(&read_array(head_dim, "g", 0))
        .text(&read_array(head_dim, "y", 1));
    Kernel::new("sdpa_backward", &header, include_str!("sides.wgsl"))
}
