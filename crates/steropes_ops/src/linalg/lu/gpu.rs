//! Choice of the form by the size of the matrices; launches.

use super::Right;
use super::cpu::triangles;
use super::panel;
use crate::error::OpError;
use crate::gpu::bind;
use crate::linalg::dense::gpu::{
    F32, Matrices, Side, Writes, check_lengths, copied, expanded, groups_of, over_elements, product,
};
use crate::linalg::dense::{Triangle, View};
use crate::linalg::registers::Limits;
use crate::linalg::solve_triangular::System;
use crate::linalg::solve_triangular::gpu::{solve as solve_triangle, solve_block};
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Rows and columns of the largest matrices that one invocation factors.
const PRIVATE: usize = 8;

/// Elements of the largest matrices that one workgroup factors in its memory of 16 KB.
const BLOCK: usize = 4096;

/// Columns of a panel of a larger one that stays in device memory.
const PANEL: usize = 32;

/// Columns of a workgroup that exchanges rows in its memory.
const PART_COLUMNS: usize = 32;

/// Exchanges from which on rows pass through workgroup memory.
const MANY_STEPS: usize = 8;

/// Workgroups up to which they do: with more, invocations with a column each are enough to hide that they wait.
const FEW_GROUPS: usize = 4096;

pub(super) fn factor(
    op: &'static str,
    gpu: &Gpu,
    a: &Tensor,
    stack: &Stack,
) -> Result<(Tensor, Tensor, Tensor), OpError> {
    let (m, n, count) = (stack.rows, stack.columns, stack.count());
    check_lengths(op, gpu, &[a.len(), count])?;
    let pivots = Tensor::on_gpu(gpu, op, DType::I32, &stack.with(&[m.min(n)]))?;
    let info = Tensor::on_gpu(gpu, op, DType::I32, &stack.batch)?;
    if m * n == 0 && count > 0 {
        gpu.fill(info.gpu_memory().expect("it is on a GPU"), 0)?;
    }
    if a.is_empty() || m * n > BLOCK {
        let plain = crate::linalg::stack::Broadcast::of(op, "a", &stack.batch, &stack.batch)?;
        let factors = copied(op, gpu, a, m * n, (&plain, Side::A), a.shape())?;
        if !a.is_empty() {
            panels(&Limits::of(gpu.capabilities()), gpu, &factors, [&pivots, &info], count, [m, n])?;
        }
        return Ok((factors, pivots, info));
    }
    let factors = Tensor::on_gpu(gpu, op, F32, a.shape())?;
    let header = Header::new().count("M", m as u32).count("N", n as u32).count("STEPS", m.min(n) as u32);
    let bindings = [bind(a), bind(&factors), bind(&pivots), bind(&info)];
    if m.max(n) <= PRIVATE {
        let kernel = over_elements("lu_factor", header, include_str!("lu_private.wgsl"));
        gpu.launch(&kernel, &bindings, &[count as u32], groups_of(count))?;
    } else {
        let kernel = Kernel::new("lu_factor", &header, include_str!("lu_block.wgsl"));
        gpu.launch(&kernel, &bindings, &[count as u32], spread(count as u64))?;
    }
    Ok((factors, pivots, info))
}

/// Panels of columns from left to right: the factors of the panel, its exchanges in the columns beside it, the rows of `U` right of
/// it, and what is below those. A panel stays in registers if its rows fit `limits`, which must not be more than the device has.
pub(super) fn panels(
    limits: &Limits,
    gpu: &Gpu,
    factors: &Tensor,
    [pivots, info]: [&Tensor; 2],
    count: usize,
    [m, n]: [usize; 2],
) -> Result<(), OpError> {
    let steps = m.min(n);
    let in_memory = Kernel::new("lu_factor", &Header::new(), include_str!("lu_panel.wgsl"));
    let whole = Matrices { tensor: factors, view: View::of_columns(n), step: m * n };
    let part = |i, j| whole.seen(whole.view.from(i, j));
    let mut first = 0;
    while first < steps {
        let form = panel::choose(limits, m - first);
        let width = form.map_or(PANEL, |form| form.columns as usize).min(steps - first);
        let kernel = form.map_or_else(|| in_memory.clone(), panel::kernel);
        let params = [count, m, n, steps, first, width].map(|x| x as u32);
        gpu.launch(&kernel, &[bind(factors), bind(pivots), bind(info)], &params, spread(count as u64))?;
        let rows = Rows { pivots, steps: [first, width], of: [steps, count], backwards: false };
        rows.exchange(gpu, whole, [m, n], [first, width])?;
        let next = first + width;
        if next < n {
            let right = part(first, next);
            let unit = Triangle { upper: false, transposed: false, unit: true };
            solve_block(gpu, unit, part(first, first), right, count, [width, n - next])?;
            if next < m {
                let extents = [m - next, n - next, width];
                product(gpu, part(next, next), (part(next, first), right), Writes::MINUS, count, extents)?;
            }
        }
        first = next;
    }
    Ok(())
}

/// Exchanges of rows.
struct Rows<'a> {
    pivots: &'a Tensor,
    /// The first step and their number.
    steps: [usize; 2],
    /// Steps of a matrix, and matrices.
    of: [usize; 2],
    backwards: bool,
}

impl Rows<'_> {
    /// Exchanges rows in the columns of each matrix, but not in `skipped[1]` of them from `skipped[0]` on.
    fn exchange(
        &self,
        gpu: &Gpu,
        matrices: Matrices<'_>,
        [rows, columns]: [usize; 2],
        skipped: [usize; 2],
    ) -> Result<(), OpError> {
        let header = Header::new().flag("BACKWARDS", self.backwards);
        let [all, count] = self.of;
        // One set of pivots may serve all matrices.
        let step = if self.pivots.len() == all { 0 } else { all };
        let each = columns - skipped[1];
        let numbers = [count * each, each, self.steps[0], self.steps[1], step, skipped[0], skipped[1], rows];
        let mut params = numbers.map(|x| x as u32).to_vec();
        params.extend(matrices.words());
        let bindings = [bind(matrices.tensor), bind(self.pivots)];
        let groups = count * each.div_ceil(PART_COLUMNS);
        if self.steps[1] >= MANY_STEPS && groups <= FEW_GROUPS {
            let kernel = Kernel::new("rows_exchanged", &header, include_str!("exchange_parts.wgsl"));
            params.push(groups as u32);
            return Ok(gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?);
        }
        let kernel = over_elements("rows_exchanged", header, include_str!("exchange.wgsl"));
        Ok(gpu.launch(&kernel, &bindings, &params, groups_of(count * each))?)
    }
}

/// `P`, `L` and `U`.
pub(super) fn parts(
    op: &'static str,
    gpu: &Gpu,
    factors: &Tensor,
    pivots: &Tensor,
    stack: &Stack,
    shapes: &[Vec<usize>; 3],
) -> Result<Vec<Tensor>, OpError> {
    let (m, n, count) = (stack.rows, stack.columns, stack.count());
    check_lengths(op, gpu, &[count * m * m])?;
    let parts: Vec<Tensor> =
        shapes.iter().map(|shape| Tensor::on_gpu(gpu, op, F32, shape)).collect::<Result<_, _>>()?;
    let order = Tensor::on_gpu(gpu, op, DType::U32, &[count, m])?;
    if order.is_empty() {
        return Ok(parts);
    }
    let extents = || Header::new().count("M", m as u32).count("N", n as u32).count("STEPS", m.min(n) as u32);
    let kernel = over_elements("lu_order", extents(), include_str!("order.wgsl"));
    gpu.launch(&kernel, &[bind(&order), bind(pivots)], &[count as u32], groups_of(count))?;
    let kernel = over_elements("lu_permutation", extents(), include_str!("permutation.wgsl"));
    let elements = count * m * m;
    gpu.launch(&kernel, &[bind(&order), bind(&parts[0])], &[elements as u32], groups_of(elements))?;
    for (name, body, part) in [
        ("lu_lower", include_str!("lower.wgsl"), &parts[1]),
        ("lu_upper", include_str!("upper.wgsl"), &parts[2]),
    ] {
        let kernel = over_elements(name, extents(), body);
        gpu.launch(&kernel, &[bind(factors), bind(part)], &[part.len() as u32], groups_of(part.len()))?;
    }
    Ok(parts)
}

/// Solves with factors and pivots.
pub(super) fn solve(
    op: &'static str,
    gpu: &Gpu,
    [lu, pivots]: [&Tensor; 2],
    b: Right<'_>,
    system: &System,
    transposed: bool,
) -> Result<Tensor, OpError> {
    let (n, k, count) = (system.n, system.k, system.both.count());
    check_lengths(op, gpu, &[lu.len(), count * n * k])?;
    let x = match b {
        Right::Of(b) => {
            check_lengths(op, gpu, &[b.len()])?;
            copied(op, gpu, b, n * k, (&system.both, Side::B), &system.shape())?
        }
        Right::Identity => identity(op, gpu, system)?,
    };
    if x.is_empty() {
        return Ok(x);
    }
    let lu = expanded(op, gpu, lu, n * n, (&system.both, Side::A))?;
    let pivots = expanded(op, gpu, pivots, n, (&system.both, Side::A))?;
    let view = if system.left { View::of_columns(k) } else { View::of_columns(n).transposed() };
    let right = Matrices { tensor: &x, view, step: n * k };
    let rows = Rows { pivots: &pivots, steps: [0, n], of: [n, count], backwards: transposed };
    if !transposed {
        rows.exchange(gpu, right, [n, k], [k, 0])?;
    }
    for triangle in triangles(transposed) {
        solve_triangle(gpu, triangle, Matrices::of(&lu, [n, n]), right, count, [n, k])?;
    }
    if transposed {
        rows.exchange(gpu, right, [n, k], [k, 0])?;
    }
    Ok(x)
}

fn identity(op: &'static str, gpu: &Gpu, system: &System) -> Result<Tensor, OpError> {
    let x = Tensor::on_gpu(gpu, op, F32, &system.shape())?;
    if !x.is_empty() {
        let kernel = over_elements("identity", Header::new(), include_str!("identity.wgsl"));
        gpu.launch(&kernel, &[bind(&x)], &[x.len() as u32, system.n as u32], groups_of(x.len()))?;
    }
    Ok(x)
}
