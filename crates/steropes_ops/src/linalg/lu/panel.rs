//! The kernel of panels in registers.

use crate::linalg::registers::{Limits, Registers, four_rows};
use steropes_tensor::{Kernel, KernelCache};

/// Columns of panels in registers.
const COLUMNS: [u32; 3] = [32, 16, 8];

/// The panel for `height` rows, if they fit in registers.
pub(super) fn choose(limits: &Limits, height: usize) -> Option<Registers> {
    Registers::choose(limits, &COLUMNS, height, 2)
}

pub(super) fn kernel(form: Registers) -> Kernel {
    static KERNELS: KernelCache<Registers> = KernelCache::new();
    KERNELS.get(form, || {
        let header = form.header().text(&rows_text(form));
        Kernel::new("lu_factor", &header, include_str!("lu_panel_registers.wgsl"))
    })
}

/// What is done with the rows of an invocation, written out.
fn rows_text(form: Registers) -> String {
    let put = form.each(|q| format!("    column[at + {q}u] = (*rows)[{q}];\n"));
    let row = form.each(|q| {
        let parts = ["x", "y", "z", "w"].iter().zip(4 * q..);
        parts
            .map(|(part, i)| format!("    value = select(value, (*rows)[{q}].{part}, index == {i}u);\n"))
            .collect()
    });
    let set = form.each(|q| {
        format!(
            "    (*rows)[{q}] = select((*rows)[{q}], vec4<f32>(value), vec4<u32>(index) == {});\n",
            four_rows("0u", q)
        )
    });
    let next = |q| format!("select((*rows)[{q}], vec4<f32>(), vec4<bool>(own)) - factors[at + {q}u] * upper");
    let eliminate = form.each_from_diagonal(
        |q| {
            let below = format!("{} > vec4<u32>(k)", four_rows("row", q));
            format!("    (*rows)[{q}] = select((*rows)[{q}], {}, {below});\n", next(q))
        },
        |q| format!("    (*rows)[{q}] = {};\n", next(q)),
    );
    format!(
        "fn put_column(rows: ptr<function, Rows>, at: u32) {{\n{put}}}\n\
         fn row_at(rows: ptr<function, Rows>, index: u32) -> f32 {{\n    var value = 0.0;\n{row}    return value;\n}}\n\
         fn set_row(rows: ptr<function, Rows>, index: u32, value: f32) {{\n{set}}}\n\
         fn eliminate(rows: ptr<function, Rows>, at: u32, row: u32, k: u32, own: bool, upper: f32) {{\n{eliminate}}}\n"
    )
}
