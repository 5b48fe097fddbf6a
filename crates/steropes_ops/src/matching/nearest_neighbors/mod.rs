//! The nearest row of a database for every query row, without the matrix of all similarities.

pub(crate) mod bench;
mod cpu;
mod gpu;
mod reference;
pub(crate) mod tests;

use super::gather_rows::gather_rows;
use super::lookup_table::Asked;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use std::sync::Arc;
use steropes_tensor::{Device, Tensor};

const OP: &str = "matching::nearest_neighbors";

/// What makes a row near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The largest dot product.
    Dot,
    /// The smallest Euclidean distance.
    Euclidean,
}

/// How the answer is found; on a CPU it is the same answer, bit for bit. On a GPU all are [`Search::Exact`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// With the 8-bit filter where it can work, until it proves not to pay: the fastest.
    Auto,
    /// Every score in f32.
    Exact,
    /// With the 8-bit filter to the end, paying or not. As [`Search::Exact`] where there is no filter.
    Filtered,
}

/// Rows that queries are compared with, prepared once for many calls of [`nearest_neighbors`].
///
/// Holds the rows (shared with the tensor they came from) and, on the CPU for [`Metric::Dot`], an 8-bit copy with the
/// norms of its rounding errors.
#[derive(Clone, Debug)]
pub struct Database {
    rows: Tensor,
    metric: Metric,
    /// What the CPU kernels need; `None` on a GPU.
    prepared: Option<Arc<cpu::Prepared>>,
}

impl Database {
    /// Prepares `rows` `[rows, depth]` (f32, at least one row and one column) on their device.
    ///
    /// # Errors
    /// [`OpError::Shape`] or [`OpError::DType`] if `rows` is not as above.
    pub fn new(rows: &Tensor, metric: Metric) -> Result<Self, OpError> {
        let &[count, depth] = rows.shape() else {
            return Err(OpError::shape(OP, "rows", "[rows, depth]", rows.shape()));
        };
        if count == 0 || depth == 0 || u32::try_from(count).is_err() {
            let expected = "[rows, depth] with 1 to 2^32 - 1 rows and a depth of at least 1";
            return Err(OpError::shape(OP, "rows", expected, rows.shape()));
        }
        let prepared = match place(OP, &[("rows", rows, Holds::F32)])? {
            Place::Cpu => Some(Arc::new(cpu::Prepared::new(values(rows), depth, metric))),
            Place::Gpu(_) => None,
        };
        Ok(Self { rows: rows.clone(), metric, prepared })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.shape()[0]
    }

    /// Never: a database has at least one row.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The number of values of a row.
    pub fn depth(&self) -> usize {
        self.rows.shape()[1]
    }

    /// The metric that it was prepared for.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The device that holds the rows.
    pub fn device(&self) -> Device {
        self.rows.device()
    }
}

/// The answer of [`nearest_neighbors_by`] and the work it took.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `[queries]`, u32: the index of the nearest row.
    pub indices: Tensor,
    /// Blocks of rows that the filter let pass for a query, over all blocks it looked at; `None` if it was not used.
    pub rechecked_share: Option<f64>,
    /// Whether a part of the rows was scanned in f32 because the filter did not pay.
    pub filter_gave_up: bool,
}

/// The index of the row of `database` that is nearest to each query, the lowest index among equals.
///
/// Of all rows `k`, the one with the largest score `q . k` ([`Metric::Dot`]) or `-|q - k|²`
/// ([`Metric::Euclidean`]). The scores are never stored.
///
/// # Shapes
/// - `queries`: `[queries, depth]`, f32, on the device of the database
/// - returns: `[queries]`, u32, on that device
///
/// # Numerics
/// A score is one chain of fused multiply-adds in f32, in the order of the columns, on every CPU: so every
/// CPU and every number of threads gives the same index. The 8-bit filter only skips rows that provably
/// score less than a row already seen (see `cpu/filter.rs`). A score that is NaN never wins; a query without any
/// score above minus infinity, for example one that holds a NaN, gets index 0.
///
/// On a GPU the chain is the same, but whether its steps are fused is up to the driver, and subnormal numbers may be
/// zero. So the score of the row `k` that is found is within `2 (depth + 2) 2^-24 (|q|² + |k|² + |b|²)` of that of the best
/// row `b`, twice what the rounding of a chain can be, and where all sums are exact the answer is the CPU's. Rows that are
/// equal bit for bit have equal scores, so the lowest of them is found. Equal runs give equal answers. A score that is NaN,
/// or not above `f32::MIN`, never wins.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if `queries` does not fit the database.
///
/// # Source
/// Written from the formula.
pub fn nearest_neighbors(queries: &Tensor, database: &Database) -> Result<Tensor, OpError> {
    Ok(nearest_neighbors_by(queries, database, Search::Auto)?.indices)
}

/// [`nearest_neighbors`] by a chosen search, with a report of its work.
///
/// # Shapes
/// As [`nearest_neighbors`].
///
/// # Errors
/// As [`nearest_neighbors`].
///
/// # Source
/// Written from the formula.
pub fn nearest_neighbors_by(
    queries: &Tensor,
    database: &Database,
    search: Search,
) -> Result<Answer, OpError> {
    let depth = database.depth();
    let &[count, found] = queries.shape() else {
        return Err(OpError::shape(OP, "queries", format!("[queries, {depth}]"), queries.shape()));
    };
    if found != depth {
        return Err(OpError::shape(OP, "queries", format!("[queries, {depth}]"), queries.shape()));
    }
    // The database first: it is what the queries have to fit.
    let arguments = [("rows", &database.rows, Holds::F32), ("queries", queries, Holds::F32)];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let prepared = database.prepared.as_ref().expect("prepared where the rows are");
            let (indices, work) = cpu::search(values(queries), values(&database.rows), prepared, search);
            Ok(Answer {
                indices: on_cpu(&[count], indices),
                rechecked_share: work.rechecked_share(),
                filter_gave_up: work.gave_up,
            })
        }
        Place::Gpu(gpu) => {
            let indices = gpu::search(&gpu, queries, None, database)?;
            Ok(Answer { indices, rechecked_share: None, filter_gave_up: false })
        }
    }
}

/// The index of the row of `database` that is nearest to each pixel of `asked`, whose descriptors are rows of `source`.
///
/// # Shapes
/// - `source`: `[pixels, depth]`, f32
/// - `asked`: pixels of `source`
/// - returns: `[tracks]`, u32; unspecified behind the count
///
/// # Numerics
/// As [`nearest_neighbors`].
///
/// # Errors
/// As [`nearest_neighbors`].
///
/// # Source
/// Written from the formula.
pub fn nearest_neighbors_of(source: &Tensor, asked: &Asked, database: &Database) -> Result<Tensor, OpError> {
    let depth = database.depth();
    if !matches!(source.shape(), &[_, found] if found == depth) {
        return Err(OpError::shape(OP, "source", format!("[pixels, {depth}]"), source.shape()));
    }
    if asked.count.shape() != [1] {
        return Err(OpError::shape(OP, "asked.count", "[1]", asked.count.shape()));
    }
    let arguments = [
        ("rows", &database.rows, Holds::F32),
        ("source", source, Holds::F32),
        ("asked", &asked.pixels, Holds::U32),
        ("asked.count", &asked.count, Holds::U32),
    ];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let pixels: &[u32] = values(&asked.pixels);
            let count = (values::<u32>(&asked.count)[0] as usize).min(pixels.len());
            let queries = gather_rows(source, &on_cpu(&[count], pixels[..count].to_vec()))?;
            let mut nearest = nearest_neighbors(&queries, database)?.into_vec::<u32>()?;
            nearest.resize(pixels.len(), 0);
            Ok(on_cpu(&[pixels.len()], nearest))
        }
        Place::Gpu(gpu) => {
            let queries = gather_rows(source, &asked.pixels)?;
            gpu::search(&gpu, &queries, Some(&asked.count), database)
        }
    }
}
