//! The parts of the kernels that are written out for a tile: register tiles must be addressed by constants.

use super::plan::{MatrixTile, PlainTile};
use std::fmt::Write as _;
use steropes_tensor::{DType, Header};

/// Why writing cannot fail.
const TO_STRING: &str = "writing to a string";

/// `template` for every number below `count` in place of `#`.
pub(super) fn repeat(count: u32, template: impl Fn(u32) -> String) -> String {
    (0..count).map(template).collect()
}

/// What `product_plain.wgsl` needs for a tile.
pub(super) fn plain(header: Header, tile: PlainTile) -> Header {
    let [down, across] = tile.grid();
    let threads = down * across;
    // 32 invocations are 4 rows of 8 where the tile allows it.
    let warp_columns = if down < 4 { 32 / down } else { across.min(8) };
    let [row_blocks, column_blocks] = tile.tile.map(|side| side / 4 * (PlainTile::DEPTH / 4));
    let blocks = (row_blocks + column_blocks).div_ceil(threads);
    let [row_pitch, column_pitch] = tile.tile.map(|side| PlainTile::pitch(side) / 4);
    let [row_groups, column_groups] = tile.part.map(|side| side / 4);
    let mut text = format!(
        "var<workgroup> rows_tile: array<vec4<f32>, {}>;\nvar<workgroup> weights_tile: array<vec4<f32>, {}>;\n",
        PlainTile::DEPTH * row_pitch,
        PlainTile::DEPTH * column_pitch,
    );
    let sums = tile.part[0] * column_groups;
    write!(
        text,
        "alias Sums = array<vec4<f32>, {sums}>;\nalias Next = array<array<vec4<f32>, 4>, {blocks}>;\n\
         struct Origin {{ rows: array<Row, 4>, weights: u32 }}\nalias Origins = array<Origin, {blocks}>;\n"
    )
    .expect(TO_STRING);
    text += &plain_loads(threads, blocks, [row_blocks, column_blocks]);
    text += &format!("fn stash(next: ptr<function, Next>, thread: u32) {{\n{}}}\n", {
        repeat(blocks, |b| plain_stash(b, threads, [row_blocks, column_blocks], [row_pitch, column_pitch]))
    });
    text += "fn multiply(sums: ptr<function, Sums>, k: u32, row: u32, column: u32) {\n";
    for i in 0..row_groups {
        writeln!(text, "    let a{i} = rows_tile[k * {row_pitch}u + row + {}u];", i * down).expect(TO_STRING);
    }
    for j in 0..column_groups {
        writeln!(text, "    let b{j} = weights_tile[k * {column_pitch}u + column + {}u];", j * across)
            .expect(TO_STRING);
    }
    for i in 0..tile.part[0] {
        for j in 0..column_groups {
            let (at, group, part) = (i * column_groups + j, i / 4, ["x", "y", "z", "w"][i as usize % 4]);
            writeln!(text, "    (*sums)[{at}] = fma(vec4<f32>(a{group}.{part}), b{j}, (*sums)[{at}]);")
                .expect(TO_STRING);
        }
    }
    text += "}\nfn finish_all(sums: ptr<function, Sums>, tile: Tile, row: u32, column: u32) {\n";
    for i in 0..tile.part[0] {
        for j in 0..column_groups {
            let (m, n) = (i / 4 * down, j * across);
            writeln!(
                text,
                "    finish(tile.m + (row + {m}u) * 4u + {}u, tile.n + (column + {n}u) * 4u, (*sums)[{}]);",
                i % 4,
                i * column_groups + j
            )
            .expect(TO_STRING);
        }
    }
    text += "}\n";
    header
        .count("COLUMN_THREADS", across)
        .count("WARP_COLUMNS", warp_columns)
        .count("THREADS", threads)
        .text(&text)
}

/// Which blocks an invocation loads, and loading them. The blocks of the left rows come first, where the depth runs fastest, then those
/// of the weights, where the columns do, as they lie in memory.
fn plain_loads(threads: u32, blocks: u32, [row_blocks, column_blocks]: [u32; 2]) -> String {
    let quads = PlainTile::DEPTH / 4;
    let groups = column_blocks / quads;
    let origins = repeat(blocks, |b| {
        let first = b * threads;
        let rows = format!(
            "        let m = tile.m + block / {quads}u * 4u;\n        \
             origin[{b}].rows = array<Row, 4>(row_of(m), row_of(m + 1u), row_of(m + 2u), row_of(m + 3u));\n"
        );
        let weights = format!(
            "        origin[{b}].weights = weight_column(tile.n + (block - {row_blocks}u) % {groups}u * 4u) \
             + (block - {row_blocks}u) / {groups}u * 4u * PANEL;\n"
        );
        either(first, threads, [row_blocks, column_blocks], &rows, &weights)
    });
    let fetch = repeat(blocks, |b| {
        let rows = repeat(4, |i| {
            format!(
                "        (*next)[{b}][{i}] = vec4<f32>(row_values((*origin)[{b}].rows[{i}], step, block % {quads}u * 4u));\n"
            )
        });
        let weights = repeat(4, |i| {
            format!(
                "        (*next)[{b}][{i}] = vec4<f32>(weight4((*origin)[{b}].weights + (k + {i}u) * PANEL));\n"
            )
        });
        either(b * threads, threads, [row_blocks, column_blocks], &rows, &weights)
    });
    format!(
        "fn origins(tile: Tile, thread: u32) -> Origins {{\n    var origin: Origins;\n{origins}    return origin;\n}}\n\
         fn fetch(next: ptr<function, Next>, origin: ptr<function, Origins>, thread: u32, k: u32) {{\n    \
         let step = step_of(k);\n{fetch}}}\n"
    )
}

/// The statements for block `thread + first` of `threads` invocations, which is one of the left rows, then of the weights, then none,
/// as far as it can be either.
fn either(
    first: u32,
    threads: u32,
    [row_blocks, column_blocks]: [u32; 2],
    rows: &str,
    weights: &str,
) -> String {
    let (end, all) = (first + threads, row_blocks + column_blocks);
    let mut cases = Vec::new();
    if first < row_blocks {
        cases.push((row_blocks, rows));
    }
    if end > row_blocks {
        cases.push((all, weights));
    }
    let statements: Vec<String> = cases
        .iter()
        .map(|(bound, text)| {
            let condition = if end > *bound { format!("if (block < {bound}u) ") } else { String::new() };
            format!("{condition}{{\n{text}    }}")
        })
        .collect();
    format!("    {{\n    let block = thread + {first}u;\n    {}\n    }}\n", statements.join(" else "))
}

/// Puts a block down: vectors run along rows of the left matrix, which turns its blocks, or along columns of the result.
fn plain_stash(b: u32, threads: u32, blocks: [u32; 2], pitches: [u32; 2]) -> String {
    let quads = PlainTile::DEPTH / 4;
    let rows = repeat(4, |k| {
        let part = ["x", "y", "z", "w"][k as usize];
        format!(
            "        rows_tile[(block % {quads}u * 4u + {k}u) * {}u + block / {quads}u] = \
             vec4<f32>((*next)[{b}][0].{part}, (*next)[{b}][1].{part}, (*next)[{b}][2].{part}, (*next)[{b}][3].{part});\n",
            pitches[0]
        )
    });
    let (first, groups) = (blocks[0], blocks[1] / quads);
    let weights = repeat(4, |k| {
        format!(
            "        weights_tile[((block - {first}u) / {groups}u * 4u + {k}u) * {}u + (block - {first}u) % {groups}u] = (*next)[{b}][{k}];\n",
            pitches[1]
        )
    });
    either(b * threads, threads, blocks, &rows, &weights)
}

/// The operations on matrices of one side, real or emulated.
struct Matrices {
    side: u32,
    element: &'static str,
    emulated: bool,
}

impl Matrices {
    fn left(&self) -> String {
        self.kind(self.element, "A")
    }
    fn right(&self) -> String {
        self.kind(self.element, "B")
    }
    fn sum(&self) -> String {
        self.kind("f32", "C")
    }
    fn kind(&self, element: &str, role: &str) -> String {
        match self.emulated {
            true => "EmulatedSum".to_owned(),
            false => format!("coop_mat{0}x{0}<{element}, {role}>", self.side),
        }
    }
    /// The left matrix whose rows are `pitch` elements apart in `rows_tile`.
    fn load_left(&self, at: &str, pitch: u32) -> String {
        match self.emulated {
            true => at.to_owned(),
            false => format!("coopLoadT<{}>(&rows_tile[{at}], {}u)", self.left(), pitch),
        }
    }
    /// The right matrix whose rows are `pitch` elements apart in `weights_tile`.
    fn load_right(&self, at: &str, pitch: u32) -> String {
        match self.emulated {
            true => at.to_owned(),
            false => format!("coopLoadT<{}>(&weights_tile[{at}], {}u)", self.right(), pitch),
        }
    }
    fn multiply_add(&self, a: &str, b: &str, sum: &str, [left, right]: [u32; 2]) -> String {
        match self.emulated {
            true => format!("emulated_multiply_add({a}, {b}, {sum}, {left}u, {right}u)"),
            false => format!("coopMultiplyAdd({a}, {b}, {sum})"),
        }
    }
    fn store(&self, sum: &str, at: &str, pitch: u32) -> String {
        match self.emulated {
            true => format!("emulated_store({sum}, {at}, {pitch}u);"),
            false => format!("coopStoreT({sum}, &strips[{at}], {pitch}u);"),
        }
    }
    /// Functions that stand for the operations on a device without them. A factor is where it begins in workgroup memory; each
    /// lane of 32 has its share of the sums.
    fn emulation(&self) -> String {
        if !self.emulated {
            return String::new();
        }
        let t = self.side;
        let share = t * t / 32;
        let own =
            format!("let i = (emulated_lane + e * 32u) / {t}u; let j = (emulated_lane + e * 32u) % {t}u;");
        format!(
            "var<private> emulated_lane: u32;\nalias EmulatedSum = array<f32, {share}>;\n\
             fn emulated_multiply_add(a: u32, b: u32, c: EmulatedSum, left: u32, right: u32) -> EmulatedSum {{\n    \
             var d = c;\n    for (var e = 0u; e < {share}u; e++) {{\n        {own}\n        \
             for (var k = 0u; k < {t}u; k++) {{ d[e] += f32(rows_tile[a + i * left + k]) * f32(weights_tile[b + k * right + j]); }}\n    }}\n    return d;\n}}\n\
             fn emulated_store(c: EmulatedSum, at: u32, pitch: u32) {{\n    var x = c;\n    \
             for (var e = 0u; e < {share}u; e++) {{ {own} strips[at + i * pitch + j] = x[e]; }}\n}}\n"
        )
    }
}

/// What `product_matrix.wgsl` needs for a tile.
pub(super) fn matrix(header: Header, tile: MatrixTile, dtype: DType) -> Header {
    let element = if dtype == DType::F16 { "f16" } else { "f32" };
    let ops = Matrices { side: tile.side, element, emulated: tile.emulated };
    let pitches = [tile.pitch(dtype), tile.weights_pitch(dtype)];
    let [rows, columns] = tile.part.map(|side| side / tile.side);
    let mut text = format!(
        "var<workgroup> rows_tile: array<Elem, {}>;\nvar<workgroup> weights_tile: array<Elem, {}>;\n\
         var<workgroup> strips: array<f32, {}>;\n",
        tile.tile[0] * pitches[0],
        tile.depth * pitches[1],
        tile.subgroups() * tile.strip_len(),
    );
    text += &ops.emulation();
    writeln!(text, "alias Sums = array<{}, {}>;", ops.sum(), rows * columns).expect(TO_STRING);
    text += &matrix_loads(tile, pitches);
    text += &matrix_multiply(&ops, tile, pitches);
    text += &matrix_finish(&ops, tile);
    let header = if tile.emulated { header } else { header.enable("wgpu_cooperative_matrix") };
    header
        .count("SUBGROUP_ROWS", tile.part[0])
        .count("SUBGROUP_COLUMNS", tile.part[1])
        .count("THREADS", tile.threads())
        .text(&text)
}

/// Loads of four elements, neighbouring invocations along the depth of the left rows and along the columns of the weights, as either
/// lies in memory; and how they are put down.
fn matrix_loads(tile: MatrixTile, [pitch, weights_pitch]: [u32; 2]) -> String {
    let quads = tile.depth / 4;
    let groups = tile.tile[1] / 4;
    let [step, depth_step] = [tile.threads() / quads, tile.threads() / groups];
    let [rows, lines] = [tile.tile[0] / step, tile.depth / depth_step];
    let lane = if tile.emulated { "    emulated_lane = thread % 32u;\n" } else { "" };
    let origins = lane.to_owned()
        + &repeat(rows, |i| {
            format!("    origin.rows[{i}] = row_of(tile.m + thread / {quads}u + {}u);\n", i * step)
        })
        + &format!(
            "    origin.weights = weight_column(tile.n + thread % {groups}u * 4u) + thread / {groups}u * PANEL;\n"
        );
    let fetch = repeat(rows, |i| {
        format!("    (*next).rows[{i}] = row_values((*origin).rows[{i}], step, thread % {quads}u * 4u);\n")
    }) + &repeat(lines, |i| {
        let at = i * depth_step;
        format!("    (*next).weights[{i}] = weight4((*origin).weights + (k + {at}u) * PANEL);\n")
    });
    let put = |name: &str, first: &str, count: u32, apart: u32| {
        repeat(count, |i| {
            let at = i * apart;
            repeat(4, |c| {
                let part = ["x", "y", "z", "w"][c as usize];
                format!("    {name}_tile[{first} + {}u] = (*next).{name}[{i}].{part};\n", at + c)
            })
        })
    };
    let put_rows = put("rows", "row_at", rows, step * pitch);
    let put_weights = put("weights", "weight_at", lines, depth_step * weights_pitch);
    format!(
        "struct Next {{ rows: array<Elem4, {rows}>, weights: array<Elem4, {lines}> }}\n\
         struct Origins {{ rows: array<Row, {rows}>, weights: u32 }}\n\
         fn origins(tile: Tile, thread: u32) -> Origins {{\n    var origin: Origins;\n{origins}    return origin;\n}}\n\
         fn fetch(next: ptr<function, Next>, origin: ptr<function, Origins>, thread: u32, k: u32) {{\n    \
         let step = step_of(k);\n{fetch}}}\n\
         fn stash(next: ptr<function, Next>, thread: u32) {{\n    \
         let row_at = thread / {quads}u * {pitch}u + thread % {quads}u * 4u;\n    \
         let weight_at = thread / {groups}u * {weights_pitch}u + thread % {groups}u * 4u;\n{put_rows}{put_weights}}}\n"
    )
}

fn matrix_multiply(ops: &Matrices, tile: MatrixTile, [pitch, weights_pitch]: [u32; 2]) -> String {
    let [rows, columns] = tile.part.map(|side| side / tile.side);
    let side = tile.side;
    let mut text = "fn multiply(sums: ptr<function, Sums>, row: u32, column: u32) {\n".to_owned();
    for k in (0..tile.depth).step_by(side as usize) {
        text += "    {\n";
        for i in 0..rows {
            let at = format!("row * {pitch}u + {}u", i * side * pitch + k);
            writeln!(text, "    let a{i} = {};", ops.load_left(&at, pitch)).expect(TO_STRING);
        }
        for j in 0..columns {
            let at = format!("column + {}u", k * weights_pitch + j * side);
            writeln!(text, "    let b{j} = {};", ops.load_right(&at, weights_pitch)).expect(TO_STRING);
        }
        for i in 0..rows {
            for j in 0..columns {
                let sum = format!("(*sums)[{}]", i * columns + j);
                let pitches = [pitch, weights_pitch];
                let next = ops.multiply_add(&format!("a{i}"), &format!("b{j}"), &sum, pitches);
                writeln!(text, "    {sum} = {next};").expect(TO_STRING);
            }
        }
        text += "    }\n";
    }
    text + "}\n"
}

/// Sums through the strip of the subgroup, one row of matrices at a time.
fn matrix_finish(ops: &Matrices, tile: MatrixTile) -> String {
    let [rows, columns] = tile.part.map(|side| side / tile.side);
    let (strip, pitch) = (MatrixTile::STRIP, MatrixTile::STRIP + 4);
    let matrices = strip / tile.side;
    let quads = strip / 4;
    let mut text = format!(
        "fn finish_all(sums: ptr<function, Sums>, m: u32, n: u32, subgroup: u32, lane: u32) {{\n    \
         let strip = subgroup * {}u;\n",
        tile.strip_len()
    );
    for i in 0..rows {
        for j in (0..columns).step_by(matrices as usize) {
            text += "    {\n    workgroupBarrier();\n";
            for q in 0..matrices {
                let sum = format!("(*sums)[{}]", i * columns + j + q);
                writeln!(text, "    let to{q} = strip + {}u;", q * tile.side).expect(TO_STRING);
                writeln!(text, "    {}", ops.store(&sum, &format!("to{q}"), pitch)).expect(TO_STRING);
            }
            text += "    workgroupBarrier();\n";
            for q in 0..tile.side * quads / 32 {
                write!(
                    text,
                    "    {{ let quad = lane + {}u; let r = quad / {quads}u; let c = quad % {quads}u * 4u; \
                     let at = strip + r * {pitch}u + c;\n    \
                     finish(m + {}u + r, n + {}u + c, vec4<f32>(strips[at], strips[at + 1u], strips[at + 2u], strips[at + 3u])); }}\n",
                    q * 32,
                    i * tile.side,
                    j * tile.side,
                ).expect(TO_STRING);
            }
            text += "    }\n";
        }
    }
    text + "}\n"
}
