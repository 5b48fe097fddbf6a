//! Where tokens stand.

use super::Config;
use super::config::Positions;
use crate::ModelError;
use std::borrow::Cow;
use steropes_nn::Rotary;
use steropes_ops::position::rope3d::rope3d_tables;
use steropes_tensor::Device;

/// Base of the rotary frequencies.
const ROPE_BASE: f64 = 10_000.0;

/// Tubelets, rows and columns of the tokens of a clip. Token `(t rows + r) columns + c` is that of tubelet `t`, row `r`, column `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Grid {
    /// Tubelets.
    pub tubelets: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Columns of patches.
    pub columns: usize,
}

impl Grid {
    /// Tokens of a tubelet.
    pub fn tokens_each(&self) -> usize {
        self.rows * self.columns
    }

    /// Tokens of a clip.
    pub fn tokens(&self) -> usize {
        self.tubelets * self.tokens_each()
    }
}

/// The numbers of the tokens of each batch element, or of all alike.
pub(crate) type Ids = Vec<Vec<u32>>;

/// How far queries and keys turn at the places of tokens with the numbers `ids` (none stands for all in order), as `config` says.
///
/// # Errors
/// [`ModelError::Device`] if the device has no memory for the tables.
pub(crate) fn rotary(
    device: &Device,
    config: &Config,
    head_dim: usize,
    grid: Grid,
    ids: Option<&Ids>,
) -> Result<Rotary, ModelError> {
    let ids = ids.map_or_else(|| Cow::Owned(vec![(0..grid.tokens() as u32).collect()]), Cow::Borrowed);
    let rule = Rule::of(config, grid);
    let places: Vec<[f64; 3]> = ids.iter().flatten().map(|&id| rule.place(id)).collect();
    let tables = rope3d_tables(
        device,
        &places,
        ids.len(),
        head_dim,
        ROPE_BASE,
        config.rope_angles,
        config.rope_rounding,
    )?;
    Ok(Rotary::Space(tables))
}

/// How numbers become places.
struct Rule {
    rows: usize,
    columns: usize,
    /// What rows and columns are multiplied by.
    scale: [f64; 2],
}

impl Rule {
    fn of(config: &Config, grid: Grid) -> Self {
        let (rows, columns) = match config.positions {
            Positions::Clip => (grid.rows, grid.columns),
            Positions::CropSize => (config.crop_side(), config.crop_side()),
        };
        // A single row is at 0 whatever it is multiplied by.
        let scale = |extent: usize| match config.rope_cells {
            Some(cells) if extent > 1 => (cells - 1) as f64 / (extent - 1) as f64,
            _ => 1.0,
        };
        Self { rows, columns, scale: [scale(rows), scale(columns)] }
    }

    /// Time, height and width.
    fn place(&self, id: u32) -> [f64; 3] {
        let id = id as usize;
        let (t, row, column) =
            (id / (self.rows * self.columns), id / self.columns % self.rows, id % self.columns);
        [t as f64, row as f64 * self.scale[0], column as f64 * self.scale[1]]
    }
}
