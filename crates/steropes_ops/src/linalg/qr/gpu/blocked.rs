//! Large matrices: panels of columns, each reduced by one workgroup, and the columns behind updated by all (compact WY). Nothing waits
//! for the device. A panel stays in registers as far as its rows fit there, of half as many columns if that makes them fit; a higher one
//! stays in device memory.

use super::panel;
use super::parts::arrange;
use super::{COPY, Matrices, new};
use crate::error::OpError;
use crate::gpu::{bind, unsupported};
use crate::linalg::registers::{Limits, Registers};
use steropes_tensor::{Binding, Gpu, Header, Kernel, Tensor};

/// The most columns of a panel.
pub(super) const PANEL: usize = 16;

/// Invocations that share a panel in device memory.
const THREADS: usize = 256;

/// Reduced matrices.
pub(in crate::linalg::qr) struct Blocked {
    /// R above the diagonal, reflectors below it, as LAPACK stores them.
    pub(in crate::linalg::qr) a: Tensor,
    /// The factors of the reflectors.
    pub(super) tau: Tensor,
    /// The triangular factors of the panels.
    blocks: Tensor,
    panels: Vec<Panel>,
    matrices: Matrices,
    steps: usize,
}

/// Columns that are reduced together.
#[derive(Clone, Copy)]
struct Panel {
    first: usize,
    width: usize,
    /// How its workgroup holds it; in device memory if not.
    registers: Option<Registers>,
}

/// The panels of the first `steps` columns of `m` rows.
fn panels(m: usize, steps: usize, registers: impl Fn(usize) -> Option<Registers>) -> Vec<Panel> {
    let mut panels = Vec::new();
    let mut first = 0;
    while first < steps {
        let registers = registers(m - first);
        let width = registers.map_or(PANEL, |form| form.columns as usize).min(steps - first);
        panels.push(Panel { first, width, registers });
        first += width;
    }
    panels
}

/// The first `steps` columns of every matrix reduced.
pub(super) fn reduce(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    matrices: &Matrices,
    steps: usize,
) -> Result<Blocked, OpError> {
    reduce_within(&Limits::of(gpu.capabilities()), gpu, op, a, matrices, steps)
}

/// [`reduce`] by panels that fit `limits`, which must not be more than the device has.
pub(in crate::linalg::qr) fn reduce_within(
    limits: &Limits,
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    matrices: &Matrices,
    steps: usize,
) -> Result<Blocked, OpError> {
    let &Matrices { count, m, n } = matrices;
    let copy = new(gpu, op, count, m * n)?;
    let panels = panels(m, steps, |height| panel::choose(limits, height));
    let blocked = Blocked::of(gpu, op, [copy, new(gpu, op, count, steps)?], panels, matrices, steps)?;
    arrange(gpu, &blocked.a, [m, n], 0, &[a], COPY)?;
    let apply = Apply::new(gpu, op, &blocked, (&blocked.a, n), true)?;
    for (index, panel) in blocked.panels.iter().enumerate() {
        blocked.launch_panel(gpu, index, true)?;
        apply.launch(gpu, index, panel.first + panel.width)?;
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
    let panels = panels(matrices.m, steps, |_| None);
    let blocked = Blocked::of(gpu, op, [v.clone(), tau.clone()], panels, matrices, steps)?;
    for index in 0..blocked.panels.len() {
        blocked.launch_panel(gpu, index, false)?;
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
        [a, tau]: [Tensor; 2],
        panels: Vec<Panel>,
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
        let blocks = new(gpu, op, matrices.count, panels.len() * PANEL * PANEL)?;
        Ok(Self { a, tau, blocks, panels, matrices: *matrices, steps })
    }

    fn launch_panel(&self, gpu: &Gpu, index: usize, factor: bool) -> Result<(), OpError> {
        let Matrices { count, m, n } = self.matrices;
        let Panel { first, width, registers } = self.panels[index];
        let kernel = registers.map_or_else(|| panel_kernel(factor), panel::kernel);
        let params = [m, n, first, width, self.steps, index, self.panels.len()].map(|x| x as u32);
        let bindings = [bind(&self.a), bind(&self.tau), bind(&self.blocks)];
        Ok(gpu.launch(&kernel, &bindings, &params, [count as u32, 1, 1])?)
    }

    /// The first `columns` columns of Q.
    pub(in crate::linalg::qr) fn form(
        &self,
        gpu: &Gpu,
        op: &'static str,
        q: &Tensor,
        columns: usize,
    ) -> Result<(), OpError> {
        arrange(gpu, q, [self.matrices.m, columns], 0, &[], IDENTITY)?;
        let apply = Apply::new(gpu, op, self, (q, columns), false)?;
        for (index, panel) in self.panels.iter().enumerate().rev() {
            // Columns before these are still those of the identity, which are zero in these rows.
            apply.launch(gpu, index, panel.first)?;
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
    /// Rows that a workgroup adds up before its sums wait for those of others.
    split: usize,
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
        // Enough workgroups for few columns, and not many sums that every workgroup of the update adds up.
        let split = (m / 16).next_power_of_two().clamp(64, 256);
        let projected = new(gpu, op, count, m.div_ceil(split) * PANEL * columns)?;
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
            &header("read", 2).count("SPLIT", split as u32),
            include_str!("../project.wgsl"),
        );
        let update = Kernel::new(
            "qr_update",
            &header("read_write", 3).flag("TRANSPOSED", own),
            include_str!("../update.wgsl"),
        );
        Ok(Self { blocked, c, columns, own, split, projected, project, update })
    }

    /// Applies a panel to the columns from `start` on.
    fn launch(&self, gpu: &Gpu, panel: usize, start: usize) -> Result<(), OpError> {
        if start >= self.columns {
            return Ok(());
        }
        let Matrices { count, m, n } = self.blocked.matrices;
        let panels = &self.blocked.panels;
        let Panel { first, width, .. } = panels[panel];
        let splits = (m - first).div_ceil(self.split);
        let tiles = (self.columns - start).div_ceil(64) as u32;
        let params = [m, n, self.columns, first, width, start, splits].map(|x| x as u32);
        let mut bindings: Vec<Binding<'_>> = vec![bind(self.c), bind(&self.projected)];
        bindings.extend((!self.own).then(|| bind(&self.blocked.a)));
        gpu.launch(&self.project, &bindings, &params, [tiles, splits as u32, count as u32])?;
        let more = [panel, panels.len()].map(|x| x as u32);
        bindings.insert(2, bind(&self.blocked.blocks));
        let groups = [tiles, (m - first).div_ceil(64) as u32, count as u32];
        Ok(gpu.launch(&self.update, &bindings, &[&params[..], &more].concat(), groups)?)
    }
}
