//! Which form of the product runs, and in which tiles.

use steropes_tensor::{Capabilities, DType};

/// The form and the tiles of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Multiply-adds of scalars.
    Plain(PlainTile),
    /// The matrices of subgroups.
    Matrix(MatrixTile),
}

/// Extents of the plain form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlainTile {
    /// Rows and columns of a workgroup's tile.
    pub(crate) tile: [u32; 2],
    /// Rows and columns of an invocation's part, multiples of 4.
    pub(crate) part: [u32; 2],
}

/// Extents of the matrix form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MatrixTile {
    /// Side of the device's square matrices.
    pub(crate) side: u32,
    /// Rows and columns of a workgroup's tile.
    pub(crate) tile: [u32; 2],
    /// Rows and columns of a subgroup's part.
    pub(crate) part: [u32; 2],
    /// Whether workgroup memory is an array of vectors of four, which Metal cannot load matrices from.
    pub(crate) vectors: bool,
    /// Whether matrices are replaced by arrays that every invocation computes for itself, to test everything around them on a
    /// device without matrices.
    pub(crate) emulated: bool,
}

/// What a plan depends on besides the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) dtype: DType,
}

/// Workgroups that keep a large GPU busy.
const ENOUGH_TILES: usize = 128;

/// Columns below which matrices would mostly multiply zeros.
const LEAST_MATRIX_COLUMNS: usize = 16;

impl PlainTile {
    pub(crate) const LARGE: Self = Self { tile: [128, 128], part: [8, 8] };
    pub(crate) const MEDIUM: Self = Self { tile: [64, 64], part: [8, 4] };
    /// For at most 16 columns.
    pub(crate) const NARROW: Self = Self { tile: [128, 16], part: [4, 4] };
    /// For at most 4 columns.
    pub(crate) const THIN: Self = Self { tile: [256, 4], part: [4, 4] };
    /// For at most 4 rows.
    pub(crate) const FLAT: Self = Self { tile: [4, 256], part: [4, 4] };
    /// Columns of the left rows that are in workgroup memory at once.
    pub(crate) const DEPTH: u32 = 16;

    fn choose(extents: &Extents) -> Self {
        match *extents {
            Extents { columns: ..=4, .. } => Self::THIN,
            Extents { columns: ..=16, .. } => Self::NARROW,
            Extents { rows: ..=4, .. } => Self::FLAT,
            Extents { rows, columns, .. } if tiles(rows, columns, Self::LARGE.tile) >= ENOUGH_TILES => {
                Self::LARGE
            }
            Extents { .. } => Self::MEDIUM,
        }
    }

    /// Invocations along the tile's rows and columns.
    pub(crate) fn grid(self) -> [u32; 2] {
        [self.tile[0] / self.part[0], self.tile[1] / self.part[1]]
    }

    /// Floats between one column of a tile in workgroup memory and the next.
    pub(crate) fn pitch(side: u32) -> u32 {
        side + 4
    }

    fn workgroup_bytes(self) -> u32 {
        4 * Self::DEPTH * (Self::pitch(self.tile[0]) + Self::pitch(self.tile[1]))
    }
}

impl MatrixTile {
    /// Columns of the left rows that are in workgroup memory at once.
    pub(crate) const DEPTH: u32 = 32;
    /// Columns of a strip that sums leave through.
    pub(crate) const STRIP: u32 = 16;

    /// Tiles for matrices of `side` in `dtype`, the largest first; all give the same bits.
    fn all(side: u32, dtype: DType) -> &'static [[[u32; 2]; 2]] {
        match (side, dtype) {
            // Metal: 8 x 8 matrices take as many registers for a part of 32 x 32 as 16 x 16 ones for 64 x 64.
            (16, DType::F16) => &[[[128, 128], [64, 64]], [[64, 64], [32, 32]]],
            _ => &[[[64, 64], [32, 32]], [[32, 32], [16, 16]]],
        }
    }

    fn choose(gpu: &Capabilities, extents: &Extents) -> Option<Self> {
        let side = gpu.matrix_tile(extents.dtype).filter(|_| extents.columns >= LEAST_MATRIX_COLUMNS)?;
        let fitting = Self::all(side, extents.dtype).iter().map(|&[tile, part]| Self {
            side,
            tile,
            part,
            vectors: side == 16,
            emulated: false,
        });
        let fitting = || fitting.clone().filter(|t| t.fits(gpu, extents.dtype));
        fitting()
            .find(|t| tiles(extents.rows, extents.columns, t.tile) >= ENOUGH_TILES)
            .or_else(|| fitting().next_back())
    }

    fn fits(self, gpu: &Capabilities, dtype: DType) -> bool {
        self.threads() <= gpu.workgroup_threads && self.workgroup_bytes(dtype) <= gpu.workgroup_bytes
    }

    /// Invocations of a workgroup.
    pub(crate) fn threads(self) -> u32 {
        self.subgroups() * 32
    }

    /// Subgroups of a workgroup.
    pub(crate) fn subgroups(self) -> u32 {
        (self.tile[0] / self.part[0]) * (self.tile[1] / self.part[1])
    }

    /// Elements between one row of a tile in workgroup memory and the next: 16 bytes more than the row has, so that the rows of
    /// a matrix lie in different banks.
    pub(crate) fn pitch(dtype: DType) -> u32 {
        Self::DEPTH + 16 / dtype.size_bytes() as u32
    }

    /// Floats of a strip: rows of one matrix, 16 bytes apart more than they have.
    pub(crate) fn strip_len(self) -> u32 {
        self.side * (Self::STRIP + 4)
    }

    fn workgroup_bytes(self, dtype: DType) -> u32 {
        let tiles = (self.tile[0] + self.tile[1]) * Self::pitch(dtype) * dtype.size_bytes() as u32;
        tiles + self.subgroups() * self.strip_len() * 4
    }
}

impl Plan {
    /// The form for a device. Matrices or not does not depend on the rows, and all tiles of a form give the same bits, so that a
    /// row's result does not depend on the others.
    pub(crate) fn choose(gpu: &Capabilities, extents: &Extents) -> Self {
        if let Some(tile) = MatrixTile::choose(gpu, extents) {
            return Self::Matrix(tile);
        }
        let tile = PlainTile::choose(extents);
        let [down, across] = tile.grid();
        let fits = tile.workgroup_bytes() <= gpu.workgroup_bytes && down * across <= gpu.workgroup_threads;
        Self::Plain(if fits { tile } else { PlainTile::MEDIUM })
    }

    /// Rows and columns of a workgroup's tile.
    pub(crate) fn tile(self) -> [u32; 2] {
        match self {
            Self::Plain(tile) => tile.tile,
            Self::Matrix(tile) => tile.tile,
        }
    }

    /// Columns of the left rows that are in workgroup memory at once.
    pub(crate) fn depth(self) -> u32 {
        match self {
            Self::Plain(_) => PlainTile::DEPTH,
            Self::Matrix(_) => MatrixTile::DEPTH,
        }
    }
}

/// Tiles that cover a result.
pub(crate) fn tiles(rows: usize, columns: usize, tile: [u32; 2]) -> usize {
    rows.div_ceil(tile[0] as usize) * columns.div_ceil(tile[1] as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use steropes_tensor::{GpuApi, MatrixShape};

    fn gpu(side: u32, input: DType, workgroup_bytes: u32) -> Capabilities {
        Capabilities {
            name: "a device".to_owned(),
            api: GpuApi::Metal,
            driver: String::new(),
            software: false,
            f16: true,
            subgroup: Some([32, 32]),
            matrices: vec![MatrixShape { mnk: [side; 3], input, sum: DType::F32 }],
            timestamps: true,
            max_binding_bytes: 1 << 30,
            max_buffer_bytes: 1 << 30,
            workgroup_bytes,
            workgroup_threads: 1024,
        }
    }

    #[test]
    fn tiles_fit_workgroup_memory() {
        for (side, dtype) in [(8, DType::F16), (8, DType::F32), (16, DType::F16)] {
            for kib in [16, 32, 48] {
                let gpu = gpu(side, dtype, kib * 1024);
                for rows in [1, 100, 4096] {
                    match Plan::choose(&gpu, &Extents { rows, columns: 4096, dtype }) {
                        Plan::Matrix(tile) => assert!(tile.fits(&gpu, dtype), "{tile:?} in {kib} KiB"),
                        Plan::Plain(tile) => panic!("{tile:?} in {kib} KiB although there are matrices"),
                    }
                }
            }
        }
    }

    #[test]
    fn matrices_do_not_depend_on_the_rows() {
        let gpu = gpu(16, DType::F16, 48 * 1024);
        for columns in [1, 4, 15, 16, 17, 1000] {
            let is_matrix = |rows| {
                let extents = Extents { rows, columns, dtype: DType::F16 };
                matches!(Plan::choose(&gpu, &extents), Plan::Matrix(_))
            };
            assert!([1, 5, 128, 100_000].into_iter().all(|rows| is_matrix(rows) == (columns >= 16)));
        }
    }
}
