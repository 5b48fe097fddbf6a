//! The nearest row of a database for every query row, without the matrix of all similarities.

pub(crate) mod bench;
mod cpu;
mod reference;
pub(crate) mod tests;

use crate::error::{OpError, host};
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

/// How the answer is found; it is the same answer, bit for bit.
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
/// Holds the rows (shared with the tensor they came from) and, for [`Metric::Dot`], an 8-bit copy with the
/// norms of its rounding errors.
#[derive(Clone, Debug)]
pub struct Database {
    rows: Tensor,
    metric: Metric,
    prepared: Arc<cpu::Prepared>,
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
        let values = host::<f32>(OP, "rows", rows)?;
        let prepared = Arc::new(cpu::Prepared::new(values, depth, metric));
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
/// - `queries`: `[queries, depth]`, f32
/// - returns: `[queries]`, u32
///
/// # Numerics
/// A score is one chain of fused multiply-adds in f32, in the order of the columns, on every CPU: so every
/// CPU and every number of threads gives the same index. The 8-bit filter only skips rows that provably
/// score less than a row already seen (see `cpu/filter.rs`). A score that is NaN never wins; a query without any
/// score above minus infinity, for example one that holds a NaN, gets index 0.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if `queries` does not fit the database.
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
    let values = host::<f32>(OP, "queries", queries)?;
    let rows = host::<f32>(OP, "rows", &database.rows)?;
    let (indices, work) = cpu::search(values, rows, &database.prepared, search);
    Ok(Answer {
        indices: crate::error::on_cpu(&[count], indices),
        rechecked_share: work.rechecked_share(),
        filter_gave_up: work.gave_up,
    })
}
