//! An earlier run, to compare with.

use super::Row;
use anyhow::Context as _;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// The rows of an earlier `--json`.
pub(super) struct Earlier {
    median_ms: HashMap<String, f64>,
}

#[derive(Deserialize)]
struct Stored {
    rows: Vec<Row>,
}

impl Earlier {
    /// # Errors
    /// The file cannot be read or does not hold rows.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let stored: Stored = serde_json::from_str(&text)
            .with_context(|| format!("`{}` does not come from `steropes bench --json`", path.display()))?;
        let row = |row: Row| (row.name, row.median_ms);
        Ok(Self { median_ms: stored.rows.into_iter().map(row).collect() })
    }

    /// How many times as fast the row became; `None` if it is new.
    pub(super) fn speedup(&self, row: &Row) -> Option<f64> {
        Some(self.median_ms.get(&row.name)? / row.median_ms)
    }
}
