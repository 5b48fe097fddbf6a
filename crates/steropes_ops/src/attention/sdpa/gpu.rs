//! Pipeline choice and launches.

mod matrix;
mod plain;

pub(super) use matrix::Matrix;
pub(super) use plain::Plain;

use super::{Extents, OP};
use crate::error::OpError;
use crate::gpu::element_window;
use std::ops::Range;
use steropes_tensor::{Capabilities, DType, Gpu, Kernel, KernelCache, Tensor, spread};

/// Tiles of queries that keep all cores of a large GPU busy; below it smaller tiles are worth reading the keys more often.
const FULL_GPU: usize = 512;

/// Which kernel runs, and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Multiply-adds of single invocations.
    Plain(Plain),
    /// Matrices that a subgroup multiplies together.
    Matrix(Matrix),
}

impl Form {
    fn choose(gpu: &Capabilities, dtype: DType, e: &Extents) -> Option<Self> {
        let matrix = match gpu.matrix_tile(DType::F16) {
            Some(tile) if dtype == DType::F16 && gpu.f16 => Matrix::choose(gpu, tile, e),
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
        static KERNELS: KernelCache<String> = KernelCache::new();
        KERNELS.get(format!("{self:?} {dtype} {head_dim}"), || match self {
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

/// The arguments of the op, checked, all on one GPU and of one dtype.
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) q: &'a Tensor,
    pub(super) k: &'a Tensor,
    pub(super) v: &'a Tensor,
    pub(super) scale: f32,
    pub(super) extents: Extents,
}

pub(super) fn sdpa(gpu: &Gpu, arguments: Arguments<'_>) -> Result<Tensor, OpError> {
    let capabilities = gpu.capabilities();
    let Some(form) = Form::choose(capabilities, arguments.q.dtype(), &arguments.extents) else {
        let why = format!("{} bytes of workgroup memory are too few", capabilities.workgroup_bytes);
        return Err(OpError::Unsupported { op: OP, device: capabilities.name.clone(), why });
    };
    sdpa_as(gpu, form, arguments, capabilities.max_binding_bytes)
}

/// In the given form, with bindings of at most `max_binding_bytes`.
pub(super) fn sdpa_as(
    gpu: &Gpu,
    form: Form,
    arguments: Arguments<'_>,
    max_binding_bytes: u64,
) -> Result<Tensor, OpError> {
    let Arguments { q, k, v, scale, extents: e } = arguments;
    let out = Tensor::on_gpu(gpu, OP, q.dtype(), q.shape())?;
    if out.is_empty() {
        return Ok(out);
    }
    let kernel = form.kernel(q.dtype(), e.head_dim);
    let unit = form.values_in_element(e.head_dim);
    // The kernels' exponentials are powers of two.
    let factor = scale * std::f32::consts::LOG2_E;
    for part in parts(gpu, q.dtype(), &e, max_binding_bytes)? {
        let token = e.heads * e.head_dim;
        let first = (part.batch.start * e.queries + part.queries.start) * token;
        let count = ((part.batch.len() - 1) * e.queries + part.queries.len()) * token;
        let (q, first_query) = element_window(q, first, count);
        let (out, _) = element_window(&out, first, count);
        let (first, count) = (part.batch.start * e.keys * token, part.batch.len() * e.keys * token);
        let ((k, first_key), (v, _)) = (element_window(k, first, count), element_window(v, first, count));
        let tiles = part.queries.len().div_ceil(form.queries());
        let groups = part.batch.len() * e.heads * tiles;
        let counts = [part.queries.len(), e.keys, e.heads, first_query / unit, first_key / unit];
        let mut params = counts.map(|n| n as u32).to_vec();
        params.extend([factor.to_bits(), tiles as u32, groups as u32]);
        gpu.launch(&kernel, &[q, k, v, out], &params, spread(groups as u64))?;
    }
    Ok(out)
}

/// A share of the work whose arrays fit their bindings: all queries of some batch elements, or some queries of one.
struct Part {
    batch: Range<usize>,
    queries: Range<usize>,
}

fn parts(gpu: &Gpu, dtype: DType, e: &Extents, max_binding_bytes: u64) -> Result<Vec<Part>, OpError> {
    let token = (e.heads * e.head_dim * dtype.size_bytes()) as u64;
    let longest = e.queries.max(e.keys) as u64;
    if e.batch as u64 * longest * token <= max_binding_bytes {
        return Ok(vec![Part { batch: 0..e.batch, queries: 0..e.queries }]);
    }
    // A binding may begin up to an alignment before its first token.
    let room = max_binding_bytes.saturating_sub(Capabilities::BINDING_ALIGNMENT);
    if e.keys as u64 * token > room || token > room {
        let why =
            format!("the keys of a batch element take {} bytes, a binding {room}", e.keys as u64 * token);
        return Err(OpError::Unsupported { op: OP, device: gpu.capabilities().name.clone(), why });
    }
    let step = e.queries.min((room / token) as usize);
    let ranges = |batch| {
        (0..e.queries)
            .step_by(step)
            .map(move |first| Part { batch: batch..batch + 1, queries: first..(first + step).min(e.queries) })
    };
    Ok((0..e.batch).flat_map(ranges).collect())
}
