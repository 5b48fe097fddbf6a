//! Choice of packs, and launches.

use super::{Rope3dTables, rope3d_axis_width};
use crate::elementwise::copy::copy;
use crate::error::OpError;
use crate::gpu::{
    Packs, bind, destination, destination_header, largest_binding, row_ranges, unsupported, window,
};
use std::ops::Range;
use steropes_tensor::{Binding, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: u32 = 256;

/// Heads of an invocation, which turn by the same sines and cosines.
const HEADS_EACH: usize = 2;

pub(super) fn rope3d(
    gpu: &Gpu,
    op: &'static str,
    x: Tensor,
    some: Range<usize>,
    tables: &Rope3dTables,
) -> Result<Tensor, OpError> {
    let turned = 3 * rope3d_axis_width(x.shape()[3]);
    if x.is_empty() || some.is_empty() || turned == 0 {
        return Ok(x);
    }
    let table = bind(&tables.cos);
    if table.bytes > largest_binding(gpu) as u64 {
        return Err(unsupported(op, gpu, format!("tables of {} bytes do not fit one binding", table.bytes)));
    }
    let form = Form::choose(&x, some, turned);
    // The kernel writes nothing else.
    let x = if form.is_whole() || x.is_unshared() { x } else { copy(&x)? };
    let (y, source) = destination(gpu, op, x)?;
    let kernel = form.kernel(source.is_some());
    let [batch, tokens, heads, head_dim] = *y.shape() else { unreachable!("the rank was checked") };
    let row_bytes = heads * head_dim * y.dtype().size_bytes();
    let rows = tables.cos.len() / head_dim;
    for range in row_ranges(op, gpu, batch * tokens, &[row_bytes])? {
        let to = window(&y, row_bytes, &range);
        let mut bindings: Vec<Binding<'_>> = vec![to.binding, bind(&tables.cos), bind(&tables.sin)];
        bindings.extend(source.iter().map(|x| window(x, row_bytes, &range).binding));
        let count = range.len() * form.invocations_per_token();
        let params = [count as u32, to.shift(form.packs.bytes()), (range.start % rows) as u32, rows as u32];
        gpu.launch(&kernel, &bindings, &params, spread(count.div_ceil(THREADS as usize) as u64))?;
    }
    Ok(y)
}

/// What the kernel is made for.
struct Form {
    packs: Packs,
    heads: usize,
    some: Range<usize>,
    head_dim: usize,
    /// Values of a head that turn.
    turned: usize,
}

impl Form {
    fn choose(x: &Tensor, some: Range<usize>, turned: usize) -> Self {
        let (heads, head_dim) = (x.shape()[2], x.shape()[3]);
        Self { packs: Packs::of_rows(x.dtype(), head_dim), heads, some, head_dim, turned }
    }

    /// Packs of a head that hold what turns; pairs of packs that are single elements.
    fn chunks(&self) -> usize {
        self.turned.div_ceil(self.packs.lanes.max(2))
    }

    /// Whether every element is written.
    fn is_whole(&self) -> bool {
        self.some.len() == self.heads && self.chunks() * self.packs.lanes.max(2) == self.head_dim
    }

    fn head_lanes(&self) -> usize {
        self.some.len().div_ceil(HEADS_EACH)
    }

    fn invocations_per_token(&self) -> usize {
        self.head_lanes() * self.chunks()
    }

    fn kernel(&self, has_source: bool) -> Kernel {
        let header = self
            .packs
            .header(Header::new())
            .count("THREADS", THREADS)
            .count("HEADS", self.heads as u32)
            .count("FIRST_HEAD", self.some.start as u32)
            .count("SOME_HEADS", self.some.len() as u32)
            .count("HEADS_EACH", HEADS_EACH.min(self.some.len()) as u32)
            .count("HEAD_LANES", self.head_lanes() as u32)
            .count("HEAD_PACKS", (self.head_dim / self.packs.lanes) as u32)
            .count("CHUNKS", self.chunks() as u32);
        let header = destination_header(header, has_source.then_some(3));
        let body =
            if self.packs.lanes > 1 { include_str!("packs.wgsl") } else { include_str!("elements.wgsl") };
        Kernel::new("rope3d", &header.text(include_str!("params.wgsl")), body)
    }
}
