//! What kernels of attention share whose products are those of matrices that a subgroup multiplies together.
//!
//! Their text is generated because matrices must have names of their own: nothing says that an array of them with a loop over
//! it stays in registers. An emulation, whose matrices are arrays that every invocation holds whole, runs the same text on
//! devices without matrices, to test it.

use std::collections::BTreeSet;

/// Invocations of a subgroup.
pub(super) const LANES: usize = 32;
/// Rows of a group: two lanes for each.
pub(super) const ROWS: usize = 16;
/// Elements behind each row in workgroup memory, against bank conflicts; keeps rows aligned to 16 bytes.
pub(super) const PAD: usize = 8;
/// Values that a load from storage brings, 16 bytes of them.
pub(super) const CHUNK: usize = 8;

/// A line of text behind `$out`.
macro_rules! line {
    ($out:expr, $($format:tt)*) => {{
        use std::fmt::Write as _;
        writeln!($out, $($format)*).expect("writing to a string")
    }};
}
pub(super) use line;

/// How a matrix lies in an array: its rows one behind the other, or its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    Rows,
    Columns,
}

/// Where a matrix lies in an array of workgroup memory, in values.
#[derive(Clone, Copy)]
struct At<'a> {
    array: &'a str,
    order: Order,
    /// An expression of the kernel, and what is added to it.
    base: &'a str,
    offset: usize,
    /// From one row, or column, to the next.
    stride: usize,
}

/// The shape of the work of a subgroup, in tokens and values.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    /// Rows and columns of a matrix, 16 or 8.
    pub(super) tile: usize,
    /// Groups of 16 rows that a subgroup owns.
    pub(super) row_groups: usize,
    /// Passing tokens whose scores go through the scratch at once.
    pub(super) staged: usize,
    pub(super) head_dim: usize,
    /// Whether matrices are emulated.
    pub(super) emulated: bool,
}

impl Shape {
    /// The head with zeros up to a multiple of 16.
    pub(super) fn padded(&self) -> usize {
        self.head_dim.next_multiple_of(ROWS)
    }

    /// Length of rows of passing tokens in workgroup memory.
    pub(super) fn tile_row(&self) -> usize {
        self.padded() + PAD
    }

    /// Length of rows of scores, and of weights, in workgroup memory.
    pub(super) fn staged_row(&self) -> usize {
        self.staged + PAD
    }

    /// Tiles along 16 rows.
    pub(super) fn row_tiles(&self) -> usize {
        ROWS / self.tile
    }

    /// The tiles of a subgroup's rows: row group and tile row in it.
    pub(super) fn tile_rows(&self) -> Vec<(usize, usize)> {
        (0..self.row_groups).flat_map(|r| (0..self.row_tiles()).map(move |tr| (r, tr))).collect()
    }
}

/// The text of matrices: of the device, or emulated. The array `scores` holds f32, others f16.
///
/// Names of the kernel: `NAME{row group}_{tile row in it}_{first column}` for matrices; `score_base`, `score_row`, `weight_base`,
/// `weight_row` for the subgroup's places in `scores` and `weights`, and the first of the lane's in its row; `lane`.
pub(super) struct Matrices {
    shape: Shape,
    /// Places of emulated matrices in use, and the most so far.
    places: [usize; 2],
    /// Arrays that emulated matrices are loaded from.
    loaded: BTreeSet<(String, Order)>,
}

impl Matrices {
    pub(super) fn new(shape: Shape) -> Self {
        Self { shape, places: [0; 2], loaded: BTreeSet::new() }
    }

    /// The place of a new emulated matrix.
    fn new_place(&mut self) -> String {
        let [used, most] = self.places;
        self.places = [used + 1, most.max(used + 1)];
        format!("{used}u")
    }

    /// Declares the sums of all rows and columns, all zero.
    pub(super) fn declare_sums(&mut self, name: &str) -> String {
        let mut out = String::new();
        for (r, tr) in self.shape.tile_rows() {
            for d in (0..self.shape.padded()).step_by(self.shape.tile) {
                line!(out, "{}", self.declare_zero(&format!("{name}{r}_{tr}_{d}")));
            }
        }
        out
    }

    /// Declares a matrix of sums, all zero.
    fn declare_zero(&mut self, name: &str) -> String {
        if self.shape.emulated {
            format!("var {name} = zeros({});", self.new_place())
        } else {
            format!("var {name}: {};", self.matrix_type("f32", 'C'))
        }
    }

    /// Declares a factor, of the left side (`A`) or the right (`B`), and loads it.
    fn declare(&mut self, name: &str, role: char, at: At<'_>) -> String {
        let place = self.new_place();
        format!("let {name} = {};", self.load(&place, role, at))
    }

    fn matrix_type(&self, scalar: &str, role: char) -> String {
        let t = self.shape.tile;
        format!("coop_mat{t}x{t}<{scalar}, {role}>")
    }

    /// The matrix at a place of an array; `place` is where it goes, if it is emulated.
    fn load(&mut self, place: &str, role: char, at: At<'_>) -> String {
        let At { array, order, base, offset, stride } = at;
        if self.shape.emulated {
            self.loaded.insert((array.to_owned(), order));
            return format!("load_{array}_{order:?}({place}, {base} + {offset}u, {stride}u)");
        }
        let scalar = if array == "scores" { "f32" } else { "f16" };
        let transposed = if order == Order::Columns { "" } else { "T" };
        let matrix = self.matrix_type(scalar, role);
        format!("coopLoad{transposed}<{matrix}>(&{array}[{base} + {offset}u], {stride}u)")
    }

    /// Stores a matrix of sums to the subgroup's scratch, row by row.
    fn store(&self, matrix: &str, [offset, stride]: [usize; 2]) -> String {
        if self.shape.emulated {
            return format!("store_scores({matrix}, score_base + {offset}u, {stride}u);");
        }
        format!("coopStoreT({matrix}, &scores[score_base + {offset}u], {stride}u);")
    }

    fn multiply_add(&self, a: &str, b: &str, c: &str) -> String {
        let name = if self.shape.emulated { "multiply_add" } else { "coopMultiplyAdd" };
        format!("{c} = {name}({a}, {b}, {c});")
    }

    /// What the lanes of a subgroup wrote becomes visible to them.
    pub(super) fn meet(&self) -> &'static str {
        if self.shape.emulated { "workgroupBarrier();" } else { "subgroupBarrier();" }
    }

    /// Rows of a head that the subgroup keeps: those from the expression `first` on, of `tokens`, of an array that has its
    /// `NAME_place` and `NAME_step`; zeros behind the end. They pass through the place of the subgroup's weights.
    pub(super) fn own_rows(&mut self, array: &str, [first, tokens]: [&str; 2]) -> String {
        let Shape { tile: t, row_groups, staged, head_dim, .. } = self.shape;
        let (rows, in_head, stride, token) =
            (ROWS * row_groups, head_dim / CHUNK, self.shape.staged_row(), first);
        let mut out = String::new();
        for first in (0..self.shape.padded()).step_by(staged) {
            let width = staged.min(self.shape.padded() - first);
            let chunks = width / CHUNK;
            line!(out, "for (var i = lane; i < {}u; i += {LANES}u) {{", rows * chunks);
            line!(out, "let r = i / {chunks}u; let c = i % {chunks}u + {}u;", first / CHUNK);
            line!(out, "let at = min({token} + r, {tokens} - 1u) * {array}_step + min(c, {}u);", in_head - 1);
            line!(
                out,
                "let x = chunk_if({token} + r < {tokens} && c < {in_head}u, {array}[{array}_place + at]);"
            );
            line!(out, "put_weights(weight_base + r * {stride}u + i % {chunks}u * {CHUNK}u, x);\n}}");
            line!(out, "{}", self.meet());
            for (r, tr) in self.shape.tile_rows() {
                for d in (first..first + width).step_by(t) {
                    let offset = (r * ROWS + tr * t) * stride + d - first;
                    let at = At { array: "weights", order: Order::Rows, base: "weight_base", offset, stride };
                    line!(out, "{}", self.declare(&format!("{array}{r}_{tr}_{d}"), 'A', at));
                }
            }
            line!(out, "{}", self.meet());
        }
        out
    }

    /// The products of the own rows `own` with the staged tokens from `from` on of the array `tile`, times `factor`, as
    /// `NAME{row group}_{vector}`: two lanes share a row, and take vectors of four in turn.
    pub(super) fn products(
        &mut self,
        name: &str,
        [own, tile]: [&str; 2],
        from: usize,
        factor: &str,
    ) -> String {
        let Shape { tile: t, row_groups, staged, .. } = self.shape;
        let (row, stride, rows) = (self.shape.staged_row(), self.shape.tile_row(), self.shape.tile_rows());
        let ([before, _], mut out) = (self.places, String::new());
        for r in 0..row_groups {
            for i in 0..staged / 8 {
                line!(out, "var {name}{r}_{i}: vec4<f32>;");
            }
        }
        line!(out, "{{");
        for &(r, tr) in &rows {
            for c in (0..staged).step_by(t) {
                line!(out, "{}", self.declare_zero(&format!("score{r}_{tr}_{c}")));
            }
        }
        for d in (0..self.shape.padded()).step_by(t) {
            let [outer, _] = self.places;
            line!(out, "{{");
            for c in (0..staged).step_by(t) {
                // Stored by row and needed by column.
                let offset = (from + c) * stride + d;
                let at = At { array: tile, order: Order::Columns, base: "0u", offset, stride };
                line!(out, "{}", self.declare(&format!("passing{c}"), 'B', at));
            }
            for &(r, tr) in &rows {
                for c in (0..staged).step_by(t) {
                    let [a, b] = [format!("{own}{r}_{tr}_{d}"), format!("passing{c}")];
                    line!(out, "{}", self.multiply_add(&a, &b, &format!("score{r}_{tr}_{c}")));
                }
            }
            line!(out, "}}");
            self.places[0] = outer;
        }
        for r in 0..row_groups {
            for tr in 0..self.shape.row_tiles() {
                for c in (0..staged).step_by(t) {
                    line!(out, "{}", self.store(&format!("score{r}_{tr}_{c}"), [tr * t * row + c, row]));
                }
            }
            line!(out, "{}", self.meet());
            for i in 0..staged / 8 {
                line!(out, "{name}{r}_{i} = four_scores(score_row + {}u) * {factor};", 8 * i);
            }
            line!(out, "{}", self.meet());
        }
        line!(out, "}}");
        self.places[0] = before;
        out
    }

    /// Adds the staged weights times the tokens from `from` on of the array `tile` to sums.
    pub(super) fn add_weighted(&mut self, sums: &str, tile: &str, from: usize) -> String {
        let Shape { tile: t, staged, .. } = self.shape;
        let (row, stride, rows) = (self.shape.staged_row(), self.shape.tile_row(), self.shape.tile_rows());
        let mut out = String::new();
        for c in (0..staged).step_by(t) {
            let [outer, _] = self.places;
            line!(out, "{{");
            for &(r, tr) in &rows {
                let offset = (r * ROWS + tr * t) * row + c;
                let at =
                    At { array: "weights", order: Order::Rows, base: "weight_base", offset, stride: row };
                line!(out, "{}", self.declare(&format!("weight{r}_{tr}"), 'A', at));
            }
            for d in (0..self.shape.padded()).step_by(t) {
                let offset = (from + c) * stride + d;
                let at = At { array: tile, order: Order::Rows, base: "0u", offset, stride };
                line!(out, "{}", self.declare(&format!("passing{d}"), 'B', at));
                for &(r, tr) in &rows {
                    let [a, b] = [format!("weight{r}_{tr}"), format!("passing{d}")];
                    line!(out, "{}", self.multiply_add(&a, &b, &format!("{sums}{r}_{tr}_{d}")));
                }
            }
            line!(out, "}}");
            self.places[0] = outer;
        }
        out
    }

    /// The sums of a row group, a strip of `width` columns from `first` on, to the scratch, whose rows are then `stride` values
    /// apart.
    pub(super) fn store_sums(
        &self,
        sums: &str,
        r: usize,
        first: usize,
        [width, stride]: [usize; 2],
    ) -> String {
        let (t, mut out) = (self.shape.tile, String::new());
        for tr in 0..self.shape.row_tiles() {
            for c in (0..width).step_by(t) {
                let name = format!("{sums}{r}_{tr}_{}", first + c);
                line!(out, "{}", self.store(&name, [tr * t * stride + c, stride]));
            }
        }
        out + self.meet() + "\n"
    }

    /// And back.
    pub(super) fn load_sums(
        &mut self,
        sums: &str,
        r: usize,
        first: usize,
        [width, stride]: [usize; 2],
    ) -> String {
        let (t, mut out) = (self.shape.tile, String::new());
        for tr in 0..self.shape.row_tiles() {
            for c in (0..width).step_by(t) {
                let sum = format!("{sums}{r}_{tr}_{}", first + c);
                let offset = tr * t * stride + c;
                let at = At { array: "scores", order: Order::Rows, base: "score_base", offset, stride };
                line!(out, "{sum} = {};", self.load(&sum, 'C', at));
            }
        }
        out + self.meet() + "\n"
    }

    /// What stands for the matrices of a device, where they are emulated, and whether any lane says yes; for a kernel of
    /// `threads` invocations whose text is complete.
    pub(super) fn functions(&self, threads: usize) -> String {
        if !self.shape.emulated {
            return "fn any_lane(x: bool, thread: u32) -> bool { return subgroupAny(x); }\n".to_owned();
        }
        let (t, [_, places], mut out) = (self.shape.tile, self.places, String::new());
        line!(out, "const T: u32 = {t}u;\nconst THREADS: u32 = {threads}u;\nconst PLACES: u32 = {places}u;");
        out.push_str(include_str!("emulation.wgsl"));
        for (array, order) in &self.loaded {
            let [along, across] = match order {
                Order::Rows => ["e / T", "e % T"],
                Order::Columns => ["e % T", "e / T"],
            };
            line!(out, "fn load_{array}_{order:?}(m: Emulated, at: u32, stride: u32) -> Emulated {{");
            line!(out, "for (var e = 0u; e < elements(); e++) {{");
            line!(out, "let n = at + {along} * stride + {across};");
            line!(out, "matrices[first_element(m) + e] = f32({array}[n]);\n}}");
            line!(out, "return m;\n}}");
        }
        out
    }
}

/// Chunks of storage; a chunk or zeros without a branch.
pub(super) const CHUNKS: &str = "struct Chunk { a: vec4<f16>, b: vec4<f16> }
fn chunk_if(inside: bool, x: Chunk) -> Chunk {
return Chunk(select(vec4<f16>(), x.a, inside), select(vec4<f16>(), x.b, inside));
}
";

/// Vectors to and from workgroup memory, which has scalars, from which NVIDIA's and Metal's matrices load best: `put_NAME` for these
/// arrays of f16, `put_four_weights`, and `four_scores` and `put_four_scores` of f32.
pub(super) fn memory_functions(arrays: &[&str]) -> String {
    let mut out = String::new();
    let four = |array: &str, first: usize, x: &str| -> String {
        let one = |(i, c)| format!("{array}[at + {}u] = {x}.{c}; ", first + i);
        ["x", "y", "z", "w"].iter().enumerate().map(one).collect()
    };
    for array in arrays {
        let body = four(array, 0, "x.a") + &four(array, 4, "x.b");
        line!(out, "fn put_{array}(at: u32, x: Chunk) {{ {body}}}");
    }
    line!(out, "fn put_four_weights(at: u32, x: vec4<f16>) {{ {}}}", four("weights", 0, "x"));
    line!(out, "fn put_four_scores(at: u32, x: vec4<f32>) {{ {}}}", four("scores", 0, "x"));
    out.push_str(
        "fn four_scores(at: u32) -> vec4<f32> { return vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]); }\n",
    );
    out
}

/// Two arrays of storage whose tokens pass through workgroup memory some at a time; the next step is on its way in registers
/// meanwhile.
pub(super) struct Passing<'a> {
    /// Names of the arrays, and of what they become in workgroup memory; the kernel has their `NAME_place` and `NAME_step` in chunks.
    pub(super) arrays: [[&'a str; 2]; 2],
    /// How many tokens there are, an expression.
    pub(super) tokens: &'a str,
    /// Tokens of a step.
    pub(super) step: usize,
    pub(super) shape: Shape,
    pub(super) threads: usize,
}

impl Passing<'_> {
    /// Chunks of a step of one array that each invocation fetches.
    fn chunks(&self) -> usize {
        (self.step * self.shape.padded() / CHUNK).div_ceil(self.threads)
    }

    /// Declares the registers of a step, and the text that loads the step from `next` on. Tokens behind the end repeat the last
    /// one.
    pub(super) fn fetch(&self) -> [String; 2] {
        let (in_row, threads, in_head) =
            (self.shape.padded() / CHUNK, self.threads, self.shape.head_dim / CHUNK);
        let (mut registers, mut loads) = (String::new(), String::new());
        for i in 0..self.chunks() {
            if threads.is_multiple_of(in_row) {
                let row = i * (threads / in_row);
                line!(
                    registers,
                    "let token{i} = thread / {in_row}u + {row}u; let column{i} = thread % {in_row}u;"
                );
            } else {
                let index = format!("(thread + {}u)", i * threads);
                line!(registers, "let token{i} = {index} / {in_row}u; let column{i} = {index} % {in_row}u;");
            }
            for [array, _] in self.arrays {
                line!(registers, "var fetched_{array}{i} = Chunk();");
                let at = |column: &str| {
                    let token = format!("min(next + token{i}, {} - 1u)", self.tokens);
                    format!("{array}[{array}_place + {token} * {array}_step + {column}]")
                };
                let load = if in_row > in_head {
                    let column = format!("min(column{i}, {}u)", in_head - 1);
                    format!("chunk_if(column{i} < {in_head}u, {})", at(&column))
                } else {
                    at(&format!("column{i}"))
                };
                line!(loads, "fetched_{array}{i} = {load};");
            }
        }
        [registers, loads]
    }

    /// Moves the fetched step to workgroup memory, when everybody has read the one before; `more` at the same time.
    pub(super) fn put(&self, more: &str) -> String {
        let (stride, mut out) = (self.shape.tile_row(), format!("workgroupBarrier();\n{more}"));
        let is_ragged = !(self.step * self.shape.padded() / CHUNK).is_multiple_of(self.threads);
        for i in 0..self.chunks() {
            let place = format!("token{i} * {stride}u + column{i} * {CHUNK}u");
            let put: String = self
                .arrays
                .iter()
                .map(|[array, tile]| format!("put_{tile}({place}, fetched_{array}{i}); "))
                .collect();
            if is_ragged && i + 1 == self.chunks() {
                line!(out, "if (token{i} < {}u) {{ {put}}}", self.step);
            } else {
                line!(out, "{put}");
            }
        }
        out + "workgroupBarrier();\n"
    }
}
