//! Matrices up to 4 x 4: each in the registers of one invocation. The text is written out for each size, because arrays with
//! computed indices would not stay in registers.

use super::Job;
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use std::fmt::Write as _;
use steropes_tensor::{Kernel, spread};

/// The largest matrices.
pub(super) const MOST: usize = 4;

/// Invocations of a workgroup.
const THREADS: usize = 64;

/// Sweeps at most; five are usual.
const SWEEPS: u32 = 12;

impl Job<'_> {
    pub(super) fn in_registers(&self) -> Result<(), OpError> {
        let n = self.n;
        let header = self
            .header()
            .count("THREADS", THREADS as u32)
            .count("SWEEPS", SWEEPS)
            .text(include_str!("../rotation.wgsl"));
        let kernel = Kernel::new("eigh_registers", &header, &text(n, self.vectors.is_some()));
        let (row, matrix) = (4 * n, 4 * n * n);
        for range in row_ranges(self.op, self.gpu, self.count(), &[matrix])? {
            let mut windows = vec![window(self.a, matrix, &range), window(&self.values, row, &range)];
            windows.extend(self.vectors.as_ref().map(|vectors| window(vectors, matrix, &range)));
            let mut params = vec![range.len() as u32];
            params.extend(windows.iter().map(|window| window.shift(4)));
            params.resize(4, 0);
            let bindings: Vec<_> = windows.into_iter().map(|window| window.binding).collect();
            self.gpu.launch(&kernel, &bindings, &params, spread(range.len().div_ceil(THREADS) as u64))?;
        }
        Ok(())
    }
}

/// The body of the kernel for matrices of `n` rows.
fn text(n: usize, with_vectors: bool) -> String {
    let mut text = String::from(
        "// One matrix for each invocation, in registers, until a sweep turns nothing.\n\
         struct Params { count: u32, a_shift: u32, values_shift: u32, vectors_shift: u32 }\n\
         var<immediate> params: Params;\n\
         @group(0) @binding(0) var<storage, read> source: array<u32>;\n\
         @group(0) @binding(1) var<storage, read_write> values: array<u32>;\n",
    );
    if with_vectors {
        text += "@group(0) @binding(2) var<storage, read_write> vectors: array<u32>;\n";
    }
    text += "@compute @workgroup_size(THREADS)\n\
        fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {\n\
        let matrix = (group.x + group.y * 32768u) * THREADS + thread;\n\
        if (matrix >= params.count) { return; }\n\
        let first = params.a_shift + matrix * (N * N);\nvar largest = 0u;\nvar squares = 0.0;\nvar again = true;\n";
    write_body(&mut text, n, with_vectors).expect("writing to a string");
    text += "}\n";
    text
}

fn write_body(text: &mut String, n: usize, with_vectors: bool) -> std::fmt::Result {
    let pairs = || (0..n).flat_map(|p| (p + 1..n).map(move |q| (p, q)));
    let triangle = || (0..n).flat_map(|i| (i..n).map(move |j| (i, j)));
    for (i, j) in triangle() {
        writeln!(text, "let b{i}{j} = source[first + element({i}u, {j}u)];")?;
        writeln!(text, "largest = max(largest, b{i}{j} & 0x7fffffffu);")?;
    }
    writeln!(text, "let finite = largest < BITS_OF_INFINITE;\nlet scale = scale_of(largest);")?;
    for (i, j) in triangle() {
        writeln!(text, "var a{i}{j} = select(0.0, bitcast<f32>(b{i}{j}) * scale, finite);")?;
        writeln!(text, "squares += {:?} * a{i}{j} * a{i}{j};", if i == j { 1.0 } else { 2.0 })?;
    }
    writeln!(text, "let tolerance = 0.25 * EPSILON * sqrt(squares / f32(N));")?;
    if with_vectors {
        for i in 0..n * n {
            writeln!(text, "var v{}{} = {:?};", i / n, i % n, if i % (n + 1) == 0 { 1.0 } else { 0.0 })?;
        }
    }
    writeln!(text, "for (var s = 0u; s < SWEEPS && again; s++) {{\nagain = false;")?;
    for (p, q) in pairs() {
        writeln!(text, "{{\nlet turn = rotation(a{p}{p}, a{q}{q}, a{p}{q}, tolerance);")?;
        writeln!(text, "again = again || turn.w > 0.0;\na{p}{p} -= turn.z;\na{q}{q} += turn.z;")?;
        writeln!(text, "a{p}{q} = select(a{p}{q}, 0.0, turn.w > 0.0);")?;
        for k in (0..n).filter(|&k| k != p && k != q) {
            let at = |i: usize| format!("a{}{}", i.min(k), i.max(k));
            write_turn(text, &at(p), &at(q))?;
        }
        for k in 0..if with_vectors { n } else { 0 } {
            write_turn(text, &format!("v{p}{k}"), &format!("v{q}{k}"))?;
        }
        writeln!(text, "}}")?;
    }
    writeln!(text, "}}\nlet valid = finite && !again;")?;
    for i in 0..n {
        write!(text, "let rank{i} = 0u")?;
        for j in (0..n).filter(|&j| j != i) {
            write!(text, " + u32(a{j}{j} {} a{i}{i})", if j < i { "<=" } else { "<" })?;
        }
        writeln!(text, ";\n{{\nlet bits = bitcast<u32>(a{i}{i} * unscale_of(largest));")?;
        writeln!(
            text,
            "values[params.values_shift + matrix * N + rank{i}] = select(NOT_A_NUMBER, bits, valid);\n}}"
        )?;
    }
    for i in 0..if with_vectors { n } else { 0 } {
        write!(text, "{{\nlet bound = 0.875 * max(0.0")?;
        (0..n).try_for_each(|k| write!(text, ", {}abs(v{i}{k})", if k + 1 < n { "max(" } else { "" }))?;
        writeln!(text, "{};\nvar sign = 0.0;", ")".repeat(n))?;
        for k in 0..n {
            writeln!(
                text,
                "if (sign == 0.0 && abs(v{i}{k}) >= bound) {{ sign = select(1.0, -1.0, v{i}{k} < 0.0); }}"
            )?;
        }
        writeln!(text, "let to = params.vectors_shift + matrix * (N * N) + rank{i};")?;
        for k in 0..n {
            let bits = format!("bitcast<u32>(v{i}{k} * sign)");
            writeln!(text, "vectors[to + {}u] = select(NOT_A_NUMBER, {bits}, valid);", k * n)?;
        }
        writeln!(text, "}}")?;
    }
    Ok(())
}

/// Turns two variables.
fn write_turn(text: &mut String, x: &str, y: &str) -> std::fmt::Result {
    writeln!(text, "{{ let both = turned({x}, {y}, turn.xy); {x} = both.x; {y} = both.y; }}")
}
