//! The form of matrices that a subgroup multiplies together, for f16 and heads of a multiple of eight values.
//!
//! A workgroup takes `16 x subgroups x row_groups` queries of one head; each subgroup of 32 owns `16 x row_groups` of them and
//! keeps their sums in matrices. Keys and values pass through workgroup memory `keys` at a time; the next step is on
//! its way in registers meanwhile. No element of a matrix can be named, so scores go through a scratch of their subgroup,
//! `staged` keys of a row group at a time, where two lanes share a row: scores are written, read by row, and come back as weights
//! in f16. The less is staged at once, the fewer registers and bytes of workgroup memory, and the more subgroups share a step.
//!
//! Weights are powers of two relative to a maximum that may lag: only if those of a lane add up to more than [`MOST_WEIGHT`]
//! is the maximum looked for and the sums scaled, which takes another way through the scratch.
//!
//! The text is generated because matrices must have names of their own: nothing says that an array of them with a loop over
//! it stays in registers. An emulation, whose matrices are arrays that every invocation holds whole, runs the same text on
//! devices without matrices, to test it.

use super::super::Extents;
use std::fmt::Write as _;
use steropes_tensor::{Capabilities, Header, Kernel};

/// Invocations of a subgroup.
const LANES: usize = 32;
/// Queries of a row group: two lanes for each.
const ROWS: usize = 16;
/// Elements behind each row in workgroup memory, against bank conflicts; keeps rows aligned to 16 bytes.
const PAD: usize = 8;

/// Values that a load from storage brings, 16 bytes of them.
const CHUNK: usize = 8;

/// How the matrix form is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Matrix {
    /// Rows and columns of a matrix, 16 or 8.
    pub(in super::super) tile: usize,
    /// Subgroups of a workgroup.
    pub(in super::super) subgroups: usize,
    /// Groups of 16 queries of a subgroup.
    pub(in super::super) row_groups: usize,
    /// Keys of a step.
    pub(in super::super) keys: usize,
    /// Keys whose scores pass through the scratch at once; divides `keys`.
    pub(in super::super) staged: usize,
    /// Whether matrices are emulated.
    pub(in super::super) emulated: bool,
}

impl Matrix {
    /// The cut for a problem; `None` if the head or the workgroup memory does not fit this form.
    pub(in super::super) fn choose(gpu: &Capabilities, tile: u32, e: &Extents) -> Option<Self> {
        if !e.head_dim.is_multiple_of(CHUNK) || e.head_dim == 0 {
            return None;
        }
        let cut = |[subgroups, row_groups, keys, staged]: [usize; 4]| Self {
            tile: tile as usize,
            subgroups,
            row_groups,
            keys,
            staged,
            emulated: false,
        };
        let fits = |m: &Self| {
            m.workgroup_bytes(e.head_dim) <= gpu.workgroup_bytes as usize
                && m.threads() <= gpu.workgroup_threads as usize
        };
        let groups = |m: &Self| e.batch * e.heads * e.queries.div_ceil(m.queries());
        // Two row groups read the keys half as often, but take registers that only 16 x 16 matrices leave, and fewer workgroups.
        let large = cut([8, 2, 64, 16]);
        let small = [[4, 1, 64, 32], [4, 1, 64, 16], [4, 1, 32, 16], [2, 1, 32, 16]].map(cut);
        let is_large = tile == 16 && groups(&large) >= LARGE_PROBLEM;
        is_large.then_some(large).into_iter().chain(small).find(fits)
    }

    pub(in super::super) fn queries(self) -> usize {
        ROWS * self.subgroups * self.row_groups
    }

    fn threads(self) -> usize {
        LANES * self.subgroups
    }

    fn workgroup_bytes(self, head_dim: usize) -> usize {
        let text = Text::new(self, head_dim);
        let [tiles, scores, weights] = text.lengths();
        2 * 2 * tiles + 4 * scores + 2 * weights
    }

    pub(in super::super) fn kernel(self, head_dim: usize) -> Kernel {
        let header = Header::new().enable("f16");
        let header = if self.emulated { header } else { header.enable("wgpu_cooperative_matrix") };
        let mut text = Text::new(self, head_dim);
        text.declarations();
        text.memory_functions();
        text.main();
        text.matrix_functions();
        Kernel::new("sdpa", &header, &text.out)
    }
}

/// What the weights of a lane may add up to before the maximum is raised: far from the end of f16, and no less exact than
/// weights up to 1.
const MOST_WEIGHT: f32 = 4096.0;

/// Workgroups from which on large tiles of queries are faster, half as many as large GPUs have processors.
const LARGE_PROBLEM: usize = 64;

/// The text of a kernel as it grows. Lengths and offsets are in values. Workgroup memory has scalars, from which NVIDIA's and Metal's
/// matrices load best.
struct Text {
    m: Matrix,
    head_dim: usize,
    /// The head with zeros up to a multiple of 16.
    padded: usize,
    /// Columns of sums that pass through the scratch at once.
    strip: usize,
    /// Places of emulated matrices in use, and the most so far.
    places: [usize; 2],
    out: String,
}

macro_rules! line {
    ($text:expr, $($format:tt)*) => { writeln!($text.out, $($format)*).expect("writing to a string") };
}

impl Text {
    fn new(m: Matrix, head_dim: usize) -> Self {
        let padded = head_dim.next_multiple_of(ROWS);
        let strip = if m.staged >= 32 && padded.is_multiple_of(32) { 32 } else { 16 };
        Self { m, head_dim, padded, strip, places: [0; 2], out: String::new() }
    }

    /// Row lengths in workgroup memory: of keys and values, of scores, of weights.
    fn row_lengths(&self) -> [usize; 3] {
        [self.padded + PAD, self.m.staged + PAD, self.m.staged + PAD]
    }

    /// Row length of sums, which pass where scores did.
    fn sum_row_length(&self) -> usize {
        self.strip + PAD
    }

    /// Values of a subgroup's scratch: staged scores or a strip of sums of a row group.
    fn scratch(&self) -> usize {
        let [_, scores, _] = self.row_lengths();
        ROWS * scores.max(self.sum_row_length())
    }

    /// Values of workgroup memory: a tile of keys, the scores, the weights.
    fn lengths(&self) -> [usize; 3] {
        let [tile, _, weights] = self.row_lengths();
        let rows = ROWS * self.m.subgroups * self.m.row_groups;
        [self.m.keys * tile, self.m.subgroups * self.scratch(), rows * weights]
    }

    /// Tiles along 16 rows.
    fn row_tiles(&self) -> usize {
        ROWS / self.m.tile
    }

    fn declarations(&mut self) {
        let [tile, scores, weights] = self.lengths();
        self.out.push_str("struct Chunk { a: vec4<f16>, b: vec4<f16> }\n");
        self.out.push_str(
            "struct Params {
    queries: u32, keys: u32, heads: u32, query_heads: u32, key_heads: u32, value_heads: u32,
    first_query: u32, first_key: u32, first_value: u32, first_result: u32, tiles: u32, groups: u32, factor: f32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> q: array<Chunk>;
@group(0) @binding(1) var<storage, read> k: array<Chunk>;
@group(0) @binding(2) var<storage, read> v: array<Chunk>;
@group(0) @binding(3) var<storage, read_write> out: array<Chunk>;
const NEVER: f32 = -1e30;
",
        );
        line!(self, "var<workgroup> key_tile: array<f16, {tile}>;");
        line!(self, "var<workgroup> value_tile: array<f16, {tile}>;");
        line!(self, "var<workgroup> scores: array<f32, {scores}>;");
        line!(self, "var<workgroup> weights: array<f16, {weights}>;");
    }

    /// Vectors to and from workgroup memory, and a chunk or zeros without a branch.
    fn memory_functions(&mut self) {
        self.out.push_str(
            "fn chunk_if(inside: bool, x: Chunk) -> Chunk {
return Chunk(select(vec4<f16>(), x.a, inside), select(vec4<f16>(), x.b, inside));
}
",
        );
        for array in ["key_tile", "value_tile", "weights"] {
            let four = |first: usize, x: &str| -> String {
                let one = |(i, c)| format!("{array}[at + {}u] = {x}.{c}; ", first + i);
                ["x", "y", "z", "w"].iter().enumerate().map(one).collect()
            };
            let body = four(0, "x.a") + &four(4, "x.b");
            let halves = four(0, "x");
            line!(self, "fn put_{array}(at: u32, x: Chunk) {{ {body}}}");
            if array == "weights" {
                line!(self, "fn put_four_weights(at: u32, x: vec4<f16>) {{ {halves}}}");
            }
        }
        self.out.push_str(
            "fn four_scores(at: u32) -> vec4<f32> { return vec4<f32>(scores[at], scores[at + 1u], scores[at + 2u], scores[at + 3u]); }
fn put_four_scores(at: u32, x: vec4<f32>) { scores[at] = x.x; scores[at + 1u] = x.y; scores[at + 2u] = x.z; scores[at + 3u] = x.w; }
",
        );
    }

    /// What stands for the matrices of a device, where they are emulated; and whether any lane says yes.
    fn matrix_functions(&mut self) {
        if !self.m.emulated {
            self.out.push_str("fn any_lane(x: bool, thread: u32) -> bool { return subgroupAny(x); }\n");
            return;
        }
        let (t, threads) = (self.m.tile, self.m.threads());
        let [_, places] = self.places;
        line!(self, "const T: u32 = {t}u;");
        line!(self, "const THREADS: u32 = {threads}u;\nconst PLACES: u32 = {places}u;");
        self.out.push_str(include_str!("../emulation.wgsl"));
        for array in ["key_tile", "value_tile", "scores", "weights"] {
            // Keys are stored by row and needed by column.
            let [row, column] = if array == "key_tile" { ["e % T", "e / T"] } else { ["e / T", "e % T"] };
            line!(self, "fn load_{array}(m: Emulated, at: u32, stride: u32) -> Emulated {{");
            line!(self, "for (var e = 0u; e < elements(); e++) {{");
            line!(self, "let n = at + {row} * stride + {column};");
            line!(self, "matrices[first_element(m) + e] = f32({array}[n]);\n}}");
            line!(self, "return m;\n}}");
        }
    }

    /// The place of a new emulated matrix.
    fn new_place(&mut self) -> String {
        let [used, most] = self.places;
        self.places = [used + 1, most.max(used + 1)];
        format!("{used}u")
    }

    /// Declares a matrix of sums, all zero.
    fn declare_sums(&mut self, name: &str) {
        if self.m.emulated {
            let place = self.new_place();
            line!(self, "var {name} = zeros({place});");
        } else {
            line!(self, "var {name}: {};", self.matrix_type("f32", 'C'));
        }
    }

    /// Declares a factor and loads it.
    fn declare(&mut self, name: &str, role: char, array: &str, base: &str, [offset, stride]: [usize; 2]) {
        let place = self.new_place();
        let load = self.load(&place, role, array, base, [offset, stride]);
        line!(self, "let {name} = {load};");
    }

    fn matrix_type(&self, scalar: &str, role: char) -> String {
        let t = self.m.tile;
        if self.m.emulated { "Emulated".to_owned() } else { format!("coop_mat{t}x{t}<{scalar}, {role}>") }
    }

    /// The matrix at `base` (an index) and `offset` (in values) of an array whose rows are `stride` values long.
    fn load(&self, place: &str, role: char, array: &str, base: &str, [offset, stride]: [usize; 2]) -> String {
        if self.m.emulated {
            return format!("load_{array}({place}, {base} + {offset}u, {stride}u)");
        }
        let scalar = if array == "scores" { "f32" } else { "f16" };
        // Keys are stored by row and needed by column.
        let order = if array == "key_tile" { "" } else { "T" };
        format!(
            "coopLoad{order}<{}>(&{array}[{base} + {offset}u], {stride}u)",
            self.matrix_type(scalar, role)
        )
    }

    /// Stores a matrix of sums to the scratch at `offset`.
    fn store(&self, matrix: &str, [offset, stride]: [usize; 2]) -> String {
        if self.m.emulated {
            return format!("store_scores({matrix}, score_base + {offset}u, {stride}u);");
        }
        format!("coopStoreT({matrix}, &scores[score_base + {offset}u], {stride}u);")
    }

    fn multiply_add(&self, a: &str, b: &str, c: &str) -> String {
        let name = if self.m.emulated { "multiply_add" } else { "coopMultiplyAdd" };
        format!("{c} = {name}({a}, {b}, {c});")
    }

    /// What the lanes of a subgroup wrote becomes visible to them.
    fn meet(&self) -> &'static str {
        if self.m.emulated { "workgroupBarrier();" } else { "subgroupBarrier();" }
    }

    fn main(&mut self) {
        self.places();
        self.load_queries();
        for r in 0..self.m.row_groups {
            for tr in 0..self.row_tiles() {
                for d in (0..self.padded).step_by(self.m.tile) {
                    self.declare_sums(&format!("sum{r}_{tr}_{d}"));
                }
            }
            line!(self, "var largest{r} = NEVER;\nvar total{r} = 0.0;");
        }
        let fetch = self.fetch();
        line!(self, "{{ let next = 0u;\n{fetch}}}");
        let keys = self.m.keys;
        line!(self, "for (var first_key = 0u; first_key < params.keys; first_key += {keys}u) {{");
        self.put_fetched();
        line!(self, "{{ let next = first_key + {keys}u;\nif (next < params.keys) {{\n{fetch}}} }}");
        for first in (0..keys).step_by(self.m.staged) {
            line!(self, "{{");
            self.scores(first);
            self.mask(first);
            for r in 0..self.m.row_groups {
                self.weigh(r, first);
            }
            line!(self, "{}", self.meet());
            self.add_values(first);
            line!(self, "}}");
        }
        line!(self, "}}");
        for r in 0..self.m.row_groups {
            self.write(r);
        }
        line!(self, "}}");
    }

    /// Which queries and keys, and where in workgroup memory.
    fn places(&mut self) {
        let [_, score_row, weight_row] = self.row_lengths();
        let (threads, queries, rows) = (self.m.threads(), self.m.queries(), ROWS * self.m.row_groups);
        let chunks = self.head_dim / CHUNK;
        line!(self, "@compute @workgroup_size({threads})");
        self.out.push_str(
            "fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
let group = id.x + id.y * 32768u;
if (group >= params.groups) { return; }
let batch = group / params.tiles / params.heads;
let head = group / params.tiles % params.heads;
let subgroup = thread / 32u;
let lane = thread % 32u;
let row = lane / 2u;
let half = lane % 2u;
",
        );
        if self.m.emulated {
            line!(self, "emulated_thread = thread;");
        }
        line!(self, "let token = group % params.tiles * {queries}u + subgroup * {rows}u;");
        for (name, count, heads) in [
            ("query", "queries", "query_heads"),
            ("key", "keys", "key_heads"),
            ("value", "keys", "value_heads"),
            ("result", "queries", "heads"),
        ] {
            line!(self, "let {name}_step = params.{heads} * {chunks}u;");
            line!(
                self,
                "let {name}_place = params.first_{name} + batch * params.{count} * {name}_step + head * {chunks}u;"
            );
        }
        let (scratch, sum_row, part) = (self.scratch(), self.sum_row_length(), 4);
        line!(self, "let score_base = subgroup * {scratch}u;");
        line!(self, "let score_row = score_base + row * {score_row}u + half * {part}u;");
        line!(self, "let sum_row = score_base + row * {sum_row}u + half * {}u;", self.strip / 2);
        let (weights, weight_row) = (rows * weight_row, weight_row);
        line!(self, "let weight_base = subgroup * {weights}u;");
        line!(self, "let weight_row = weight_base + row * {weight_row}u + half * {part}u;");
    }

    /// The queries of the subgroup as matrices, through its weights' place; zeros behind the end.
    fn load_queries(&mut self) {
        let [_, _, stride] = self.row_lengths();
        let (rows, t) = (ROWS * self.m.row_groups, self.m.tile);
        let in_head = self.head_dim / CHUNK;
        for first in (0..self.padded).step_by(self.m.staged) {
            let width = self.m.staged.min(self.padded - first);
            let chunks = width / CHUNK;
            line!(self, "for (var i = lane; i < {}u; i += 32u) {{", rows * chunks);
            line!(self, "let r = i / {chunks}u; let c = i % {chunks}u + {}u;", first / CHUNK);
            line!(
                self,
                "let at = min(token + r, params.queries - 1u) * query_step + min(c, {}u);",
                in_head - 1
            );
            line!(
                self,
                "let x = chunk_if(token + r < params.queries && c < {in_head}u, q[query_place + at]);"
            );
            let (row, column) = (stride, CHUNK);
            line!(self, "put_weights(weight_base + r * {row}u + i % {chunks}u * {column}u, x);\n}}");
            line!(self, "{}", self.meet());
            for r in 0..rows / t {
                for d in (first..first + width).step_by(t) {
                    let place = [r * t * stride + d - first, stride];
                    let name = format!("query{}_{}_{d}", r / self.row_tiles(), r % self.row_tiles());
                    self.declare(&name, 'A', "weights", "weight_base", place);
                }
            }
            line!(self, "{}", self.meet());
        }
    }

    /// Chunks of a step that each invocation fetches, and whether the last one is there for some only.
    fn fetched(&self) -> (usize, bool) {
        let chunks = self.m.keys * self.padded / CHUNK;
        (chunks.div_ceil(self.m.threads()), !chunks.is_multiple_of(self.m.threads()))
    }

    /// Declares the registers of a step and returns the text that loads the step from `next` on. Keys behind the end repeat
    /// the last one.
    fn fetch(&mut self) -> String {
        let (count, _) = self.fetched();
        let (in_row, threads, in_head) = (self.padded / CHUNK, self.m.threads(), self.head_dim / CHUNK);
        let mut text = String::new();
        for i in 0..count {
            if threads % in_row == 0 {
                line!(
                    self,
                    "let key{i} = thread / {in_row}u + {}u; let column{i} = thread % {in_row}u;",
                    i * (threads / in_row)
                );
            } else {
                let index = format!("(thread + {}u)", i * threads);
                line!(self, "let key{i} = {index} / {in_row}u; let column{i} = {index} % {in_row}u;");
            }
            line!(self, "var fetched_key{i} = Chunk(); var fetched_value{i} = Chunk();");
            let at = |name: &str, column: &str| {
                format!("{name}_place + min(next + key{i}, params.keys - 1u) * {name}_step + {column}")
            };
            let load = if in_row > in_head {
                let (column, inside) =
                    (format!("min(column{i}, {}u)", in_head - 1), format!("column{i} < {in_head}u"));
                let (key, value) = (at("key", &column), at("value", &column));
                format!(
                    "fetched_key{i} = chunk_if({inside}, k[{key}]); fetched_value{i} = chunk_if({inside}, v[{value}]);"
                )
            } else {
                let column = format!("column{i}");
                let (key, value) = (at("key", &column), at("value", &column));
                format!("fetched_key{i} = k[{key}]; fetched_value{i} = v[{value}];")
            };
            writeln!(text, "{{ {load} }}").expect("writing to a string");
        }
        text
    }

    /// Moves the fetched step to workgroup memory.
    fn put_fetched(&mut self) {
        let (count, ragged) = self.fetched();
        let [stride, _, _] = self.row_lengths();
        line!(self, "workgroupBarrier();");
        for i in 0..count {
            let place = format!("key{i} * {}u + column{i} * {}u", stride, CHUNK);
            let put =
                format!("put_key_tile({place}, fetched_key{i}); put_value_tile({place}, fetched_value{i});");
            if ragged && i + 1 == count {
                line!(self, "if (key{i} < {}u) {{ {put} }}", self.m.keys);
            } else {
                line!(self, "{put}");
            }
        }
        line!(self, "workgroupBarrier();");
    }

    /// Scores of the staged keys from `first` on, scaled, as `x{row group}_{vector}`: two lanes share a row, and take vectors in turn.
    fn scores(&mut self, first: usize) {
        let [tile_row, score_row, _] = self.row_lengths();
        let (t, staged) = (self.m.tile, self.m.staged);
        let before = self.places[0];
        let rows = self.tile_rows();
        for i in 0..staged / 8 {
            for r in 0..self.m.row_groups {
                line!(self, "var x{r}_{i}: vec4<f32>;");
            }
        }
        line!(self, "{{");
        for &(r, tr) in &rows {
            for c in (0..staged).step_by(t) {
                self.declare_sums(&format!("score{r}_{tr}_{c}"));
            }
        }
        for d in (0..self.padded).step_by(t) {
            let outer = self.places[0];
            line!(self, "{{");
            for c in (0..staged).step_by(t) {
                let place = [(first + c) * tile_row + d, tile_row];
                self.declare(&format!("key{c}"), 'B', "key_tile", "0u", place);
            }
            for &(r, tr) in &rows {
                for c in (0..staged).step_by(t) {
                    let (a, b) = (format!("query{r}_{tr}_{d}"), format!("key{c}"));
                    line!(self, "{}", self.multiply_add(&a, &b, &format!("score{r}_{tr}_{c}")));
                }
            }
            line!(self, "}}");
            self.places[0] = outer;
        }
        for r in 0..self.m.row_groups {
            for tr in 0..self.row_tiles() {
                for c in (0..staged).step_by(t) {
                    let store =
                        self.store(&format!("score{r}_{tr}_{c}"), [tr * t * score_row + c, score_row]);
                    line!(self, "{store}");
                }
            }
            line!(self, "{}", self.meet());
            for i in 0..staged / 8 {
                line!(self, "x{r}_{i} = four_scores(score_row + {}u) * params.factor;", 8 * i);
            }
            line!(self, "{}", self.meet());
        }
        line!(self, "}}");
        self.places[0] = before;
    }

    /// The tiles of a subgroup's queries: row group and tile row in it.
    fn tile_rows(&self) -> Vec<(usize, usize)> {
        (0..self.m.row_groups).flat_map(|r| (0..self.row_tiles()).map(move |tr| (r, tr))).collect()
    }

    /// The scores of a row group with the offset of their first key, without that of the lane.
    fn row_scores(&self, r: usize) -> Vec<(String, usize)> {
        (0..self.m.staged / 8).map(|i| (format!("x{r}_{i}"), 8 * i)).collect()
    }

    fn mask(&mut self, first: usize) {
        line!(self, "if (first_key + {}u > params.keys) {{", first + self.m.staged);
        line!(self, "let place = vec4<u32>(first_key + {first}u + half * 4u) + vec4<u32>(0u, 1u, 2u, 3u);");
        for r in 0..self.m.row_groups {
            for (x, offset) in self.row_scores(r) {
                line!(
                    self,
                    "{x} = select(vec4<f32>(NEVER), {x}, place + {offset}u < vec4<u32>(params.keys));"
                );
            }
        }
        line!(self, "}}");
    }

    /// Scores become weights. If those of a lane add up to more than they should, or nothing is known of the maximum yet, the
    /// maximum is raised: the sums are scaled and the weights computed again. So a step that raises nothing needs no maximum.
    fn weigh(&mut self, r: usize, first: usize) {
        line!(self, "var added{r}: f32;");
        self.put_weights(r);
        let start = if first == 0 { " || first_key == 0u" } else { "" };
        // A loop that runs once at most: the vote is the same for all lanes, which an `if` would have to prove.
        line!(self, "loop {{\nif (!any_lane(added{r} > {MOST_WEIGHT:?}{start}, thread)) {{ break; }}");
        let scores = self.row_scores(r).into_iter().map(|(x, _)| x);
        let best = scores.reduce(|a, b| format!("max({a}, {b})")).expect("staged keys");
        line!(self, "let best = {best};\nlet now = max(max(best.x, best.y), max(best.z, best.w));");
        line!(self, "let raised = max(largest{r}, max(now, subgroupShuffleXor(now, 1u)));");
        line!(self, "let shrink = exp2(largest{r} - raised);\nlargest{r} = raised; total{r} *= shrink;");
        for first in (0..self.padded).step_by(self.strip) {
            self.store_sums(r, first);
            for i in 0..self.strip / 8 {
                let at = 4 * i;
                line!(self, "put_four_scores(sum_row + {at}u, four_scores(sum_row + {at}u) * shrink);");
            }
            line!(self, "{}", self.meet());
            self.load_sums(r, first);
        }
        self.put_weights(r);
        line!(self, "break;\n}}\ntotal{r} += added{r};");
    }

    /// The weights of a row group's staged scores, and their sum over those of the lane.
    fn put_weights(&mut self, r: usize) {
        let [_, _, weight_row] = self.row_lengths();
        line!(self, "{{\nvar all = vec4<f32>();");
        for (x, offset) in self.row_scores(r) {
            let at = r * ROWS * weight_row + offset;
            line!(
                self,
                "{{ let w = exp2({x} - largest{r}); all += w; put_four_weights(weight_row + {at}u, vec4<f16>(w)); }}"
            );
        }
        line!(self, "added{r} = (all.x + all.y) + (all.z + all.w);\n}}");
    }

    /// A strip of sums to the scratch.
    fn store_sums(&mut self, r: usize, first: usize) {
        let (stride, t) = (self.sum_row_length(), self.m.tile);
        for tr in 0..self.row_tiles() {
            for c in (0..self.strip).step_by(t) {
                let store = self.store(&format!("sum{r}_{tr}_{}", first + c), [tr * t * stride + c, stride]);
                line!(self, "{store}");
            }
        }
        line!(self, "{}", self.meet());
    }

    /// And back.
    fn load_sums(&mut self, r: usize, first: usize) {
        let (stride, t) = (self.sum_row_length(), self.m.tile);
        for tr in 0..self.row_tiles() {
            for c in (0..self.strip).step_by(t) {
                let sum = format!("sum{r}_{tr}_{}", first + c);
                let load = self.load(&sum, 'C', "scores", "score_base", [tr * t * stride + c, stride]);
                line!(self, "{sum} = {load};");
            }
        }
        line!(self, "{}", self.meet());
    }

    /// Adds the staged weights times the values of the keys from `first` on to the sums.
    fn add_values(&mut self, first: usize) {
        let ([tile_row, _, weight_row], t) = (self.row_lengths(), self.m.tile);
        let rows = self.tile_rows();
        for key in (0..self.m.staged).step_by(t) {
            let outer = self.places[0];
            line!(self, "{{");
            for &(r, tr) in &rows {
                let place = [(r * ROWS + tr * t) * weight_row + key, weight_row];
                self.declare(&format!("weight{r}_{tr}"), 'A', "weights", "weight_base", place);
            }
            for d in (0..self.padded).step_by(t) {
                let place = [(first + key) * tile_row + d, tile_row];
                self.declare(&format!("value{d}"), 'B', "value_tile", "0u", place);
                for &(r, tr) in &rows {
                    let (a, b) = (format!("weight{r}_{tr}"), format!("value{d}"));
                    line!(self, "{}", self.multiply_add(&a, &b, &format!("sum{r}_{tr}_{d}")));
                }
            }
            line!(self, "}}");
            self.places[0] = outer;
        }
    }

    /// The sums of a row group, divided by the total of their weights, to storage.
    fn write(&mut self, r: usize) {
        let in_head = self.head_dim / CHUNK;
        line!(self, "{{\nlet factor = 1.0 / (total{r} + subgroupShuffleXor(total{r}, 1u));");
        line!(self, "let inside = token + {}u + row < params.queries;", r * ROWS);
        line!(self, "let place = result_place + (token + {}u + row) * result_step;", r * ROWS);
        for first in (0..self.padded).step_by(self.strip) {
            line!(self, "{}", self.meet());
            self.store_sums(r, first);
            for i in (0..self.strip / 2).step_by(CHUNK) {
                let part = |n: usize| format!("vec4<f16>(four_scores(sum_row + {}u) * factor)", n);
                let chunk = format!("Chunk({}, {})", part(i), part(i + 4));
                let column = format!("{}u + half * {}u", (first + i) / CHUNK, self.strip / 2 / CHUNK);
                line!(self, "if (inside && {column} < {in_head}u) {{ out[place + {column}] = {chunk}; }}");
            }
        }
        line!(self, "}}");
    }
}
