//! Choice of the form by the extents; launches.

use super::System;
use crate::error::OpError;
use crate::gpu::bind;
use crate::linalg::dense::gpu::{Matrices, Side, Writes, check_lengths, copied, expanded, product, reader};
use crate::linalg::dense::{Triangle, View};
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

/// Equations of a block, whose triangle is in workgroup memory: 16 KB.
const BLOCK: usize = 64;

/// Equations and right sides up to which an invocation reads the triangle where it is.
const FEW: [usize; 2] = [16, 15];

/// Right sides of a workgroup, one for each invocation.
const THREADS: usize = 64;

/// Right sides of a workgroup that has an invocation for each row of each of them.
const SIDES: usize = 4;

/// Right sides in all up to which each row has an invocation: as many as keep a large GPU busy.
const FEW_SIDES: usize = 4096;

/// Solves the systems of all `triangles` of `a`, one after another.
pub(crate) fn solve_all(
    op: &'static str,
    gpu: &Gpu,
    a: &Tensor,
    b: &Tensor,
    system: &System,
    triangles: &[Triangle],
) -> Result<Tensor, OpError> {
    let (n, k, count) = (system.n, system.k, system.both.count());
    check_lengths(op, gpu, &[a.len(), b.len(), count * n * k])?;
    let x = copied(op, gpu, b, n * k, (&system.both, Side::B), &system.shape())?;
    if x.is_empty() {
        return Ok(x);
    }
    let a = expanded(op, gpu, a, n * n, (&system.both, Side::A))?;
    let view = if system.left { View::of_columns(k) } else { View::of_columns(n).transposed() };
    for triangle in triangles {
        let right = Matrices { tensor: &x, view, step: n * k };
        solve(gpu, *triangle, Matrices::of(&a, [n, n]), right, count, [n, k])?;
    }
    Ok(x)
}

/// Solves triangular systems of extents `[n, k]` in place.
pub(crate) fn solve(
    gpu: &Gpu,
    triangle: Triangle,
    a: Matrices<'_>,
    b: Matrices<'_>,
    count: usize,
    [n, k]: [usize; 2],
) -> Result<(), OpError> {
    let (of_a, of_b) = triangle.as_lower(n, a.view, b.view);
    let lower = Triangle { upper: false, transposed: false, unit: triangle.unit };
    for first in (0..n).step_by(BLOCK) {
        let width = BLOCK.min(n - first);
        let solved = b.seen(of_b.from(first, 0));
        solve_block(gpu, lower, a.seen(of_a.from(first, first)), solved, count, [width, k])?;
        let next = first + width;
        if next < n {
            let factors = (a.seen(of_a.from(next, first)), solved);
            let rest = b.seen(of_b.from(next, 0));
            product(gpu, rest, factors, Writes::MINUS, count, [n - next, k, width])?;
        }
    }
    Ok(())
}

/// [`solve`] for at most 64 equations.
pub(crate) fn solve_block(
    gpu: &Gpu,
    triangle: Triangle,
    a: Matrices<'_>,
    b: Matrices<'_>,
    count: usize,
    [n, k]: [usize; 2],
) -> Result<(), OpError> {
    let (of_a, of_b) = triangle.as_lower(n, a.view, b.view);
    let (a, b) = (a.seen(of_a), b.seen(of_b));
    let few = n <= FEW[0] && k <= FEW[1];
    let by_rows = n > FEW[0] && count * k <= FEW_SIDES;
    let each = if by_rows { SIDES } else { THREADS };
    let (across, groups) =
        if few { (k, (count * k).div_ceil(THREADS)) } else { (k.div_ceil(each), count * k.div_ceil(each)) };
    let mut bindings = vec![bind(b.tensor)];
    let reader = reader("a", &mut bindings, b.tensor, a.tensor, "b");
    let header = Header::new().flag("UNIT", triangle.unit).text(&reader);
    let kernel = if by_rows {
        let header = header.count("SIDES", SIDES as u32);
        Kernel::new("solve_triangular", &header, include_str!("solve_sides.wgsl"))
    } else {
        let header = header.count("SIZE", n.next_multiple_of(4) as u32).count("THREADS", THREADS as u32);
        let body = if few { include_str!("solve_few.wgsl") } else { include_str!("solve_many.wgsl") };
        Kernel::new("solve_triangular", &header, &format!("{}{body}", include_str!("solve_lower.wgsl")))
    };
    let mut params = [groups, count, across, n, k].map(|x| x as u32).to_vec();
    params.extend([a, b].into_iter().flat_map(Matrices::words));
    Ok(gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?)
}
