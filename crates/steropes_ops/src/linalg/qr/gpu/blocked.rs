//! Large matrices: panels of columns, each reduced by one workgroup, and the columns behind updated by all (compact WY). Nothing waits
//! for the device.

use super::parts::arrange;
use super::{COPY, Matrices, new};
use crate::error::OpError;
use crate::gpu::{bind, unsupported};
use steropes_tensor::{Binding, Gpu, Header, Kernel, Tensor};

/// Columns of a panel.
const PANEL: usize = 16;

/// Invocations that share a panel.
const THREADS: usize = 256;

/// Rows that a workgroup adds up before its sums wait for those of others.
const SPLIT: usize = 256;

/// Reduced matrices.
pub(super) struct Blocked {
    /// R above the diagonal, reflectors below it, as LAPACK stores them.
    pub(super) a: Tensor,
    /// The factors of the reflectors.
    pub(super) tau: Tensor,
    /// The triangular factors of the panels.
    blocks: Tensor,
    matrices: Matrices,
    steps: usize,
}

/// The first `steps` columns of every matrix reduced.
pub(super) fn reduce(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    matrices: &Matrices,
    steps: usize,
) -> Result<Blocked, OpError> {
    let &Matrices { count, m, n } = matrices;
    let copy = new(gpu, op, count, m * n)?;
    let blocked = Blocked::of(gpu, op, copy, new(gpu, op, count, steps)?, matrices, steps)?;
    arrange(gpu, &blocked.a, [m, n], 0, &[a], COPY)?;
    let panel = panel_kernel(true);
    let apply = Apply::new(gpu, op, &blocked, (&blocked.a, n), true)?;
    for first in (0..steps).step_by(PANEL) {
        blocked.launch_panel(gpu, &panel, first)?;
        apply.launch(gpu, first, first + PANEL.min(steps - first))?;
    }
    Ok(blocked)
}

/// Reflectors that are there already.
pub(super) fn of_reflectors(
    gpu: &Gpu,
    op: &'static str,
    v: &Tensor,
    tau: &Tensor,
    matrices: &Matrices,
    steps: usize,
) -> Result<Blocked, OpError> {
    let blocked = Blocked::of(gpu, op, v.clone(), tau.clone(), matrices, steps)?;
    let panel = panel_kernel(false);
    for first in (0..steps).step_by(PANEL) {
        blocked.launch_panel(gpu, &panel, first)?;
    }
    Ok(blocked)
}

fn panel_kernel(factor: bool) -> Kernel {
    let arrays = if factor {
        "@group(0) @binding(0) var<storage, read_write> a: array<f32>;\n\
         @group(0) @binding(1) var<storage, read_write> tau: array<f32>;\n\
         fn store_a(i: u32, x: f32) { a[i] = x; }\n\
         fn store_tau(i: u32, x: f32) { tau[i] = x; }\n"
    } else {
        "@group(0) @binding(0) var<storage, read> a: array<f32>;\n\
         @group(0) @binding(1) var<storage, read> tau: array<f32>;\n\
         fn store_a(i: u32, x: f32) {}\n\
         fn store_tau(i: u32, x: f32) {}\n"
    };
    let header = Header::new()
        .count("THREADS", THREADS as u32)
        .count("PANEL", PANEL as u32)
        .flag("FACTOR", factor)
        .text(arrays);
    Kernel::new("qr_panel", &header, include_str!("../panel.wgsl"))
}

impl Blocked {
    fn of(
        gpu: &Gpu,
        op: &'static str,
        a: Tensor,
        tau: Tensor,
        matrices: &Matrices,
        steps: usize,
    ) -> Result<Self, OpError> {
        if matrices.count > 65535 {
            let why = format!(
                "{} matrices of {} x {}, more than 65535 of this size",
                matrices.count, matrices.m, matrices.n
            );
            return Err(unsupported(op, gpu, why));
        }
        let blocks = new(gpu, op, matrices.count, steps.div_ceil(PANEL) * PANEL * PANEL)?;
        Ok(Self { a, tau, blocks, matrices: *matrices, steps })
    }

    fn launch_panel(&self, gpu: &Gpu, kernel: &Kernel, first: usize) -> Result<(), OpError> {
        let Matrices { count, m, n } = self.matrices;
        let width = PANEL.min(self.steps - first);
        let panels = self.steps.div_ceil(PANEL);
        let params = [m, n, first, width, self.steps, first / PANEL, panels].map(|x| x as u32);
        let bindings = [bind(&self.a), bind(&self.tau), bind(&self.blocks)];
        Ok(gpu.launch(kernel, &bindings, &params, [count as u32, 1, 1])?)
    }

    /// The first `columns` columns of Q.
    pub(super) fn form(
        &self,
        gpu: &Gpu,
        op: &'static str,
        q: &Tensor,
        columns: usize,
    ) -> Result<(), OpError> {
        arrange(gpu, q, [self.matrices.m, columns], 0, &[], IDENTITY)?;
        let apply = Apply::new(gpu, op, self, (q, columns), false)?;
        for first in (0..self.steps).step_by(PANEL).rev() {
            // Columns before these are still those of the identity, which are zero in these rows.
            apply.launch(gpu, first, first)?;
        }
        Ok(())
    }
}

/// Ones on the diagonal.
const IDENTITY: &str =
    "fn value_at(matrix: u32, i: u32, j: u32) -> f32 { return select(0.0, 1.0, i == j); }\n";

/// The panels of reduced matrices applied to the columns of others, or to their own.
struct Apply<'a> {
    blocked: &'a Blocked,
    c: &'a Tensor,
    columns: usize,
    own: bool,
    projected: Tensor,
    project: Kernel,
    update: Kernel,
}

impl<'a> Apply<'a> {
    fn new(
        gpu: &Gpu,
        op: &'static str,
        blocked: &'a Blocked,
        (c, columns): (&'a Tensor, usize),
        own: bool,
    ) -> Result<Self, OpError> {
        let Matrices { count, m, .. } = blocked.matrices;
        let projected = new(gpu, op, count, m.div_ceil(SPLIT) * PANEL * columns)?;
        let header = |access: &str, binding: u32| {
            let (v, array) = if own {
                ("c", String::new())
            } else {
                (
                    "v_source",
                    format!("@group(0) @binding({binding}) var<storage, read> v_source: array<f32>;\n"),
                )
            };
            Header::new()
                .count("PANEL", PANEL as u32)
                .text(&format!("@group(0) @binding(0) var<storage, {access}> c: array<f32>;\n{array}"))
                .text(&format!(
                    "fn reflector_at(matrix: u32, row: u32, l: u32) -> f32 {{
    let column = params.first + l;
    if (l >= params.width || row < column || row >= params.m) {{
        return 0.0;
    }}
    if (row == column) {{
        return 1.0;
    }}
    return {v}[(matrix * params.m + row) * params.n + column];
}}
"
                ))
        };
        let project = Kernel::new(
            "qr_project",
            &header("read", 2).count("SPLIT", SPLIT as u32),
            include_str!("../project.wgsl"),
        );
        let update = Kernel::new(
            "qr_update",
            &header("read_write", 3).flag("TRANSPOSED", own),
            include_str!("../update.wgsl"),
        );
        Ok(Self { blocked, c, columns, own, projected, project, update })
    }

    /// Applies the panel from column `first` on to the columns from `start` on.
    fn launch(&self, gpu: &Gpu, first: usize, start: usize) -> Result<(), OpError> {
        if start >= self.columns {
            return Ok(());
        }
        let Matrices { count, m, n } = self.blocked.matrices;
        let steps = self.blocked.steps;
        let width = PANEL.min(steps - first);
        let splits = (m - first).div_ceil(SPLIT);
        let tiles = (self.columns - start).div_ceil(64) as u32;
        let params = [m, n, self.columns, first, width, start, splits].map(|x| x as u32);
        let mut bindings: Vec<Binding<'_>> = vec![bind(self.c), bind(&self.projected)];
        bindings.extend((!self.own).then(|| bind(&self.blocked.a)));
        gpu.launch(&self.project, &bindings, &params, [tiles, splits as u32, count as u32])?;
        let more = [first / PANEL, steps.div_ceil(PANEL)].map(|x| x as u32);
        bindings.insert(2, bind(&self.blocked.blocks));
        let groups = [tiles, (m - first).div_ceil(64) as u32, count as u32];
        Ok(gpu.launch(&self.update, &bindings, &[&params[..], &more].concat(), groups)?)
    }
}
