//! The forms of matrices that a subgroup multiplies together, for f16, heads of a multiple of eight values, and no mask or a causal
//! one. The forward pass is that of `sdpa`; this is its launch, and the kernels of gradients.
//!
//! A workgroup takes `16 x subgroups x row_groups` tokens of one head, its own: queries with the gradients of their results, or
//! keys with their values. Those of the other side pass through workgroup memory. Scores and gradients of weights go through a
//! scratch of their subgroup, where two lanes share a row, and come back in f16 as weights, or as gradients of scores, to be
//! multiplied with what passes.

use super::super::{Attended, BACKWARD, Extents, Gradients, Mask, OP, Problem};
use super::{batches, bytes_of_batch, sides_of};
use crate::attention::matrices::{
    CHUNK, CHUNKS, LANES, Matrices, Passing, ROWS, Shape, line, memory_functions,
};
use crate::attention::sdpa::gpu::{Matrix, Task};
use crate::error::OpError;
use crate::gpu::window;
use steropes_tensor::{Capabilities, DType, Gpu, Header, Kernel, KernelCache, Tensor, spread};

/// Which gradients a kernel computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Of {
    Queries,
    KeysAndValues,
}

/// A kernel of gradients and how it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Gradient {
    pub(in super::super) of: Of,
    pub(in super::super) causal: bool,
    pub(in super::super) cut: Cut,
}

/// How a kernel of gradients is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Cut {
    /// Rows and columns of a matrix, 16 or 8.
    pub(in super::super) tile: usize,
    /// Subgroups of a workgroup.
    pub(in super::super) subgroups: usize,
    /// Groups of 16 own tokens of a subgroup.
    pub(in super::super) row_groups: usize,
    /// Passing tokens of a step.
    pub(in super::super) step: usize,
    /// Passing tokens whose scores go through the scratch at once; divides `step`.
    pub(in super::super) staged: usize,
    /// Whether matrices are emulated.
    pub(in super::super) emulated: bool,
}

/// The forms of a problem's passes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Forms {
    pub(in super::super) forward: Matrix,
    /// That of queries, and that of keys and values.
    pub(in super::super) gradients: [Gradient; 2],
}

impl Forms {
    /// `None` if the problem is none for matrices, or the device has none for it.
    pub(super) fn choose(gpu: &Capabilities, problem: &Problem<'_>) -> Option<Self> {
        let Extents { batch, queries, heads, head_dim, .. } = problem.extents;
        let causal = causal(problem)?;
        let tile = gpu.matrix_tile(DType::F16).filter(|_| gpu.f16 && problem.dtype() == DType::F16)?;
        let forward = Matrix::choose(gpu, tile, Task::Masked { causal }, [batch, heads, queries, head_dim])?;
        // The longer the head, the shorter the step that leaves room for eight subgroups, which share it.
        let cut = [[8, 64], [8, 32], [4, 32], [2, 16]]
            .map(|[subgroups, step]| Cut {
                tile: tile as usize,
                subgroups,
                row_groups: 1,
                step,
                staged: 16,
                emulated: false,
            })
            .into_iter()
            .find(|cut| cut.fits(gpu, head_dim))?;
        let gradients = [Of::Queries, Of::KeysAndValues].map(|of| Gradient { of, causal, cut });
        Some(Self { forward, gradients })
    }
}

/// Whether the mask is causal; `None` if it is neither that nor none.
fn causal(problem: &Problem<'_>) -> Option<bool> {
    match problem.mask {
        Mask::None => Some(false),
        Mask::Causal => Some(true),
        _ => None,
    }
}

/// As [`super::forward`], with queries.
pub(in super::super) fn forward(gpu: &Gpu, problem: &Problem<'_>, form: Matrix) -> Result<Attended, OpError> {
    static KERNELS: KernelCache<(Matrix, usize)> = KernelCache::new();
    let Extents { batch, queries, keys, heads, kv_heads, head_dim } = problem.extents;
    let out = Tensor::on_gpu(gpu, OP, problem.dtype(), problem.q.shape())?;
    let lse = Tensor::on_gpu(gpu, OP, DType::F32, &[batch, heads, queries])?;
    let kernel = KERNELS.get((form, head_dim), || form.kernel(head_dim));
    for range in batches(gpu, OP, problem, &[&out, problem.k])? {
        let windows = [problem.q, problem.k, problem.v, &out, &lse]
            .map(|tensor| window(tensor, bytes_of_batch(tensor, problem), &range));
        let [q, k, v, result, logs] = &windows;
        let tiles = queries.div_ceil(form.queries());
        let groups = range.len() * heads * tiles;
        let [queries, keys, heads, kv_heads, tiles, counted, group] =
            [queries, keys, heads, kv_heads, tiles, groups, problem.extents.group()].map(|n| n as u32);
        let [q, k, v, result] = [q, k, v, result].map(|window| window.shift(2 * CHUNK));
        // The kernels' exponentials are powers of two.
        let factor = (problem.scale * std::f32::consts::LOG2_E).to_bits();
        let log = logs.shift(4);
        let params = [
            queries, keys, heads, heads, kv_heads, kv_heads, q, k, v, result, tiles, counted, factor, group,
            log,
        ];
        gpu.launch(&kernel, &windows.map(|window| window.binding), &params, spread(groups as u64))?;
    }
    Ok(Attended { out, lse })
}

/// As [`super::backward`], with a batch and queries.
pub(in super::super) fn backward(
    gpu: &Gpu,
    problem: &Problem<'_>,
    attended: &Attended,
    gradient: &Tensor,
    forms: &Forms,
) -> Result<Gradients, OpError> {
    static KERNELS: KernelCache<(Gradient, usize)> = KernelCache::new();
    let Extents { batch, queries, keys, heads, kv_heads, head_dim } = problem.extents;
    let [dq, dk, dv] = [problem.q, problem.k, problem.v]
        .map(|tensor| Tensor::on_gpu(gpu, BACKWARD, problem.dtype(), tensor.shape()));
    let gradients = Gradients { q: dq?, k: dk?, v: dv? };
    let sides = Tensor::on_gpu(gpu, BACKWARD, DType::F32, &[batch, heads, queries, 2])?;
    for range in batches(gpu, BACKWARD, problem, &[&gradients.q, &gradients.k, &sides])? {
        sides_of(gpu, problem, &range, [gradient, &attended.out], &attended.lse, &sides)?;
        for form in forms.gradients {
            let (tokens, own_heads, results) = match form.of {
                Of::Queries => (queries, heads, vec![&gradients.q]),
                Of::KeysAndValues => (keys, kv_heads, vec![&gradients.k, &gradients.v]),
            };
            let tiles = tokens.div_ceil(form.cut.tokens());
            let groups = range.len() * own_heads * tiles;
            let mut params =
                [queries, keys, heads, problem.extents.group(), tiles, groups].map(|n| n as u32).to_vec();
            let mut bindings = Vec::new();
            let read = [problem.q, problem.k, problem.v, gradient, &sides];
            for tensor in read.into_iter().chain(results) {
                let window = window(tensor, bytes_of_batch(tensor, problem), &range);
                let unit = if tensor.dtype() == DType::F16 { 2 * CHUNK } else { 8 };
                params.push(window.shift(unit));
                bindings.push(window.binding);
            }
            params.resize(13, 0);
            params.push(problem.scale.to_bits());
            let kernel = KERNELS.get((form, head_dim), || form.kernel(head_dim));
            gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?;
        }
    }
    Ok(gradients)
}

impl Cut {
    /// Own tokens of a workgroup.
    fn tokens(self) -> usize {
        ROWS * self.subgroups * self.row_groups
    }

    fn threads(self) -> usize {
        LANES * self.subgroups
    }

    /// Whether a device has room for its kernels.
    fn fits(self, gpu: &Capabilities, head_dim: usize) -> bool {
        let text = Text::new(Gradient { of: Of::KeysAndValues, causal: false, cut: self }, head_dim);
        head_dim <= MOST_HEAD_DIM
            && text.workgroup_bytes() <= gpu.workgroup_bytes as usize
            && self.threads() <= gpu.workgroup_threads as usize
    }
}

/// The longest head whose sums for keys and values fit registers.
const MOST_HEAD_DIM: usize = 128;

impl Gradient {
    fn kernel(self, head_dim: usize) -> Kernel {
        let header = Header::new().enable("f16");
        let header = if self.cut.emulated { header } else { header.enable("wgpu_cooperative_matrix") };
        let mut text = Text::new(self, head_dim);
        text.declarations();
        text.main();
        let functions = text.matrices.functions(self.cut.threads());
        Kernel::new("sdpa_backward", &header, &(text.out + &functions))
    }
}

/// The text of a kernel as it grows.
struct Text {
    form: Gradient,
    shape: Shape,
    matrices: Matrices,
    out: String,
}

impl Text {
    fn new(form: Gradient, head_dim: usize) -> Self {
        let Cut { tile, row_groups, staged, emulated, .. } = form.cut;
        let shape = Shape { tile, row_groups, staged, head_dim, emulated };
        Self { form, shape, matrices: Matrices::new(shape), out: String::new() }
    }

    /// Values of workgroup memory: a tile of what passes, all scores, all weights, and numbers beside passing tokens.
    fn lengths(&self) -> [usize; 4] {
        let Cut { subgroups, row_groups, step, .. } = self.form.cut;
        let scores = subgroups * ROWS * self.shape.staged_row();
        let beside = if self.form.of == Of::Queries { 0 } else { step };
        [step * self.shape.tile_row(), scores, row_groups * scores, beside]
    }

    fn workgroup_bytes(&self) -> usize {
        let [tile, scores, weights, beside] = self.lengths();
        2 * 2 * tile + 4 * scores + 2 * weights + 8 * beside
    }

    /// The sums of tokens of the first passing array times gradients of scores, and of the second times weights.
    fn sums(&self) -> &'static [&'static str] {
        if self.form.of == Of::Queries { &["first"] } else { &["first", "second"] }
    }

    /// The arrays of own tokens, and of those that pass.
    fn arrays(&self) -> [[&'static str; 2]; 2] {
        match self.form.of {
            Of::Queries => [["q", "g"], ["k", "v"]],
            _ => [["k", "v"], ["q", "g"]],
        }
    }

    fn declarations(&mut self) {
        let [tile, scores, weights, beside] = self.lengths();
        self.out.push_str(CHUNKS);
        self.out.push_str(
            "struct Params {
    queries: u32, keys: u32, heads: u32, group: u32, tiles: u32, groups: u32, first_q: u32, first_k: u32, first_v: u32,
    first_g: u32, first_side: u32, first_result: u32, first_second: u32, scale: f32,
}
var<immediate> params: Params;
const NEVER: f32 = -1e30;
",
        );
        let mut arrays = vec![("read", "q", "Chunk"), ("read", "k", "Chunk"), ("read", "v", "Chunk")];
        arrays.extend([
            ("read", "g", "Chunk"),
            ("read", "sides", "vec2<f32>"),
            ("read_write", "result", "Chunk"),
        ]);
        if self.form.of == Of::KeysAndValues {
            arrays.push(("read_write", "second", "Chunk"));
        }
        for (i, (access, name, element)) in arrays.into_iter().enumerate() {
            line!(self.out, "@group(0) @binding({i}) var<storage, {access}> {name}: array<{element}>;");
        }
        line!(self.out, "var<workgroup> first_tile: array<f16, {tile}>;");
        line!(self.out, "var<workgroup> second_tile: array<f16, {tile}>;");
        line!(self.out, "var<workgroup> scores: array<f32, {scores}>;");
        line!(self.out, "var<workgroup> weights: array<f16, {weights}>;");
        if beside > 0 {
            line!(self.out, "var<workgroup> beside: array<vec2<f32>, {beside}>;");
        }
        self.out.push_str(&memory_functions(&["first_tile", "second_tile", "weights"]));
    }

    fn main(&mut self) {
        self.places();
        let of = self.form.of;
        let [own, _] = self.arrays();
        let (tokens, other_tokens) = match of {
            Of::Queries => ("params.queries", "params.keys"),
            _ => ("params.keys", "params.queries"),
        };
        for array in own {
            self.out.push_str(&self.matrices.own_rows(array, ["token", tokens]));
        }
        for name in self.sums() {
            self.out.push_str(&self.matrices.declare_sums(name));
        }
        if of == Of::Queries {
            for r in 0..self.form.cut.row_groups {
                let query = format!("min(token + {}u + row, params.queries - 1u)", r * ROWS);
                line!(self.out, "let side{r} = side_of(sides[side_place + {query}]);");
            }
        }
        self.pass(other_tokens);
        for (name, array) in self.sums().iter().zip(["result", "second"]) {
            for r in 0..self.form.cut.row_groups {
                self.write(name, r, array, tokens);
            }
        }
        line!(self.out, "}}");
        // With the exponent of a power of two.
        self.out.push_str(
            "fn side_of(x: vec2<f32>) -> vec2<f32> { return vec2<f32>(x.x * 1.4426950408889634, x.y); }\n",
        );
    }

    /// Which tokens, and where in storage and workgroup memory.
    fn places(&mut self) {
        let Cut { row_groups, .. } = self.form.cut;
        let (threads, tokens) = (self.form.cut.threads(), self.form.cut.tokens());
        let (chunks, row) = (self.shape.head_dim / CHUNK, self.shape.staged_row());
        line!(self.out, "@compute @workgroup_size({threads})");
        self.out.push_str(
            "fn main(@builtin(workgroup_id) id: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
let workgroup = id.x + id.y * 32768u;
if (workgroup >= params.groups) { return; }
let kv_heads = params.heads / params.group;
let subgroup = thread / 32u;
let lane = thread % 32u;
let row = lane / 2u;
let half = lane % 2u;
let factor = params.scale * 1.4426950408889634;
",
        );
        if self.form.cut.emulated {
            line!(self.out, "emulated_thread = thread;");
        }
        for (array, heads) in
            [("q", "params.heads"), ("g", "params.heads"), ("k", "kv_heads"), ("v", "kv_heads")]
        {
            line!(self.out, "let {array}_step = {heads} * {chunks}u;");
        }
        let mut placed = vec![("k", "keys", "kv_head"), ("v", "keys", "kv_head")];
        if self.form.of == Of::Queries {
            self.out.push_str(
                "let batch = workgroup / params.tiles / params.heads;
let head = workgroup / params.tiles % params.heads;
let kv_head = head / params.group;
let side_place = params.first_side + (batch * params.heads + head) * params.queries;
",
            );
            placed.extend([("q", "queries", "head"), ("g", "queries", "head")]);
        } else {
            self.out.push_str(
                "let batch = workgroup / params.tiles / kv_heads;
let kv_head = workgroup / params.tiles % kv_heads;
",
            );
        }
        for (array, count, head) in placed {
            line!(
                self.out,
                "let {array}_place = params.first_{array} + batch * params.{count} * {array}_step + {head} * {chunks}u;"
            );
        }
        // The last queries of a causal mask have most to do, and the first keys.
        let tile = match self.form {
            Gradient { of: Of::Queries, causal: true, .. } => {
                "(params.tiles - 1u - workgroup % params.tiles)"
            }
            _ => "workgroup % params.tiles",
        };
        line!(self.out, "let first_token = {tile} * {tokens}u;");
        line!(self.out, "let token = first_token + subgroup * {}u;", ROWS * row_groups);
        line!(self.out, "let score_base = subgroup * {}u;", ROWS * row);
        line!(self.out, "let score_row = score_base + row * {row}u + half * 4u;");
        line!(self.out, "let sum_row = score_base + row * {row}u + half * {CHUNK}u;");
        line!(self.out, "let weight_base = subgroup * {}u;", ROWS * row_groups * row);
        line!(self.out, "let weight_row = weight_base + row * {row}u + half * 4u;");
    }

    /// All passing tokens: the keys of a head of queries, or the queries of all heads of a head of keys.
    fn pass(&mut self, tokens: &str) {
        let Cut { step, staged, .. } = self.form.cut;
        let [_, [first, second]] = self.arrays();
        let passing = Passing {
            arrays: [[first, "first_tile"], [second, "second_tile"]],
            tokens,
            step,
            shape: self.shape,
            threads: self.form.cut.threads(),
        };
        let is_query = self.form.of == Of::Queries;
        let (begin, end) = match (is_query, self.form.causal) {
            (true, true) => {
                ("0u".to_owned(), format!("min({tokens}, first_token + {}u)", self.form.cut.tokens()))
            }
            (false, true) => (format!("first_token / {step}u * {step}u"), tokens.to_owned()),
            _ => ("0u".to_owned(), tokens.to_owned()),
        };
        line!(
            self.out,
            "let begin = {begin};\nlet steps = ({end} - min({end}, begin) + {}u) / {step}u;",
            step - 1
        );
        let chunks = self.shape.head_dim / CHUNK;
        let (heads, head, places, beside) = if is_query {
            ("1u", "", String::new(), String::new())
        } else {
            let place = |array: &str| {
                format!(
                    "let {array}_place = params.first_{array} + batch * params.queries * {array}_step + head * {chunks}u;\n"
                )
            };
            let beside = format!(
                "let side_place = params.first_side + (batch * params.heads + head) * params.queries;
for (var i = thread; i < {step}u; i += {}u) {{ beside[i] = side_of(sides[side_place + min(first + i, {tokens} - 1u)]); }}
",
                self.form.cut.threads()
            );
            let head = "let head = kv_head * params.group + turn / max(steps, 1u);\n";
            ("params.group", head, place("q") + &place("g"), beside)
        };
        let first = format!("begin + turn % max(steps, 1u) * {step}u");
        let ([registers, loads], put) = (passing.fetch(), passing.put(&beside));
        let fetch = format!("{head}{places}let next = {first};\n{loads}");
        line!(self.out, "let passes = steps * {heads};\n{registers}{{ let turn = 0u;\n{fetch}}}");
        line!(self.out, "for (var n = 0u; n < passes; n++) {{\nlet first = {};", first.replace("turn", "n"));
        line!(self.out, "{}{put}", head.replace("turn", "n"));
        line!(self.out, "if (n + 1u < passes) {{ let turn = n + 1u;\n{fetch}}}");
        for from in (0..step).step_by(staged) {
            line!(self.out, "{{");
            self.step(from);
            line!(self.out, "}}");
        }
        line!(self.out, "}}");
    }

    /// The staged tokens from `from` on.
    fn step(&mut self, from: usize) {
        let Cut { staged, row_groups, .. } = self.form.cut;
        let [[first, second], _] = self.arrays();
        self.out.push_str(&self.matrices.products("x", [first, "first_tile"], from, "factor"));
        self.out.push_str(&self.matrices.products("y", [second, "second_tile"], from, "1.0"));
        self.mask(from);
        for i in 0..staged / 8 {
            line!(self.out, "{{");
            if self.form.of != Of::Queries {
                // Numbers beside four tokens, of which lanes take turns.
                for j in 0..4 {
                    line!(self.out, "let beside{j} = beside[{}u + half * 4u];", from + 8 * i + j);
                }
                let four = |part: char| {
                    format!("vec4<f32>(beside0.{part}, beside1.{part}, beside2.{part}, beside3.{part})")
                };
                line!(self.out, "let logs = {};\nlet sums = {};", four('x'), four('y'));
            }
            for r in 0..row_groups {
                let [logs, sums] = match self.form.of {
                    Of::Queries => [format!("side{r}.x"), format!("side{r}.y")],
                    _ => ["logs".to_owned(), "sums".to_owned()],
                };
                line!(self.out, "x{r}_{i} = exp2(x{r}_{i} - {logs});");
                line!(self.out, "y{r}_{i} = x{r}_{i} * (y{r}_{i} - {sums});");
            }
            line!(self.out, "}}");
        }
        if self.form.of == Of::KeysAndValues {
            self.add("x", "second", "second_tile", from);
            line!(self.out, "{}", self.matrices.meet());
        }
        self.add("y", "first", "first_tile", from);
    }

    /// Pairs that have nothing to do with each other weigh nothing.
    fn mask(&mut self, from: usize) {
        let Gradient { of, causal, cut } = self.form;
        let end = from + cut.staged;
        let is_query = of == Of::Queries;
        let tokens = if is_query { "params.keys" } else { "params.queries" };
        let crosses = match (causal, is_query) {
            (false, _) => String::new(),
            (true, true) => format!(" || first + {}u > token", end - 1),
            (true, false) => format!(" || first + {from}u < token + {}u", ROWS * cut.row_groups - 1),
        };
        line!(self.out, "if (first + {end}u > {tokens}{crosses}) {{");
        line!(self.out, "let place = vec4<u32>(first + {from}u + half * 4u) + vec4<u32>(0u, 1u, 2u, 3u);");
        for r in 0..cut.row_groups {
            let own = format!("token + {}u + row", r * ROWS);
            for i in 0..cut.staged / 8 {
                let passing = format!("place + {}u", 8 * i);
                let open = match (causal, is_query) {
                    (false, _) => format!("{passing} < vec4<u32>({tokens})"),
                    (true, true) => format!("{passing} < vec4<u32>(min({tokens}, {own} + 1u))"),
                    (true, false) => {
                        format!("({passing} < vec4<u32>({tokens})) & ({passing} >= vec4<u32>({own}))")
                    }
                };
                line!(self.out, "x{r}_{i} = select(vec4<f32>(NEVER), x{r}_{i}, {open});");
            }
        }
        line!(self.out, "}}");
    }

    /// Adds the numbers `NAME` times the staged tokens of a tile to sums.
    fn add(&mut self, name: &str, sums: &str, tile: &str, from: usize) {
        for r in 0..self.shape.row_groups {
            for i in 0..self.shape.staged / 8 {
                let at = r * ROWS * self.shape.staged_row() + 8 * i;
                line!(self.out, "put_four_weights(weight_row + {at}u, vec4<f16>({name}{r}_{i}));");
            }
        }
        line!(self.out, "{}", self.matrices.meet());
        self.out.push_str(&self.matrices.add_weighted(sums, tile, from));
    }

    /// The sums of a row group to storage; those of gradients of scores are scaled.
    fn write(&mut self, sums: &str, r: usize, array: &str, tokens: &str) {
        let factor = if sums == "first" { "params.scale" } else { "1.0" };
        let (stride, in_head) = (self.shape.staged_row(), self.shape.head_dim / CHUNK);
        let place = if self.form.of == Of::Queries {
            "((batch * params.queries + own) * params.heads + head)"
        } else {
            "((batch * params.keys + own) * kv_heads + kv_head)"
        };
        line!(self.out, "{{\nlet own = token + {}u + row;", r * ROWS);
        line!(self.out, "let place = params.first_{array} + {place} * {in_head}u;");
        for first in (0..self.shape.padded()).step_by(ROWS) {
            line!(self.out, "{}", self.matrices.meet());
            self.out.push_str(&self.matrices.store_sums(sums, r, first, [ROWS, stride]));
            let part = |n: usize| format!("vec4<f16>(four_scores(sum_row + {n}u) * {factor})");
            let (column, chunk) =
                (format!("{}u + half", first / CHUNK), format!("Chunk({}, {})", part(0), part(4)));
            line!(
                self.out,
                "if (own < {tokens} && {column} < {in_head}u) {{ {array}[place + {column}] = {chunk}; }}"
            );
        }
        line!(self.out, "}}");
    }
}
