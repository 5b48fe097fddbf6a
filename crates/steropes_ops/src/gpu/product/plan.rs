//! Which form of the product runs, and in which tiles.

use steropes_tensor::{Capabilities, DType};

/// The form and the tiles of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Plan {
    /// Multiply-adds of scalars.
    Plain(PlainTile),
    /// The matrices of subgroups.
    Matrix(MatrixTile),
}

/// Extents of the plain form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PlainTile {
    /// Rows and columns of a workgroup's tile.
    pub(crate) tile: [u32; 2],
    /// Rows and columns of an invocation's part, multiples of 4.
    pub(crate) part: [u32; 2],
}

/// Extents of the matrix form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MatrixTile {
    /// Side of the device's square matrices.
    pub(crate) side: u32,
    /// Rows and columns of a workgroup's tile.
    pub(crate) tile: [u32; 2],
    /// Rows and columns of a subgroup's part.
    pub(crate) part: [u32; 2],
    /// Columns of the left rows that are in workgroup memory at once; divides the padded depth.
    pub(crate) depth: u32,
    /// Whether matrices are replaced by arrays that every invocation computes for itself, to test everything around them on a
    /// device without matrices.
    pub(crate) emulated: bool,
}

/// What a plan depends on besides the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extents {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// With the zeros behind.
    pub(crate) depth: usize,
    /// Whether the rows are patches of images.
    pub(crate) patches: bool,
    pub(crate) dtype: DType,
}

/// Workgroups that keep a large GPU busy: one for each of its processors. Nobody tells their number; a smaller GPU has full
/// rounds more often than is thought here, and then takes smaller tiles than it should for small products.
const ENOUGH_TILES: usize = 132;

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
    /// Columns of a strip that sums leave through.
    pub(crate) const STRIP: u32 = 16;

    /// The tile that takes the least time, as far as is known.
    fn choose(gpu: &Capabilities, extents: &Extents) -> Option<Self> {
        let side = gpu.matrix_tile(extents.dtype).filter(|_| extents.columns >= LEAST_MATRIX_COLUMNS)?;
        let candidates = Candidate::all(side, extents.dtype).iter();
        let fitting = candidates.filter_map(|c| Some((c.tile(side, gpu, extents)?, c.time(extents))));
        fitting.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(tile, _)| tile)
    }

    /// Whether the device has the invocations and the workgroup memory.
    pub(crate) fn fits(self, gpu: &Capabilities, dtype: DType) -> bool {
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
    pub(crate) fn pitch(self, dtype: DType) -> u32 {
        self.depth + 16 / dtype.size_bytes() as u32
    }

    /// Elements between one line of the weights in workgroup memory and the next, likewise.
    pub(crate) fn weights_pitch(self, dtype: DType) -> u32 {
        self.tile[1] + 16 / dtype.size_bytes() as u32
    }

    /// Floats of a strip: rows of one matrix, 16 bytes apart more than they have.
    pub(crate) fn strip_len(self) -> u32 {
        self.side * (Self::STRIP + 4)
    }

    fn workgroup_bytes(self, dtype: DType) -> u32 {
        let elements = self.tile[0] * self.pitch(dtype) + self.depth * self.weights_pitch(dtype);
        let tiles = elements * dtype.size_bytes() as u32;
        tiles + self.subgroups() * self.strip_len() * 4
    }
}

/// A tile that is known to be good for something. All of a form give the same bits.
struct Candidate {
    tile: [u32; 2],
    part: [u32; 2],
    /// Columns of the left rows at once: for rows of a matrix, for patches, whose places take registers, and where no processor
    /// has more than one tile, so that nothing else hides the way from memory.
    depth: [u32; 3],
    /// Time of a tile that has a processor for itself, and of each where there are many.
    time: [f64; 2],
}

const fn candidate(tile: [u32; 2], part: [u32; 2], depth: [u32; 3], time: [f64; 2]) -> Candidate {
    Candidate { tile, part, depth, time }
}

/// 16 x 16 matrices; microseconds for a depth of 1024 on an H200, from products of 4096 and of the shapes of MASt3R.
const LARGE_MATRICES: [Candidate; 5] = [
    candidate([128, 128], [64, 64], [64, 32, 64], [19.5, 19.5]),
    candidate([96, 128], [48, 64], [32, 32, 64], [22.0, 17.5]),
    candidate([64, 64], [32, 32], [64, 64, 128], [12.5, 7.6]),
    candidate([32, 64], [16, 32], [64, 64, 128], [9.0, 5.3]),
    candidate([32, 32], [16, 16], [128, 128, 128], [7.8, 3.8]),
];

/// 8 x 8 matrices take as many registers for a part of 32 x 32 as 16 x 16 ones for 64 x 64. Guesses.
const SMALL_MATRICES: [Candidate; 2] = [
    candidate([64, 64], [32, 32], [32, 32, 32], [1.0, 1.0]),
    candidate([32, 32], [16, 16], [32, 32, 32], [0.5, 0.3]),
];

impl Candidate {
    fn all(side: u32, dtype: DType) -> &'static [Self] {
        match (side, dtype) {
            (16, DType::F16) => &LARGE_MATRICES,
            _ => &SMALL_MATRICES,
        }
    }

    /// Tiles of the busiest processor.
    fn rounds(&self, extents: &Extents) -> usize {
        tiles(extents.rows, extents.columns, self.tile).div_ceil(ENOUGH_TILES)
    }

    /// With the deepest step that divides the depth and fits the device; `None` if none does.
    fn tile(&self, side: u32, gpu: &Capabilities, extents: &Extents) -> Option<MatrixTile> {
        let &Self { tile, part, depth: [rows, patches, alone], .. } = self;
        let deepest = match self.rounds(extents) {
            ..=1 => alone,
            _ if extents.patches => patches,
            _ => rows,
        };
        [128, 64, 32]
            .into_iter()
            .filter(|&depth| depth <= deepest && extents.depth.is_multiple_of(depth as usize))
            .map(|depth| MatrixTile { side, tile, part, depth, emulated: false })
            .find(|tile| tile.fits(gpu, extents.dtype))
    }

    fn time(&self, extents: &Extents) -> f64 {
        let [alone, many] = self.time;
        alone.max(many * self.rounds(extents) as f64)
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
            Self::Matrix(tile) => tile.depth,
        }
    }
}

/// Tiles that cover a result.
pub(crate) fn tiles(rows: usize, columns: usize, tile: [u32; 2]) -> usize {
    rows.div_ceil(tile[0] as usize) * columns.div_ceil(tile[1] as usize)
}

pub(crate) mod tests {
    use super::{Capabilities, DType, Extents, Plan};
    use steropes_tensor::{GpuApi, MatrixShape};
    use steropes_testkit::{Case, unit_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![
            unit_case("product_plan/unit/tiles_fit_workgroup_memory", tiles_fit_workgroup_memory),
            unit_case("product_plan/unit/rounds_are_full", rounds_are_full),
            unit_case("product_plan/unit/steps_divide_the_depth", steps_divide_the_depth),
            unit_case(
                "product_plan/unit/matrices_do_not_depend_on_the_rows",
                matrices_do_not_depend_on_the_rows,
            ),
        ]
    }

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

    fn extents(rows: usize, columns: usize, dtype: DType) -> Extents {
        Extents { rows, columns, depth: 1024, patches: false, dtype }
    }

    fn tiles_fit_workgroup_memory() {
        for (side, dtype) in [(8, DType::F16), (8, DType::F32), (16, DType::F16)] {
            for kib in [16, 32, 48] {
                let gpu = gpu(side, dtype, kib * 1024);
                for rows in [1, 100, 4096] {
                    match Plan::choose(&gpu, &extents(rows, 4096, dtype)) {
                        Plan::Matrix(tile) => assert!(tile.fits(&gpu, dtype), "{tile:?} in {kib} KiB"),
                        Plan::Plain(tile) => panic!("{tile:?} in {kib} KiB although there are matrices"),
                    }
                }
            }
        }
    }

    fn rounds_are_full() {
        let gpu = gpu(16, DType::F16, 48 * 1024);
        let tile = |rows, columns| Plan::choose(&gpu, &extents(rows, columns, DType::F16)).tile();
        assert_eq!(tile(4096, 4096), [128, 128]);
        assert_eq!(tile(768, 4096), [96, 128]);
        assert_eq!(tile(768, 1024), [64, 64]);
        assert_eq!(tile(192, 256), [32, 32]);
    }

    fn steps_divide_the_depth() {
        let gpu = gpu(16, DType::F16, 48 * 1024);
        for depth in [32, 64, 96, 128, 160, 2304] {
            for rows in [10, 200, 800, 10_000] {
                let extents = Extents { depth, ..extents(rows, 300, DType::F16) };
                let step = Plan::choose(&gpu, &extents).depth() as usize;
                assert!(depth.is_multiple_of(step), "{step} of {depth}");
            }
        }
    }

    fn matrices_do_not_depend_on_the_rows() {
        let gpu = gpu(16, DType::F16, 48 * 1024);
        for columns in [1, 4, 15, 16, 17, 1000] {
            let is_matrix =
                |rows| matches!(Plan::choose(&gpu, &extents(rows, columns, DType::F16)), Plan::Matrix(_));
            assert!([1, 5, 128, 100_000].into_iter().all(|rows| is_matrix(rows) == (columns >= 16)));
        }
    }
}
