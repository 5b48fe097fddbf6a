//! Products of few rows with weights in small integers, which take as long as reading the weights.

use super::integers::Held;
use super::pack::PANEL;
use super::plan::{PlainTile, Plan};
use super::unrolled::repeat;
use super::{Form, Product, Slice, Source, Target};
use crate::error::OpError;
use crate::gpu::{bind, element_window};
use steropes_tensor::{DType, Gpu, Header, Kernel, KernelCache, Tensor, spread};

/// The most rows of this form: their sums stay in registers.
const MOST_ROWS: usize = 8;
/// Invocations of a workgroup.
const THREADS: u32 = 256;
/// Lines of the depth that an invocation takes at once.
const LINES: usize = 32;
/// Workgroups that keep a large GPU busy.
const ENOUGH_GROUPS: usize = 264;

/// What the text of the kernels depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FewRows {
    form: Form,
    rows: u32,
    /// Workgroups that share the depth of a panel.
    parts: u32,
}

impl Product<'_> {
    /// Whether [`Product::launch_few_rows`] takes the product, with bindings of at most `max_bytes` bytes.
    pub(super) fn is_of_few_rows(&self, max_bytes: u64, y: &Tensor) -> bool {
        let rows = y.len() / self.weights.outputs().max(1);
        let longest = bind(self.source.x()).bytes.max(bind(y).bytes);
        longest <= max_bytes
            && matches!(self.source, Source::Rows(_))
            && self.target == Target::Rows
            && self.weights.held != Held::Values
            && (1..=MOST_ROWS).contains(&rows)
    }

    /// Fills `y`, with bindings of at most `max_bytes` bytes.
    pub(crate) fn launch_few_rows(&self, gpu: &Gpu, max_bytes: u64, y: &Tensor) -> Result<(), OpError> {
        static KERNELS: KernelCache<(FewRows, bool)> = KernelCache::new();
        let (rows, x) = (y.len() / self.weights.outputs(), self.source.x());
        let slice = Slice { rows: 0..rows, x: 0..x.len(), lines: [0, 0] };
        // The tile says only that numbers become f32.
        let form = self.form(Plan::Plain(PlainTile::FLAT), y);
        for some in self.column_ranges(gpu, max_bytes)? {
            let panels = some.len().div_ceil(PANEL);
            let few = FewRows {
                form,
                rows: rows as u32,
                parts: parts(self.weights.held, panels, self.weights.padded),
            };
            let (x, x_shift) = element_window(x, 0, x.len());
            let (results, y_shift) = self.results(&slice, y);
            let params = self.params(&slice, &some, [x_shift, y_shift]);
            let groups = spread(panels as u64 * u64::from(few.parts));
            let operands = vec![x, self.weights.columns(&some)];
            let kernel = KERNELS.get((few, false), || few.kernel());
            if few.parts == 1 {
                gpu.launch(&kernel, &[operands, results].concat(), &params, groups)?;
                continue;
            }
            let shape = [few.parts as usize, rows, panels * PANEL];
            let sums = Tensor::on_gpu(gpu, self.op, DType::F32, &shape)?;
            gpu.launch(&kernel, &[operands, vec![bind(&sums)]].concat(), &params, groups)?;
            let kernel = KERNELS.get((few, true), || few.kernel_of_sums());
            let groups = spread((rows * panels * PANEL / 4).div_ceil(64) as u64);
            gpu.launch(&kernel, &[vec![bind(&sums)], results].concat(), &params, groups)?;
        }
        Ok(())
    }
}

/// Workgroups for each panel: by the extents alone, so that every device adds in one order.
fn parts(held: Held, panels: usize, padded: usize) -> u32 {
    let slices = THREADS as usize / across(held);
    (ENOUGH_GROUPS / panels.max(1)).min(padded / LINES / slices).max(1) as u32
}

/// Vectors of four columns in a word of numbers.
fn quads(held: Held) -> u32 {
    8 / held.bits() as u32
}

/// Invocations side by side over a panel, each with a word of every line.
fn across(held: Held) -> usize {
    PANEL / (4 * quads(held) as usize)
}

impl FewRows {
    fn header(self) -> Header {
        let header = Header::new().element(self.form.dtype).text(include_str!("params.wgsl"));
        header
            .count("PANEL", PANEL as u32)
            .count("ROWS", self.rows)
            .count("PARTS", self.parts)
            .text(include_str!("relu.wgsl"))
    }

    /// Sums over the whole depth, or over parts of it.
    fn kernel(self) -> Kernel {
        let quads = quads(self.form.held);
        let across = across(self.form.held) as u32;
        let header = self.form.weights_header(self.form.rows_header(self.header()));
        let header = header
            .count("QUADS", quads)
            .count("ACROSS", across)
            .count("SLICES", THREADS / across)
            .count("LINES", LINES as u32)
            .text(&self.block_times());
        let header = if self.parts == 1 {
            self.form
                .epilogue_header(header, 2)
                .text("fn put(m: u32, n: u32, part: u32, sums: vec4<f32>) { finish(m, n, sums); }\n")
        } else {
            header.text(
                "@group(0) @binding(2) var<storage, read_write> sums_of_parts: array<vec4<f32>>;\n\
                 fn put(m: u32, n: u32, part: u32, sums: vec4<f32>) {\n    \
                 let columns = (params.some + PANEL - 1u) / PANEL * PANEL;\n    \
                 sums_of_parts[((part * ROWS + m) * columns + n) / 4u] = sums;\n}\n",
            )
        };
        Kernel::new("product_few_rows", &header, include_str!("few_rows.wgsl"))
    }

    /// The sums of all parts, with the epilogue.
    fn kernel_of_sums(self) -> Kernel {
        let header = self.form.epilogue_header(self.header(), 1);
        Kernel::new("product_few_rows_sum", &header, include_str!("few_rows_sum.wgsl"))
    }

    /// The sums of one block of the depth, written out: register tiles must be addressed by constants.
    fn block_times(self) -> String {
        let (rows, quads) = (self.rows, quads(self.form.held));
        let each =
            |template: &dyn Fn(u32, u32) -> String| repeat(rows, |m| repeat(quads, |q| template(m, q)));
        let lowest = self.form.held.has_lowest();
        let of_rows =
            |template: &dyn Fn(u32) -> String| if lowest { repeat(rows, template) } else { String::new() };
        let sums = each(&|m, q| format!("    var sum_{m}_{q} = vec4<f32>();\n"));
        let totals = of_rows(&|m| format!("    var total_{m} = 0.0;\n"));
        let loads = repeat(rows, |m| {
            format!("        let x_{m} = vec4<f32>(row_values(row_of({m}u), step_of(k), j));\n")
        });
        let adds = of_rows(&|m| format!("        total_{m} += (x_{m}.x + x_{m}.y) + (x_{m}.z + x_{m}.w);\n"));
        let lines = repeat(4, |i| {
            let part = ["x", "y", "z", "w"][i as usize];
            let values =
                repeat(quads, |q| format!("            let four_{q} = numbers(word, {}u);\n", 4 * q));
            let products = each(&|m, q| {
                format!("            sum_{m}_{q} = fma(vec4<f32>(x_{m}.{part}), four_{q}, sum_{m}_{q});\n")
            });
            format!(
                "        {{\n            let word = number_word(line + j + {i}u, column);\n{values}{products}        }}\n"
            )
        });
        let scales = repeat(quads, |q| {
            let low = format!("    let low_{q} = lowest(line, column + {}u);\n", 4 * q);
            format!(
                "    let scale_{q} = scales(line, column + {}u);\n{}",
                4 * q,
                if lowest { low } else { String::new() }
            )
        });
        let leave = each(&|m, q| {
            let at = m * quads + q;
            let low = if lowest { format!(" + low_{q} * total_{m}") } else { String::new() };
            format!("    (*sums)[{at}] = fma(scale_{q}, sum_{m}_{q}, (*sums)[{at}]){low};\n")
        });
        let put = repeat(rows, |m| {
            let of_row: Vec<String> = (0..quads).map(|q| format!("(*sums)[{}]", m * quads + q)).collect();
            format!("    put_row({m}u, panel, part, thread, Quads({}));\n", of_row.join(", "))
        });
        format!(
            "alias Sums = array<vec4<f32>, {}>;\nalias Quads = array<vec4<f32>, {quads}>;\n\
             fn block_times(sums: ptr<function, Sums>, line: u32, k: u32, column: u32) {{\n{sums}{totals}    \
             for (var j = 0u; j < LINES; j += 4u) {{\n{loads}{lines}{adds}    }}\n{scales}{leave}}}\n\
             fn put_rows(sums: ptr<function, Sums>, panel: u32, part: u32, thread: u32) {{\n{put}}}\n",
            rows * quads
        )
    }
}
