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
//! Masked attention (`masked_sdpa`) takes the same form for its forward pass: [`Task::Masked`].

use crate::attention::matrices::{
    CHUNK, CHUNKS, LANES, Matrices, PAD, Passing, ROWS, Shape, line, memory_functions,
};
use steropes_tensor::{Capabilities, Header, Kernel};

/// Which op a kernel is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::attention) enum Task {
    /// `sdpa`.
    Plain,
    /// `sdpa_masked`, causal or without a mask: several heads of queries may share one of keys, and the logarithms of sums are
    /// results too.
    Masked { causal: bool },
}

/// How the matrix form is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::attention) struct Matrix {
    /// Rows and columns of a matrix, 16 or 8.
    pub(in crate::attention) tile: usize,
    /// Subgroups of a workgroup.
    pub(in crate::attention) subgroups: usize,
    /// Groups of 16 queries of a subgroup.
    pub(in crate::attention) row_groups: usize,
    /// Keys of a step.
    pub(in crate::attention) keys: usize,
    /// Keys whose scores pass through the scratch at once; divides `keys`.
    pub(in crate::attention) staged: usize,
    /// Whether matrices are emulated.
    pub(in crate::attention) emulated: bool,
    pub(in crate::attention) task: Task,
}

impl Matrix {
    /// The cut for a problem; `None` if the head or the workgroup memory does not fit this form.
    pub(in crate::attention) fn choose(
        gpu: &Capabilities,
        tile: u32,
        task: Task,
        [batch, heads, queries, head_dim]: [usize; 4],
    ) -> Option<Self> {
        if !head_dim.is_multiple_of(CHUNK) || head_dim == 0 {
            return None;
        }
        let cut = |[subgroups, row_groups, keys, staged]: [usize; 4]| Self {
            tile: tile as usize,
            subgroups,
            row_groups,
            keys,
            staged,
            emulated: false,
            task,
        };
        let fits = |m: &Self| {
            m.workgroup_bytes(head_dim) <= gpu.workgroup_bytes as usize
                && m.threads() <= gpu.workgroup_threads as usize
        };
        let groups = |m: &Self| batch * heads * queries.div_ceil(m.queries());
        // Two row groups read the keys half as often, but take registers that only 16 x 16 matrices leave, and fewer workgroups.
        let large = cut([8, 2, 64, 16]);
        let small = [[4, 1, 64, 32], [4, 1, 64, 16], [4, 1, 32, 16], [2, 1, 32, 16]].map(cut);
        // Long heads leave registers for one row group; short steps then leave room for as many subgroups.
        let long = cut([8, 1, 32, 16]);
        let is_large = |m: &Self| tile == 16 && groups(m) >= LARGE_PROBLEM;
        let first = if head_dim <= 64 { large } else { long };
        Some(first).filter(is_large).into_iter().chain(small).find(fits)
    }

    pub(in crate::attention) fn queries(self) -> usize {
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

    pub(in crate::attention) fn kernel(self, head_dim: usize) -> Kernel {
        let header = Header::new().enable("f16");
        let header = if self.emulated { header } else { header.enable("wgpu_cooperative_matrix") };
        let mut text = Text::new(self, head_dim);
        text.declarations();
        text.main();
        let functions = text.matrices.functions(self.threads());
        Kernel::new(self.task.op(), &header, &(text.out + &functions))
    }
}

impl Task {
    fn op(self) -> &'static str {
        match self {
            Self::Plain => "sdpa",
            Self::Masked { .. } => "sdpa_masked",
        }
    }

    fn is_causal(self) -> bool {
        self == Self::Masked { causal: true }
    }
}

/// What the weights of a lane may add up to before the maximum is raised: far from the end of f16, and no less exact than
/// weights up to 1.
const MOST_WEIGHT: f32 = 4096.0;

/// Workgroups from which on large tiles of queries are faster, half as many as large GPUs have processors.
const LARGE_PROBLEM: usize = 64;

/// The text of a kernel as it grows. Lengths and offsets are in values.
struct Text {
    m: Matrix,
    shape: Shape,
    /// Columns of sums that pass through the scratch at once.
    strip: usize,
    matrices: Matrices,
    out: String,
}

impl Text {
    fn new(m: Matrix, head_dim: usize) -> Self {
        let Matrix { tile, row_groups, staged, emulated, .. } = m;
        let shape = Shape { tile, row_groups, staged, head_dim, emulated };
        let strip = if staged >= 32 && shape.padded().is_multiple_of(32) { 32 } else { 16 };
        Self { m, shape, strip, matrices: Matrices::new(shape), out: String::new() }
    }

    /// Columns of sums that pass where scores did, and the length of their rows there.
    fn strip(&self) -> [usize; 2] {
        [self.strip, self.strip + PAD]
    }

    /// Values of a subgroup's scratch: staged scores or a strip of sums of a row group.
    fn scratch(&self) -> usize {
        let [_, sums] = self.strip();
        ROWS * self.shape.staged_row().max(sums)
    }

    /// Values of workgroup memory: a tile of keys, the scores, the weights.
    fn lengths(&self) -> [usize; 3] {
        let rows = ROWS * self.m.subgroups * self.m.row_groups;
        [
            self.m.keys * self.shape.tile_row(),
            self.m.subgroups * self.scratch(),
            rows * self.shape.staged_row(),
        ]
    }

    fn declarations(&mut self) {
        let [tile, scores, weights] = self.lengths();
        self.out.push_str(CHUNKS);
        let masked = match self.m.task {
            Task::Plain => "",
            Task::Masked { .. } => " group: u32, first_log: u32,",
        };
        line!(
            self.out,
            "struct Params {{
    queries: u32, keys: u32, heads: u32, query_heads: u32, key_heads: u32, value_heads: u32,
    first_query: u32, first_key: u32, first_value: u32, first_result: u32, tiles: u32, groups: u32, factor: f32,{masked}
}}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> q: array<Chunk>;
@group(0) @binding(1) var<storage, read> k: array<Chunk>;
@group(0) @binding(2) var<storage, read> v: array<Chunk>;
@group(0) @binding(3) var<storage, read_write> result: array<Chunk>;
const NEVER: f32 = -1e30;"
        );
        if let Task::Masked { .. } = self.m.task {
            line!(self.out, "@group(0) @binding(4) var<storage, read_write> logs: array<f32>;");
        }
        line!(self.out, "var<workgroup> key_tile: array<f16, {tile}>;");
        line!(self.out, "var<workgroup> value_tile: array<f16, {tile}>;");
        line!(self.out, "var<workgroup> scores: array<f32, {scores}>;");
        line!(self.out, "var<workgroup> weights: array<f16, {weights}>;");
        self.out.push_str(&memory_functions(&["key_tile", "value_tile", "weights"]));
    }

    fn main(&mut self) {
        self.places();
        self.out.push_str(&self.matrices.own_rows("q", ["token", "params.queries"]));
        self.out.push_str(&self.matrices.declare_sums("sum"));
        for r in 0..self.m.row_groups {
            line!(self.out, "var largest{r} = NEVER;\nvar total{r} = 0.0;");
        }
        let keys = self.m.keys;
        let passing = Passing {
            arrays: [["k", "key_tile"], ["v", "value_tile"]],
            tokens: "params.keys",
            step: keys,
            shape: self.shape,
            threads: self.m.threads(),
        };
        let [registers, fetch] = passing.fetch();
        let put = passing.put("");
        let end = if self.m.task.is_causal() {
            format!("min(params.keys, first_token + {}u)", self.m.queries())
        } else {
            "params.keys".to_owned()
        };
        line!(self.out, "{registers}{{ let next = 0u;\n{fetch}}}\nlet end = {end};");
        line!(self.out, "for (var first_key = 0u; first_key < end; first_key += {keys}u) {{\n{put}");
        line!(self.out, "{{ let next = first_key + {keys}u;\nif (next < end) {{\n{fetch}}} }}");
        for first in (0..keys).step_by(self.m.staged) {
            line!(self.out, "{{");
            let scores = self.matrices.products("x", ["q", "key_tile"], first, "params.factor");
            self.out.push_str(&scores);
            self.mask(first);
            for r in 0..self.m.row_groups {
                self.weigh(r, first);
            }
            line!(self.out, "{}", self.matrices.meet());
            self.out.push_str(&self.matrices.add_weighted("sum", "value_tile", first));
            line!(self.out, "}}");
        }
        line!(self.out, "}}");
        for r in 0..self.m.row_groups {
            self.write(r);
        }
        line!(self.out, "}}");
    }

    /// Which queries and keys, and where in workgroup memory.
    fn places(&mut self) {
        let staged_row = self.shape.staged_row();
        let (threads, queries, rows) = (self.m.threads(), self.m.queries(), ROWS * self.m.row_groups);
        let chunks = self.shape.head_dim / CHUNK;
        line!(self.out, "@compute @workgroup_size({threads})");
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
            line!(self.out, "emulated_thread = thread;");
        }
        // The last tiles of a causal mask have most to do.
        let tile = match self.m.task.is_causal() {
            true => "(params.tiles - 1u - group % params.tiles)",
            false => "group % params.tiles",
        };
        line!(self.out, "let first_token = {tile} * {queries}u;");
        line!(self.out, "let token = first_token + subgroup * {rows}u;");
        let key_head = match self.m.task {
            Task::Plain => "head",
            Task::Masked { .. } => "head / params.group",
        };
        for (name, tensor, count, heads, head) in [
            ("q", "query", "queries", "query_heads", "head"),
            ("k", "key", "keys", "key_heads", key_head),
            ("v", "value", "keys", "value_heads", key_head),
            ("result", "result", "queries", "heads", "head"),
        ] {
            line!(self.out, "let {name}_step = params.{heads} * {chunks}u;");
            line!(
                self.out,
                "let {name}_place = params.first_{tensor} + batch * params.{count} * {name}_step + {head} * {chunks}u;"
            );
        }
        let [_, sum_row] = self.strip();
        line!(self.out, "let score_base = subgroup * {}u;", self.scratch());
        line!(self.out, "let score_row = score_base + row * {staged_row}u + half * 4u;");
        line!(self.out, "let sum_row = score_base + row * {sum_row}u + half * {}u;", self.strip / 2);
        line!(self.out, "let weight_base = subgroup * {}u;", rows * staged_row);
        line!(self.out, "let weight_row = weight_base + row * {staged_row}u + half * 4u;");
    }

    /// The scores of a row group with the offset of their first key, without that of the lane.
    fn row_scores(&self, r: usize) -> Vec<(String, usize)> {
        (0..self.m.staged / 8).map(|i| (format!("x{r}_{i}"), 8 * i)).collect()
    }

    /// Keys behind the end weigh nothing, and with a causal mask those behind the query.
    fn mask(&mut self, first: usize) {
        let end = first + self.m.staged;
        let is_causal = self.m.task.is_causal();
        let crosses = if is_causal { format!(" || first_key + {}u > token", end - 1) } else { String::new() };
        line!(self.out, "if (first_key + {end}u > params.keys{crosses}) {{");
        line!(
            self.out,
            "let place = vec4<u32>(first_key + {first}u + half * 4u) + vec4<u32>(0u, 1u, 2u, 3u);"
        );
        for r in 0..self.m.row_groups {
            let seen = match is_causal {
                true => format!("min(params.keys, token + {}u + row)", r * ROWS + 1),
                false => "params.keys".to_owned(),
            };
            for (x, offset) in self.row_scores(r) {
                line!(
                    self.out,
                    "{x} = select(vec4<f32>(NEVER), {x}, place + {offset}u < vec4<u32>({seen}));"
                );
            }
        }
        line!(self.out, "}}");
    }

    /// Scores become weights. If those of a lane add up to more than they should, or nothing is known of the maximum yet, the
    /// maximum is raised: the sums are scaled and the weights computed again. So a step that raises nothing needs no maximum.
    fn weigh(&mut self, r: usize, first: usize) {
        line!(self.out, "var added{r}: f32;");
        self.put_weights(r);
        let start = if first == 0 { " || first_key == 0u" } else { "" };
        // A loop that runs once at most: the vote is the same for all lanes, which an `if` would have to prove.
        line!(self.out, "loop {{\nif (!any_lane(added{r} > {MOST_WEIGHT:?}{start}, thread)) {{ break; }}");
        let scores = self.row_scores(r).into_iter().map(|(x, _)| x);
        let best = scores.reduce(|a, b| format!("max({a}, {b})")).expect("staged keys");
        line!(self.out, "let best = {best};\nlet now = max(max(best.x, best.y), max(best.z, best.w));");
        line!(self.out, "let raised = max(largest{r}, max(now, subgroupShuffleXor(now, 1u)));");
        line!(self.out, "let shrink = exp2(largest{r} - raised);\nlargest{r} = raised; total{r} *= shrink;");
        for first in (0..self.shape.padded()).step_by(self.strip) {
            self.out.push_str(&self.matrices.store_sums("sum", r, first, self.strip()));
            for i in 0..self.strip / 8 {
                let at = 4 * i;
                line!(self.out, "put_four_scores(sum_row + {at}u, four_scores(sum_row + {at}u) * shrink);");
            }
            line!(self.out, "{}", self.matrices.meet());
            let back = self.matrices.load_sums("sum", r, first, self.strip());
            self.out.push_str(&back);
        }
        self.put_weights(r);
        line!(self.out, "break;\n}}\ntotal{r} += added{r};");
    }

    /// The weights of a row group's staged scores, and their sum over those of the lane.
    fn put_weights(&mut self, r: usize) {
        let weight_row = self.shape.staged_row();
        line!(self.out, "{{\nvar all = vec4<f32>();");
        for (x, offset) in self.row_scores(r) {
            let at = r * ROWS * weight_row + offset;
            line!(
                self.out,
                "{{ let w = exp2({x} - largest{r}); all += w; put_four_weights(weight_row + {at}u, vec4<f16>(w)); }}"
            );
        }
        line!(self.out, "added{r} = (all.x + all.y) + (all.z + all.w);\n}}");
    }

    /// The sums of a row group, divided by the total of their weights, to storage.
    fn write(&mut self, r: usize) {
        let in_head = self.shape.head_dim / CHUNK;
        line!(
            self.out,
            "{{\nlet total = total{r} + subgroupShuffleXor(total{r}, 1u);\nlet factor = 1.0 / total;"
        );
        line!(self.out, "let inside = token + {}u + row < params.queries;", r * ROWS);
        line!(self.out, "let place = result_place + (token + {}u + row) * result_step;", r * ROWS);
        for first in (0..self.shape.padded()).step_by(self.strip) {
            line!(self.out, "{}", self.matrices.meet());
            self.out.push_str(&self.matrices.store_sums("sum", r, first, self.strip()));
            for i in (0..self.strip / 2).step_by(CHUNK) {
                let part = |n: usize| format!("vec4<f16>(four_scores(sum_row + {}u) * factor)", n);
                let chunk = format!("Chunk({}, {})", part(i), part(i + 4));
                let column = format!("{}u + half * {}u", (first + i) / CHUNK, self.strip / 2 / CHUNK);
                line!(
                    self.out,
                    "if (inside && {column} < {in_head}u) {{ result[place + {column}] = {chunk}; }}"
                );
            }
        }
        if let Task::Masked { .. } = self.m.task {
            line!(
                self.out,
                "let log_place = params.first_log + (batch * params.heads + head) * params.queries;"
            );
            line!(
                self.out,
                "if (inside && half == 0u) {{ logs[log_place + token + {}u + row] = (largest{r} + log2(total)) * {:?}; }}",
                r * ROWS,
                std::f32::consts::LN_2
            );
        }
        line!(self.out, "}}");
    }
}
