//! Pipeline choice and launches.

use super::{Form, View};
use crate::error::OpError;
use crate::gpu::{Packs, Rows, row_ranges, window};
use steropes_tensor::{Capabilities, DType, Gpu, Header, Kernel, Tensor, spread};

/// Quads that an invocation keeps in registers; what is longer is read twice.
const MOST_QUADS: usize = 16;

/// Packs that an invocation loads at once along an axis that is read twice.
const BLOCK: usize = 4;

/// Invocations of a workgroup of columns.
const COLUMN_THREADS: usize = 256;

/// Columns of packs of a workgroup: as many as a cache line has room for several times over.
const MOST_COLUMNS: usize = 32;

/// How the axis is shared among invocations.
#[derive(Clone, Copy)]
enum Shares {
    /// The axis is the last.
    Row(Rows),
    /// It is not: columns of packs and invocations for each.
    Columns { columns: usize, slots: usize },
}

#[derive(Clone, Copy)]
struct Plan {
    packs: Packs,
    shares: Shares,
    /// Packs along the axis.
    len: usize,
    /// Packs from one to the next.
    stride: usize,
}

impl Plan {
    fn choose(gpu: &Capabilities, dtype: DType, view: View) -> Self {
        if view.inner == 1 {
            let packs = Packs::of_rows(dtype, view.len);
            let len = view.len / packs.lanes;
            return Self { packs, shares: Shares::Row(Rows::choose(gpu, len)), len, stride: 1 };
        }
        let packs = Packs::of_rows(dtype, view.inner);
        let stride = view.inner / packs.lanes;
        let most = COLUMN_THREADS.min(1 << gpu.workgroup_threads.ilog2());
        let wanted = view.len.div_ceil(BLOCK).next_power_of_two();
        let columns = stride.next_power_of_two().min(MOST_COLUMNS.max(most / wanted.min(most)));
        let slots = wanted.min(most / columns);
        Self { packs, shares: Shares::Columns { columns, slots }, len: view.len, stride }
    }

    fn slots(self) -> usize {
        match self.shares {
            Shares::Row(rows) => rows.threads as usize,
            Shares::Columns { slots, .. } => slots,
        }
    }

    fn groups(self, items: usize) -> [u32; 3] {
        spread(match self.shares {
            Shares::Row(rows) => items.div_ceil(rows.rows as usize),
            Shares::Columns { columns, .. } => items * self.stride.div_ceil(columns),
        } as u64)
    }

    fn per_thread(self) -> usize {
        self.len.div_ceil(self.slots())
    }

    /// Whether `arrays` arrays of what an invocation takes fit registers.
    fn fits(self, arrays: usize) -> bool {
        self.per_thread() * self.packs.lanes.div_ceil(4) * arrays <= MOST_QUADS
    }

    fn header(self, form: Form) -> Header {
        let header = self
            .packs
            .header(Header::new())
            .count("SLOTS", self.slots() as u32)
            .count("LEN", self.len as u32)
            .count("STRIDE", self.stride as u32)
            .count("PER_THREAD", self.per_thread() as u32)
            .count("BLOCK", BLOCK as u32)
            .flag("FULL", self.len == self.per_thread() * self.slots())
            .flag("LOG", form == Form::Log)
            .text(include_str!("scale.wgsl"));
        match self.shares {
            Shares::Row(rows) => {
                let header = header.count("THREADS", rows.threads * rows.rows);
                rows.header(header).text(include_str!("row.wgsl"))
            }
            Shares::Columns { columns, slots } => header
                .count("THREADS", (columns * slots) as u32)
                .count("COLUMNS", columns as u32)
                .text(include_str!("columns.wgsl")),
        }
    }
}

pub(super) fn softmax(
    gpu: &Gpu,
    op: &'static str,
    form: Form,
    x: &Tensor,
    view: View,
) -> Result<Tensor, OpError> {
    let plan = Plan::choose(gpu.capabilities(), x.dtype(), view);
    let body = if plan.fits(1) { include_str!("softmax.wgsl") } else { include_str!("softmax_long.wgsl") };
    let kernel = Kernel::new("softmax", &plan.header(form), body);
    let y = Tensor::on_gpu(gpu, op, x.dtype(), x.shape())?;
    let bytes = view.len * view.inner * x.dtype().size_bytes();
    for range in row_ranges(op, gpu, view.outer, &[bytes])? {
        let [from, to] = [x, &y].map(|tensor| window(tensor, bytes, &range));
        let params = [range.len() as u32, from.shift(plan.packs.bytes()), f32::NAN.to_bits()];
        gpu.launch(&kernel, &[from.binding, to.binding], &params, plan.groups(range.len()))?;
    }
    Ok(y)
}

pub(super) fn backward(
    gpu: &Gpu,
    op: &'static str,
    form: Form,
    y: &Tensor,
    grad: &Tensor,
    view: View,
) -> Result<Tensor, OpError> {
    let plan = Plan::choose(gpu.capabilities(), y.dtype(), view);
    let body = if plan.fits(2) {
        include_str!("softmax_backward.wgsl")
    } else {
        include_str!("softmax_backward_long.wgsl")
    };
    let formula = match form {
        Form::Plain => {
            "fn term(y: Quad, grad: Quad) -> Quad { return y * grad; }\n\
             fn slope(y: Quad, grad: Quad, sum: Quad) -> Quad { return y * (grad - sum); }\n"
        }
        Form::Log => {
            "fn term(y: Quad, grad: Quad) -> Quad { return grad; }\n\
             fn slope(y: Quad, grad: Quad, sum: Quad) -> Quad { return grad - exp(y) * sum; }\n"
        }
    };
    let kernel = Kernel::new("softmax", &plan.header(form).text(formula), body);
    let grad_x = Tensor::on_gpu(gpu, op, y.dtype(), y.shape())?;
    let bytes = view.len * view.inner * y.dtype().size_bytes();
    for range in row_ranges(op, gpu, view.outer, &[bytes])? {
        let [values, grads, to] = [y, grad, &grad_x].map(|tensor| window(tensor, bytes, &range));
        let params = [range.len() as u32, values.shift(plan.packs.bytes())];
        let bindings = [values.binding, grads.binding, to.binding];
        gpu.launch(&kernel, &bindings, &params, plan.groups(range.len()))?;
    }
    Ok(grad_x)
}
