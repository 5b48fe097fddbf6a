//! The parts of the kernels that are written out for a tile: register tiles must be addressed by constants.

use super::plan::{MatrixTile, PlainTile};
use std::fmt::Write as _;
use steropes_tensor::{DType, Header};

/// Why writing cannot fail.
const TO_STRING: &str = "writing to a string";

/// `template` for every number below `count` in place of `#`.
fn repeat(count: u32, template: impl Fn(u32) -> String) -> String {
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
         struct Origin {{ rows: array<Row, 4>, weights: vec4<u32> }}\nalias Origins = array<Origin, {blocks}>;\n"
    ).expect(TO_STRING);
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

/// Which blocks an invocation loads, and loading them. The blocks of the left rows come first, then those of the weights; within
/// each, the depth runs fastest.
fn plain_loads(threads: u32, blocks: u32, [row_blocks, column_blocks]: [u32; 2]) -> String {
    let quads = PlainTile::DEPTH / 4;
    let origins = repeat(blocks, |b| {
        let first = b * threads;
        let rows = format!(
            "        let m = tile.m + block / {quads}u * 4u;\n        \
             origin[{b}].rows = array<Row, 4>(row_of(m), row_of(m + 1u), row_of(m + 2u), row_of(m + 3u));\n"
        );
        let weights = format!(
            "        let n = tile.n + (block - {row_blocks}u) / {quads}u * 4u;\n        \
             origin[{b}].weights = vec4<u32>(weight_row(n), weight_row(n + 1u), weight_row(n + 2u), weight_row(n + 3u));\n"
        );
        either(first, row_blocks, column_blocks, &rows, &weights)
    });
    let fetch = repeat(blocks, |b| {
        let rows = repeat(4, |i| {
            format!(
                "        (*next)[{b}][{i}] = vec4<f32>(row_values((*origin)[{b}].rows[{i}], step, block % {quads}u * 4u));\n"
            )
        });
        let weights = repeat(4, |i| {
            format!(
                "        (*next)[{b}][{i}] = vec4<f32>(weight[((*origin)[{b}].weights[{i}] + k) / 4u + block % {quads}u]);\n"
            )
        });
        either(b * threads, row_blocks, column_blocks, &rows, &weights)
    });
    format!(
        "fn origins(tile: Tile, thread: u32) -> Origins {{\n    var origin: Origins;\n{origins}    return origin;\n}}\n\
         fn fetch(next: ptr<function, Next>, origin: ptr<function, Origins>, thread: u32, k: u32) {{\n    \
         let step = step_of(k);\n{fetch}}}\n"
    )
}

/// The statements for a block of the left rows or of the weights, as far as either can be.
fn either(first: u32, row_blocks: u32, column_blocks: u32, rows: &str, weights: &str) -> String {
    format!(
        "    {{\n    let block = thread + {first}u;\n    if (block < {row_blocks}u) {{\n{rows}    }} else if (block < {}u) {{\n{weights}    }}\n    }}\n",
        row_blocks + column_blocks
    )
}

/// Puts a block down, turned: vectors run along rows of the left matrix or along columns of the result.
fn plain_stash(b: u32, threads: u32, blocks: [u32; 2], pitches: [u32; 2]) -> String {
    let quads = PlainTile::DEPTH / 4;
    let put = |tile: &str, first: u32, pitch: u32| {
        repeat(4, |k| {
            let part = ["x", "y", "z", "w"][k as usize];
            format!(
                "        {tile}[((block - {first}u) % {quads}u * 4u + {k}u) * {pitch}u + (block - {first}u) / {quads}u] = \
                 vec4<f32>((*next)[{b}][0].{part}, (*next)[{b}][1].{part}, (*next)[{b}][2].{part}, (*next)[{b}][3].{part});\n"
            )
        })
    };
    let (rows, weights) = (put("rows_tile", 0, pitches[0]), put("weights_tile", blocks[0], pitches[1]));
    either(b * threads, blocks[0], blocks[1], &rows, &weights)
}

/// The operations on matrices of one side, real or emulated.
struct Matrices {
    side: u32,
    element: &'static str,
    /// Elements of an element of workgroup memory.
    width: u32,
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
            false => format!("coopLoadT<{}>(&rows_tile[{at}], {}u)", self.left(), pitch / self.width),
        }
    }
    /// The right matrix whose columns are `pitch` elements apart in `weights_tile`.
    fn load_right(&self, at: &str, pitch: u32) -> String {
        match self.emulated {
            true => at.to_owned(),
            false => format!("coopLoad<{}>(&weights_tile[{at}], {}u)", self.right(), pitch / self.width),
        }
    }
    fn multiply_add(&self, a: &str, b: &str, sum: &str, pitch: u32) -> String {
        match self.emulated {
            true => format!("emulated_multiply_add({a}, {b}, {sum}, {pitch}u)"),
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
        let (t, w) = (self.side, self.width);
        let element = |tile: &str, at: &str, line: &str| match w {
            1 => format!("f32({tile}[{at} + {line} * pitch + k])"),
            _ => format!("f32({tile}[{at} + ({line} * pitch + k) / {w}u][({line} * pitch + k) % {w}u])"),
        };
        let (left, right) = (element("rows_tile", "a", "i"), element("weights_tile", "b", "j"));
        let share = t * t / 32;
        let own =
            format!("let i = (emulated_lane + e * 32u) / {t}u; let j = (emulated_lane + e * 32u) % {t}u;");
        format!(
            "var<private> emulated_lane: u32;\nalias EmulatedSum = array<f32, {share}>;\n\
             fn emulated_multiply_add(a: u32, b: u32, c: EmulatedSum, pitch: u32) -> EmulatedSum {{\n    \
             var d = c;\n    for (var e = 0u; e < {share}u; e++) {{\n        {own}\n        \
             for (var k = 0u; k < {t}u; k++) {{ d[e] += {left} * {right}; }}\n    }}\n    return d;\n}}\n\
             fn emulated_store(c: EmulatedSum, at: u32, pitch: u32) {{\n    var x = c;\n    \
             for (var e = 0u; e < {share}u; e++) {{ {own} strips[at + i * pitch + j] = x[e]; }}\n}}\n"
        )
    }
}

/// What `product_matrix.wgsl` needs for a tile.
pub(super) fn matrix(header: Header, tile: MatrixTile, dtype: DType) -> Header {
    let width = if tile.vectors { 4 } else { 1 };
    let element = if dtype == DType::F16 { "f16" } else { "f32" };
    let ops = Matrices { side: tile.side, element, width, emulated: tile.emulated };
    let pitch = MatrixTile::pitch(dtype);
    let unit = if tile.vectors { "Elem4" } else { "Elem" };
    let [rows, columns] = tile.part.map(|side| side / tile.side);
    let mut text = format!(
        "var<workgroup> rows_tile: array<{unit}, {}>;\nvar<workgroup> weights_tile: array<{unit}, {}>;\n\
         var<workgroup> strips: array<f32, {}>;\n",
        tile.tile[0] * pitch / width,
        tile.tile[1] * pitch / width,
        tile.subgroups() * tile.strip_len(),
    );
    text += &ops.emulation();
    writeln!(text, "alias Sums = array<{}, {}>;", ops.sum(), rows * columns).expect(TO_STRING);
    text += &matrix_loads(tile, pitch);
    text += &matrix_multiply(&ops, tile, pitch);
    text += &matrix_finish(&ops, tile);
    let header = if tile.emulated { header } else { header.enable("wgpu_cooperative_matrix") };
    header
        .count("SUBGROUP_ROWS", tile.part[0])
        .count("SUBGROUP_COLUMNS", tile.part[1])
        .count("THREADS", tile.threads())
        .text(&text)
}

/// Loads of four elements, neighbouring invocations along the depth; and how they are put down.
fn matrix_loads(tile: MatrixTile, pitch: u32) -> String {
    let quads = MatrixTile::DEPTH / 4;
    let step = tile.threads() / quads;
    let [rows, columns] = tile.tile.map(|side| side / step);
    let lane = if tile.emulated { "    emulated_lane = thread % 32u;\n" } else { "" };
    let origins = lane.to_owned()
        + &repeat(rows, |i| {
            format!("    origin.rows[{i}] = row_of(tile.m + thread / {quads}u + {}u);\n", i * step)
        })
        + &repeat(columns, |i| {
            format!("    origin.weights[{i}] = weight_row(tile.n + thread / {quads}u + {}u);\n", i * step)
        });
    let fetch = repeat(rows, |i| {
        format!("    (*next).rows[{i}] = row_values((*origin).rows[{i}], step, thread % {quads}u * 4u);\n")
    }) + &repeat(columns, |i| {
        format!("    (*next).weights[{i}] = weight[((*origin).weights[{i}] + k) / 4u + thread % {quads}u];\n")
    });
    let put = |name: &str, count: u32| {
        repeat(count, |i| {
            let at = i * step * pitch;
            if tile.vectors {
                return format!("    {name}_tile[at / 4u + {}u] = (*next).{name}[{i}];\n", at / 4);
            }
            repeat(4, |c| {
                let part = ["x", "y", "z", "w"][c as usize];
                format!("    {name}_tile[at + {}u] = (*next).{name}[{i}].{part};\n", at + c)
            })
        })
    };
    let (put_rows, put_weights) = (put("rows", rows), put("weights", columns));
    format!(
        "struct Next {{ rows: array<Elem4, {rows}>, weights: array<Elem4, {columns}> }}\n\
         struct Origins {{ rows: array<Row, {rows}>, weights: array<u32, {columns}> }}\n\
         fn origins(tile: Tile, thread: u32) -> Origins {{\n    var origin: Origins;\n{origins}    return origin;\n}}\n\
         fn fetch(next: ptr<function, Next>, origin: ptr<function, Origins>, thread: u32, k: u32) {{\n    \
         let step = step_of(k);\n{fetch}}}\n\
         fn stash(next: ptr<function, Next>, thread: u32) {{\n    \
         let at = thread / {quads}u * {pitch}u + thread % {quads}u * 4u;\n{put_rows}{put_weights}}}\n"
    )
}

fn matrix_multiply(ops: &Matrices, tile: MatrixTile, pitch: u32) -> String {
    let [rows, columns] = tile.part.map(|side| side / tile.side);
    let mut text = "fn multiply(sums: ptr<function, Sums>, row: u32, column: u32) {\n".to_owned();
    for k in (0..MatrixTile::DEPTH).step_by(tile.side as usize) {
        text += "    {\n";
        let at = |name: &str, i: u32| {
            format!("{name} * {}u + {}u", pitch / ops.width, (i * tile.side * pitch + k) / ops.width)
        };
        for i in 0..rows {
            writeln!(text, "    let a{i} = {};", ops.load_left(&at("row", i), pitch)).expect(TO_STRING);
        }
        for j in 0..columns {
            writeln!(text, "    let b{j} = {};", ops.load_right(&at("column", j), pitch)).expect(TO_STRING);
        }
        for i in 0..rows {
            for j in 0..columns {
                let sum = format!("(*sums)[{}]", i * columns + j);
                let next = ops.multiply_add(&format!("a{i}"), &format!("b{j}"), &sum, pitch);
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
