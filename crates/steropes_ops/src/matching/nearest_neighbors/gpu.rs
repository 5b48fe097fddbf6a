//! Plan, pipeline choice and launches.

use super::{Database, Metric, OP};
use crate::error::OpError;
use crate::gpu::{bind, row_ranges, window};
use std::ops::Range;
use steropes_tensor::{Binding, Capabilities, DType, Gpu, Header, Kernel, Tensor, spread};

/// Vectors of four columns of a row that an invocation can hold beside its sums; deeper rows are read again for every tile.
const MOST_VECTORS: u32 = 8;
/// Vectors that the queries of an invocation take together, at most.
const QUERY_VECTORS: u32 = 24;
/// Workgroups that keep a large GPU busy to the end.
const WORKGROUPS: usize = 2048;
/// Rows of a range at least, so that reading the queries and merging the ranges stays a small part.
const ROWS_PER_RANGE: usize = 1024;
/// Queries that fill a large GPU with the largest workgroups.
const MANY_QUERIES: usize = 1 << 16;
/// A finite number that no score reaches from below: what a query has before its first row.
const LOWEST: f32 = f32::MIN;

/// How the work is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Invocations of a workgroup.
    pub(super) threads: u32,
    /// Queries of an invocation.
    pub(super) queries: u32,
    /// Rows in workgroup memory.
    pub(super) tile: u32,
    /// Rows scored side by side; divides `tile`. Deep rows are scored a tile at a time.
    pub(super) step: u32,
    /// Workgroups that are wanted: with fewer groups of queries the rows are cut into ranges.
    pub(super) workgroups: usize,
}

impl Plan {
    /// The plan for so many queries of so many columns.
    pub(super) fn choose(caps: &Capabilities, queries: usize, depth: usize) -> Self {
        let vectors = vectors(depth);
        let threads = caps.workgroup_threads.min(if queries < MANY_QUERIES { 128 } else { 256 });
        if vectors > MOST_VECTORS {
            return Self { threads, queries: 1, tile: 16, step: 16, workgroups: WORKGROUPS };
        }
        let most = (QUERY_VECTORS / vectors).clamp(1, 8);
        let needed = queries.div_ceil(threads as usize).clamp(1, 8) as u32;
        Self { threads, queries: most.min(needed), tile: 64, step: 2, workgroups: WORKGROUPS }
    }

    /// Queries of a workgroup.
    fn group(self) -> usize {
        (self.threads * self.queries) as usize
    }

    /// Ranges that so many rows are cut into.
    fn ranges(self, queries: usize, rows: usize) -> usize {
        let groups = queries.div_ceil(self.group()).max(1);
        self.workgroups.div_ceil(groups).clamp(1, rows.div_ceil(ROWS_PER_RANGE))
    }
}

/// `[queries]`, u32: the row of `database` nearest to each of `queries`, or to as many of them as `count` `[1]`, u32, says.
pub(super) fn search(
    gpu: &Gpu,
    queries: &Tensor,
    count: Option<&Tensor>,
    database: &Database,
) -> Result<Tensor, OpError> {
    let plan = Plan::choose(gpu.capabilities(), queries.shape()[0], database.depth());
    search_by(gpu, queries, count, database, plan)
}

/// [`search`] by a chosen plan.
pub(super) fn search_by(
    gpu: &Gpu,
    queries: &Tensor,
    asked: Option<&Tensor>,
    database: &Database,
    plan: Plan,
) -> Result<Tensor, OpError> {
    let &[count, depth] = queries.shape() else { unreachable!("the shape was checked") };
    let rows = &database.rows;
    let nearest = Tensor::on_gpu(gpu, OP, DType::U32, &[count])?;
    let row_bytes = depth * size_of::<f32>();
    let slices = Slice::cut(gpu, rows.shape()[0], row_bytes, plan, count)?;
    let slots = slices.iter().map(|slice| slice.ranges).sum::<usize>();
    let slot_bytes = slots * size_of::<[u32; 2]>();
    let [scan, merge] = kernels(database.metric, depth, plan, asked.is_some());
    let value = if depth.is_multiple_of(4) { size_of::<[f32; 4]>() } else { size_of::<f32>() };
    for part in row_ranges(OP, gpu, count, &[row_bytes, slot_bytes])? {
        let some = window(queries, row_bytes, &part);
        let best = Tensor::on_gpu(gpu, OP, DType::U32, &[slots, part.len(), 2])?;
        let groups = part.len().div_ceil(plan.group());
        let mut first_slot = 0;
        for Slice { rows: slice, range, ranges } in &slices {
            let from = window(rows, row_bytes, slice);
            let counts = [part.len(), slice.len(), slice.start, *range, groups, first_slot, part.start];
            let shifts = [some.shift(value), from.shift(value)];
            let words = [counts.map(|p| p as u32).as_slice(), &shifts].concat();
            let bindings = [some.binding, from.binding, bind(&best)];
            gpu.launch(&scan, &counted(&bindings, asked), &words, spread((groups * ranges) as u64))?;
            first_slot += ranges;
        }
        let to = window(&nearest, size_of::<u32>(), &part);
        let bindings = [bind(&best), to.binding];
        let words = [part.len() as u32, slots as u32, part.start as u32, to.shift(size_of::<u32>())];
        let groups = part.len().div_ceil(plan.threads as usize) as u64;
        gpu.launch(&merge, &counted(&bindings, asked), &words, spread(groups))?;
    }
    Ok(nearest)
}

/// Rows that fit a binding.
struct Slice {
    rows: Range<usize>,
    /// Rows of a range, whole tiles.
    range: usize,
    /// How many ranges there are, none empty.
    ranges: usize,
}

impl Slice {
    fn cut(
        gpu: &Gpu,
        rows: usize,
        row_bytes: usize,
        plan: Plan,
        queries: usize,
    ) -> Result<Vec<Self>, OpError> {
        let slice = |rows: Range<usize>| {
            let step = rows.len().div_ceil(plan.ranges(queries, rows.len()));
            let range = step.next_multiple_of(plan.tile as usize);
            Self { range, ranges: rows.len().div_ceil(range), rows }
        };
        Ok(row_ranges(OP, gpu, rows, &[row_bytes])?.into_iter().map(slice).collect())
    }
}

fn counted<'a>(bindings: &[Binding<'a>], count: Option<&'a Tensor>) -> Vec<Binding<'a>> {
    bindings.iter().copied().chain(count.map(bind)).collect()
}

fn vectors(depth: usize) -> u32 {
    depth.div_ceil(4) as u32
}

/// The scan of the rows and the merge of its ranges.
fn kernels(metric: Metric, depth: usize, plan: Plan, counted: bool) -> [Kernel; 2] {
    let vectors = vectors(depth);
    let header = Header::new()
        .count("DEPTH", depth as u32)
        .count("VECTORS", vectors)
        .count("QUERIES", plan.queries)
        .count("TILE", plan.tile)
        .count("STEP", plan.step);
    let whole = depth.is_multiple_of(4);
    let header = header
        .alias("Value", if whole { "vec4<f32>" } else { "f32" })
        .text(include_str!("scan.wgsl"))
        .text(if whole { include_str!("whole_vectors.wgsl") } else { include_str!("single_columns.wgsl") })
        .text(match metric {
            Metric::Dot => include_str!("dot.wgsl"),
            Metric::Euclidean => include_str!("euclidean.wgsl"),
        });
    let common = |header: Header, count_binding: u32| {
        let header = header.count("THREADS", plan.threads).number("LOWEST", LOWEST);
        header.text(&query_count(counted.then_some(count_binding)))
    };
    let scan = if vectors > MOST_VECTORS {
        let header = common(header, 3).count("CHUNK", MOST_VECTORS);
        Kernel::new("nearest_neighbors_deep", &header, include_str!("deep_rows.wgsl"))
    } else {
        Kernel::new("nearest_neighbors", &common(header, 3), include_str!("nearest_neighbors.wgsl"))
    };
    let merge = common(Header::new(), 2);
    [scan, Kernel::new("nearest_neighbors_merge", &merge, include_str!("merge_ranges.wgsl"))]
}

/// `fn query_count() -> u32`: how many of the queries from `params.first_query` on, at most `params.queries`, are asked for.
fn query_count(binding: Option<u32>) -> String {
    match binding {
        None => "fn query_count() -> u32 {\n    return params.queries;\n}\n".to_owned(),
        Some(binding) => format!(
            "@group(0) @binding({binding}) var<storage, read> asked: array<u32>;\n\
             fn query_count() -> u32 {{\n    \
                 return min(max(asked[0], params.first_query) - params.first_query, params.queries);\n\
             }}\n"
        ),
    }
}
