//! Pipeline choice and launches.

mod matrix;
mod plain;

pub(in crate::attention) use matrix::{Matrix, Task};
pub(super) use plain::Plain;

use super::{Arguments, Extents, Heads, OP};
use crate::error::OpError;
use crate::gpu::element_window;
use std::ops::Range;
use steropes_tensor::{Binding, Capabilities, DType, Gpu, Kernel, KernelCache, Tensor, spread};

/// Tiles of queries that keep all cores of a large GPU busy; below it smaller tiles are worth reading the keys more often.
const FULL_GPU: usize = 512;

/// Which kernel runs, and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    /// Multiply-adds of single invocations.
    Plain(Plain),
    /// Matrices that a subgroup multiplies together.
    Matrix(Matrix),
}

impl Form {
    fn choose(gpu: &Capabilities, dtype: DType, e: &Extents) -> Option<Self> {
        let matrix = match gpu.matrix_tile(DType::F16) {
            Some(tile) if dtype == DType::F16 && gpu.f16 => {
                Matrix::choose(gpu, tile, Task::Plain, [e.batch, e.heads, e.queries, e.head_dim])
            }
            _ => None,
        };
        matrix.map(Self::Matrix).or_else(|| Plain::choose(gpu, e).map(Self::Plain))
    }

    fn queries(self) -> usize {
        match self {
            Self::Plain(plain) => plain.queries(),
            Self::Matrix(matrix) => matrix.queries(),
        }
    }

    fn kernel(self, dtype: DType, head_dim: usize) -> Kernel {
        static KERNELS: KernelCache<(Form, DType, usize)> = KernelCache::new();
        KERNELS.get((self, dtype, head_dim), || match self {
            Self::Plain(plain) => plain.kernel(dtype, head_dim),
            Self::Matrix(matrix) => matrix.kernel(head_dim),
        })
    }

    /// Values in an element of the arrays that the kernel sees.
    fn values_in_element(self, head_dim: usize) -> usize {
        match self {
            Self::Matrix(_) => 8,
            Self::Plain(_) if head_dim.is_multiple_of(4) => 4,
            Self::Plain(_) => 1,
        }
    }
}

pub(super) fn sdpa(gpu: &Gpu, arguments: &Arguments<'_>, extents: Extents) -> Result<Tensor, OpError> {
    let capabilities = gpu.capabilities();
    let Some(form) = Form::choose(capabilities, arguments.q.tensor.dtype(), &extents) else {
        let why = format!("{} bytes of workgroup memory are too few", capabilities.workgroup_bytes);
        return Err(OpError::Unsupported { op: OP, device: capabilities.name.clone(), why });
    };
    sdpa_as(gpu, form, arguments, extents, capabilities.max_binding_bytes)
}

/// In the given form, with bindings of at most `max_binding_bytes`.
pub(super) fn sdpa_as(
    gpu: &Gpu,
    form: Form,
    Arguments { q, k, v, scale }: &Arguments<'_>,
    e: Extents,
    max_binding_bytes: u64,
) -> Result<Tensor, OpError> {
    let dtype = q.tensor.dtype();
    let out = Tensor::on_gpu(gpu, OP, dtype, &[e.batch, e.queries, e.heads, e.head_dim])?;
    if out.is_empty() {
        return Ok(out);
    }
    let kernel = form.kernel(dtype, e.head_dim);
    let unit = form.values_in_element(e.head_dim);
    // The kernels' exponentials are powers of two.
    let factor = scale * std::f32::consts::LOG2_E;
    let result = Heads::from(&out);
    let longest = [(&result, e.queries), (q, e.queries), (k, e.keys), (v, e.keys)]
        .map(|(heads, tokens)| Length { tokens, token_bytes: heads.token() * dtype.size_bytes() });
    for part in parts(gpu, &e, longest, max_binding_bytes)? {
        let (queries, keys) = (&part.queries, 0..e.keys);
        let [
            (q_binding, first_query),
            (k_binding, first_key),
            (v_binding, first_value),
            (out_binding, first_result),
        ] = [(q, e.queries, queries), (k, e.keys, &keys), (v, e.keys, &keys), (&result, e.queries, queries)]
            .map(|(heads, tokens, some)| part.window(heads, tokens, some));
        let tiles = part.queries.len().div_ceil(form.queries());
        let groups = part.batch.len() * e.heads * tiles;
        let counts = [
            part.queries.len(),
            e.keys,
            e.heads,
            q.all(),
            k.all(),
            v.all(),
            first_query / unit,
            first_key / unit,
            first_value / unit,
            first_result / unit,
            tiles,
            groups,
        ];
        let mut params = counts.map(|n| n as u32).to_vec();
        params.push(factor.to_bits());
        let bindings = [q_binding, k_binding, v_binding, out_binding];
        gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?;
    }
    Ok(out)
}

/// A share of the work whose arrays fit their bindings: all queries of some batch elements, or some queries of one.
struct Part {
    batch: Range<usize>,
    queries: Range<usize>,
}

impl Part {
    /// The tokens `some`, of `tokens`, of these batch elements, and the elements of the binding before the first of the heads.
    fn window<'a>(&self, heads: &Heads<'a>, tokens: usize, some: &Range<usize>) -> (Binding<'a>, usize) {
        let first = (self.batch.start * tokens + some.start) * heads.token();
        let count = ((self.batch.len() - 1) * tokens + some.len()) * heads.token();
        let (binding, before) = element_window(heads.tensor, first, count);
        (binding, before + heads.before())
    }
}

/// Tokens of a batch element in one of the tensors.
struct Length {
    tokens: usize,
    token_bytes: usize,
}

/// `lengths`: of the result, the queries, the keys and the values.
fn parts(gpu: &Gpu, e: &Extents, lengths: [Length; 4], max_binding_bytes: u64) -> Result<Vec<Part>, OpError> {
    let bytes = |length: &Length| (length.tokens * length.token_bytes) as u64;
    if lengths.iter().all(|length| e.batch as u64 * bytes(length) <= max_binding_bytes) {
        return Ok(vec![Part { batch: 0..e.batch, queries: 0..e.queries }]);
    }
    // A binding may begin up to an alignment before its first token.
    let room = max_binding_bytes.saturating_sub(Capabilities::BINDING_ALIGNMENT);
    let [result, queries, keys, values] = &lengths;
    let key_bytes = bytes(keys).max(bytes(values));
    let query_bytes = result.token_bytes.max(queries.token_bytes) as u64;
    if key_bytes > room || query_bytes > room {
        let why = format!("the keys of a batch element take {key_bytes} bytes, a binding {room}");
        return Err(OpError::Unsupported { op: OP, device: gpu.capabilities().name.clone(), why });
    }
    let step = e.queries.min((room / query_bytes) as usize);
    let ranges = |batch| {
        (0..e.queries)
            .step_by(step)
            .map(move |first| Part { batch: batch..batch + 1, queries: first..(first + step).min(e.queries) })
    };
    Ok((0..e.batch).flat_map(ranges).collect())
}
