//! Matrices of at most 4 x 4: each in the registers of one invocation. The text is written out for each size, because arrays with
//! computed indices would not stay in registers.

use super::{NAN, Run};
use crate::error::OpError;
use std::fmt::Write as _;
use std::ops::Range;
use steropes_tensor::{Kernel, spread};

/// Invocations, and matrices, of a workgroup.
const THREADS: usize = 64;

/// Sweeps at most; five are usual.
const SWEEPS: u32 = 20;

impl Run<'_> {
    pub(super) fn small(&self, matrices: &Range<usize>) -> Result<(), OpError> {
        let vectors = self.vectors();
        let mut body = Body {
            length: self.extents.length(),
            width: self.extents.values(),
            long: if vectors {
                self.long_vectors().max(self.extents.values())
            } else {
                self.extents.values()
            },
            transposed: self.extents.transposed(),
            vectors,
            text: String::new(),
        };
        body.write().expect("writing to a string");
        let arrays = if vectors {
            "@group(0) @binding(2) var<storage, read_write> u: array<f32>;\n\
             @group(0) @binding(3) var<storage, read_write> vh: array<f32>;\n"
        } else {
            ""
        };
        let header = self
            .result_header()
            .count("LONG", body.long as u32)
            .count("THREADS", THREADS as u32)
            .count("SWEEPS", SWEEPS)
            .text(arrays)
            .text(include_str!("small.wgsl"));
        let kernel = Kernel::new("svd_small", &header, &body.text);
        let [a, u, s, vh] = self.windows(matrices);
        let mut bindings = vec![a.0, s.0];
        if vectors {
            bindings.extend([u.0, vh.0]);
        }
        let params = [matrices.len() as u32, a.1, s.1, u.1, vh.1, NAN];
        self.gpu.launch(&kernel, &bindings, &params, spread(matrices.len().div_ceil(THREADS) as u64))?;
        Ok(())
    }
}

/// The body of the kernel as it grows. Columns are the vectors `x0`, `x1`, .., turns `v0`, `v1`, .., squares of lengths `square0`, ..
struct Body {
    /// The longer side.
    length: usize,
    /// The shorter side.
    width: usize,
    /// Long vectors, at least `width`.
    long: usize,
    transposed: bool,
    vectors: bool,
    text: String,
}

impl Body {
    fn pairs(&self) -> Vec<(usize, usize)> {
        let width = self.width;
        (0..width).flat_map(|p| (p + 1..width).map(move |q| (p, q))).collect()
    }

    fn write(&mut self) -> std::fmt::Result {
        let (length, width, entries) = (self.length, self.width, self.length * self.width);
        writeln!(
            self.text,
            "@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {{
let first_matrix = (group.x + group.y * 32768u) * THREADS;
let count = min(THREADS, params.count - min(params.count, first_matrix));
for (var i = thread; i < count * {entries}u; i += THREADS) {{
    put_shared(i, {entries}u, bitcast<f32>(a[params.a_shift + first_matrix * {entries}u + i]));
}}
workgroupBarrier();
let own = thread * ROW;
var largest = 0u;"
        )?;
        for i in 0..entries {
            writeln!(self.text, "let a{i} = bitcast<u32>(shared_values[own + {i}u]);")?;
            writeln!(self.text, "largest = max(largest, a{i} & 0x7fffffffu);")?;
        }
        // A matrix with a NaN or an infinity is computed as zeros, and stored as NaN.
        writeln!(self.text, "let finite = largest < 0x7f800000u;\nlet scale = scale_of(largest);")?;
        for c in 0..self.long {
            let entry = |r: usize| {
                if c >= width || r >= length {
                    return "0.0".to_owned();
                }
                let at = if self.transposed { c * length + r } else { r * width + c };
                format!("select(0.0, scale * bitcast<f32>(a{at}), finite)")
            };
            let column: Vec<String> = (0..4).map(entry).collect();
            writeln!(self.text, "var x{c} = vec4<f32>({});", column.join(", "))?;
        }
        for c in 0..width {
            writeln!(self.text, "var v{c} = unit({c}u);")?;
        }
        writeln!(self.text, "for (var sweep = 0u; sweep < SWEEPS; sweep++) {{\nvar turned = false;")?;
        for (p, q) in self.pairs() {
            writeln!(
                self.text,
                "{{\nlet turn = turn_of(dot(x{p}, x{p}), dot(x{q}, x{q}), dot(x{p}, x{q}), LENGTH);
if (turn.turned) {{
turned = true;
let columns = turned_columns(turn, x{p}, x{q}); x{p} = columns[0]; x{q} = columns[1];
let turns = turned_columns(turn, v{p}, v{q}); v{p} = turns[0]; v{q} = turns[1];
}}\n}}"
            )?;
        }
        writeln!(self.text, "if (!turned) {{ break; }}\n}}")?;
        self.sort()?;
        writeln!(self.text, "workgroupBarrier();\nvar known = 0u;")?;
        for c in 0..width {
            writeln!(
                self.text,
                "{{\nlet some = square{c} >= ZERO_SQUARE;
let length = sqrt(select(1.0, square{c}, some));
shared_values[own + {c}u] = value(select(0.0, length * unscale_of(scale), some), finite);
x{c} = x{c} / length;
known += u32(some);\n}}"
            )?;
        }
        self.store("s", "s", width)?;
        if self.vectors {
            for c in 0..self.long {
                self.complete(c)?;
            }
            for c in 0..self.long {
                // The vectors of u decide, and those that have none their own.
                let decides = if self.transposed && c < width { "v" } else { "x" };
                writeln!(self.text, "let sign{c} = sign_of({decides}{c});")?;
            }
            self.store_vectors("x", length, self.long, !self.transposed)?;
            self.store_vectors("v", width, width, self.transposed)?;
        }
        writeln!(self.text, "}}")
    }

    /// Long columns first.
    fn sort(&mut self) -> std::fmt::Result {
        for c in 0..self.width {
            writeln!(self.text, "var square{c} = dot(x{c}, x{c});")?;
        }
        for (p, q) in self.pairs() {
            writeln!(self.text, "if (square{q} > square{p}) {{")?;
            for name in ["square", "x", "v"] {
                writeln!(
                    self.text,
                    "{{ let other = {name}{p}; {name}{p} = {name}{q}; {name}{q} = other; }}"
                )?;
            }
            writeln!(self.text, "}}")?;
        }
        Ok(())
    }

    /// A vector that is not known becomes what is left of the axis that the vectors before it contain least of.
    fn complete(&mut self, c: usize) -> std::fmt::Result {
        writeln!(self.text, "if ({c}u >= known) {{\nvar contained = vec4<f32>();")?;
        for k in 0..c {
            writeln!(self.text, "contained += x{k} * x{k};")?;
        }
        writeln!(self.text, "var axis = 0u;\nvar least = contained.x;")?;
        for r in 1..self.length {
            writeln!(self.text, "if (contained[{r}] < least) {{ least = contained[{r}]; axis = {r}u; }}")?;
        }
        writeln!(self.text, "var fresh = unit(axis);")?;
        for _ in 0..2 {
            for k in 0..c {
                writeln!(self.text, "fresh -= dot(fresh, x{k}) * x{k};")?;
            }
        }
        writeln!(self.text, "x{c} = fresh / sqrt(dot(fresh, fresh));\n}}")
    }

    /// Vectors `NAME0`, .. of `entries` entries with their signs: `u` has them in columns, `vh` in rows.
    fn store_vectors(&mut self, name: &str, entries: usize, vectors: usize, is_u: bool) -> std::fmt::Result {
        writeln!(self.text, "workgroupBarrier();")?;
        for c in 0..vectors {
            for r in 0..entries {
                let at = if is_u { r * vectors + c } else { c * entries + r };
                writeln!(self.text, "shared_values[own + {at}u] = value(sign{c} * {name}{c}[{r}], finite);")?;
            }
        }
        if is_u { self.store("u", "u", entries * vectors) } else { self.store("vh", "vh", entries * vectors) }
    }

    /// Values of all matrices of the workgroup, neighbours side by side.
    fn store(&mut self, array: &str, shift: &str, values: usize) -> std::fmt::Result {
        writeln!(
            self.text,
            "workgroupBarrier();
for (var i = thread; i < count * {values}u; i += THREADS) {{
    {array}[params.{shift}_shift + first_matrix * {values}u + i] = shared_at(i, {values}u);
}}"
        )
    }
}
