//! The kernel of panels in registers.

use super::blocked::PANEL;
use crate::linalg::registers::{Limits, Registers, four_rows};
use steropes_tensor::{Kernel, KernelCache};

/// Columns of panels in registers.
const COLUMNS: [u32; 2] = [16, 8];

/// The panel for `height` rows, if they fit in registers.
pub(super) fn choose(limits: &Limits, height: usize) -> Option<Registers> {
    Registers::choose(limits, &COLUMNS, height, 1)
}

pub(super) fn kernel(form: Registers) -> Kernel {
    static KERNELS: KernelCache<Registers> = KernelCache::new();
    KERNELS.get(form, || {
        let meeting = if form.has_subgroups() {
            include_str!("../panel_registers_subgroup.wgsl")
        } else {
            include_str!("../panel_registers_plain.wgsl")
        };
        let header = form.header().text(&rows_text(form)).text(meeting).count("PANEL", PANEL as u32);
        Kernel::new("qr_panel", &header, include_str!("../panel_registers.wgsl"))
    })
}

/// What is done with the rows of an invocation, written out.
fn rows_text(form: Registers) -> String {
    let put = form.each_from_diagonal(
        |q| {
            format!(
                "    x = select(vec4<f32>(), (*rows)[{q}], {} > vec4<u32>(j));\n    \
                 column[at + {q}u] = x;\n    top = max(top, abs(x));\n",
                four_rows("row", q)
            )
        },
        |q| format!("    x = (*rows)[{q}];\n    column[at + {q}u] = x;\n    top = max(top, abs(x));\n"),
    );
    let products = form.each(|q| {
        format!(
            "    x = column[at + {q}u];\n    \
             sums += x * select((*rows)[{q}], x, vec4<bool>(own));\n"
        )
    });
    let reflect = form.each_from_diagonal(
        |q| {
            let rows = four_rows("row", q);
            format!(
                "    x = select(column[at + {q}u] * step.factor, vec4<f32>(step.top), {rows} == vec4<u32>(step.j));\n    \
                 (*rows)[{q}] = select((*rows)[{q}], vec4<f32>(), {rows} >= vec4<u32>(step.own)) - x;\n"
            )
        },
        |q| {
            format!(
                "    x = column[at + {q}u] * step.factor;\n    \
                 (*rows)[{q}] = select((*rows)[{q}], vec4<f32>(), vec4<bool>(step.own != NONE)) - x;\n"
            )
        },
    );
    format!(
        "fn put_column(rows: ptr<function, Rows>, at: u32, row: u32, j: u32) -> f32 {{\n    \
         var x: vec4<f32>;\n    var top = vec4<f32>();\n{put}    \
         return max(max(top.x, top.y), max(top.z, top.w));\n}}\n\
         fn products(rows: ptr<function, Rows>, at: u32, own: bool) -> f32 {{\n    \
         var x: vec4<f32>;\n    var sums = vec4<f32>();\n{products}    \
         return (sums.x + sums.y) + (sums.z + sums.w);\n}}\n\
         fn reflect(rows: ptr<function, Rows>, at: u32, row: u32, step: Step) {{\n    \
         var x: vec4<f32>;\n{reflect}}}\n"
    )
}
