//! The exact kernel: a register tile of rows x queries that ends in a maximum instead of a store.
//!
//! A panel of queries sits in the lanes of a few registers per column (`[panel][column][lane]`, packed once per
//! task); rows are the broadcast operand, read where they lie. Per accumulator there is only one `max`: which *chunk* of
//! rows holds the best score is noted once per chunk, and the place inside that chunk is found at the end by
//! repeating its scores one by one, in the same order of operations and hence with the same bits. Strict
//! comparison between chunks and the first equal score inside give the lowest index.

use super::{Best, Lines, Metric, Pass, score};

/// A form of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Form {
    /// 14 rows x 32 queries.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 6 rows x 16 queries.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 8 rows x 12 queries.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// 4 rows x 4 queries, without vector instructions.
    Scalar,
}

impl Form {
    /// The best row of the range for each query.
    pub(super) fn best_rows(self, pass: &Pass<'_>) -> Vec<Best> {
        match self {
            // SAFETY: a form is made only where its instructions were detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => unsafe { super::avx512::best_rows(pass) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { super::avx2::best_rows(pass) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { super::neon::best_rows(pass) },
            Self::Scalar => super::scalar::best_rows(pass),
        }
    }
}

/// What the kernel needs from a vector of f32.
///
/// # Safety
/// The methods may only run on a CPU with the instructions of the implementation; pointers must cover
/// [`Lanes::COUNT`] values.
pub(super) trait Lanes: Copy {
    const COUNT: usize;
    unsafe fn splat(x: f32) -> Self;
    unsafe fn load(p: *const f32) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    /// `self + a * b`, rounded once.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    /// `self - a * b`, rounded once.
    unsafe fn mul_sub(self, a: Self, b: Self) -> Self;
    /// The larger value; `self` where `other` is NaN.
    unsafe fn max_number(self, other: Self) -> Self;
    /// Where `self` is greater than `best`, stores `self` there and `chunk` in `chunk_of`.
    unsafe fn keep_greater(self, best: *mut f32, chunk_of: *mut u32, chunk: u32);
}

/// Rows per chunk: about this many bytes stay in L1 while the panels of queries pass by.
const CHUNK_BYTES: usize = 8192;

/// The best row of the range for each query, by a tile of `ROWS` rows and `VECTORS` vectors of queries.
/// `DEPTH` is the depth of the pass, or 0 to take it at run time.
///
/// # Safety
/// The CPU must have the instructions of `L`, and the caller must be compiled with them.
#[inline(always)]
pub(super) unsafe fn best_rows<L: Lanes, const ROWS: usize, const VECTORS: usize>(
    pass: &Pass<'_>,
) -> Vec<Best> {
    // SAFETY: passed on to the caller.
    unsafe {
        match (pass.metric, pass.depth) {
            (Metric::Dot, 24) => scan::<L, ROWS, VECTORS, 24, false>(pass),
            (Metric::Dot, _) => scan::<L, ROWS, VECTORS, 0, false>(pass),
            (Metric::Euclidean, _) => scan::<L, ROWS, VECTORS, 0, true>(pass),
        }
    }
}

#[inline(always)]
unsafe fn scan<
    L: Lanes,
    const ROWS: usize,
    const VECTORS: usize,
    const DEPTH: usize,
    const EUCLIDEAN: bool,
>(
    pass: &Pass<'_>,
) -> Vec<Best> {
    let depth = if DEPTH == 0 { pass.depth } else { DEPTH };
    let width = L::COUNT * VECTORS;
    let count = pass.queries.len() / depth;
    let panels = count.div_ceil(width);
    let mut packed = Lines::<f32>::zeros(panels * depth * width);
    for (i, query) in pass.queries.chunks_exact(depth).enumerate() {
        for (column, value) in query.iter().enumerate() {
            *packed.slot((i / width * depth + column) * width + i % width) = *value;
        }
    }

    let chunk_rows = (CHUNK_BYTES / (4 * depth * ROWS)).max(1) * ROWS;
    let mut best = vec![f32::NEG_INFINITY; panels * width];
    let mut chunk_of = vec![u32::MAX; panels * width];
    let mut padded = Vec::new();
    for (chunk, start) in (pass.start..pass.end).step_by(chunk_rows).enumerate() {
        let end = (start + chunk_rows).min(pass.end);
        let mut rows = &pass.rows[start * depth..end * depth];
        let mut tiles = chunk_rows / ROWS;
        if end - start < chunk_rows {
            // Copies of the last row fill the last tile: they equal the original, which comes first.
            tiles = (end - start).div_ceil(ROWS);
            padded.extend_from_slice(rows);
            while padded.len() < tiles * ROWS * depth {
                padded.extend_from_slice(&rows[rows.len() - depth..]);
            }
            rows = &padded;
        }
        for panel in 0..panels {
            let lane = panel * width;
            // SAFETY: `rows` holds `tiles * ROWS` rows, `packed`, `best` and `chunk_of` hold whole panels.
            unsafe {
                let queries = packed.as_ptr().add(lane * depth);
                let maxima = tile_maxima::<L, ROWS, VECTORS, EUCLIDEAN>(queries, rows.as_ptr(), depth, tiles);
                for (v, maximum) in maxima.into_iter().enumerate() {
                    let at = lane + v * L::COUNT;
                    maximum.keep_greater(
                        best.as_mut_ptr().add(at),
                        chunk_of.as_mut_ptr().add(at),
                        chunk as u32,
                    );
                }
            }
        }
    }

    let place = |i: usize| {
        if chunk_of[i] == u32::MAX {
            return Best::NONE;
        }
        let start = pass.start + chunk_of[i] as usize * chunk_rows;
        let end = (start + chunk_rows).min(pass.end);
        let metric = if EUCLIDEAN { Metric::Euclidean } else { Metric::Dot };
        let query = &pass.queries[i * depth..(i + 1) * depth];
        let offset = pass.rows[start * depth..end * depth]
            .chunks_exact(depth)
            .position(|row| score(metric, query, row) == best[i])
            .expect("the chunk with the best score holds it");
        Best { score: best[i], index: (start + offset) as u32 }
    };
    (0..count).map(place).collect()
}

/// The largest score of `tiles * ROWS` rows for each query of a panel.
#[inline(always)]
unsafe fn tile_maxima<L: Lanes, const ROWS: usize, const VECTORS: usize, const EUCLIDEAN: bool>(
    queries: *const f32,
    rows: *const f32,
    depth: usize,
    tiles: usize,
) -> [L; VECTORS] {
    // SAFETY: the caller's buffers cover a panel and the rows.
    unsafe {
        let mut maxima = [L::splat(f32::NEG_INFINITY); VECTORS];
        for tile in 0..tiles {
            let row = rows.add(tile * ROWS * depth);
            let mut sums = [[L::splat(0.0); VECTORS]; ROWS];
            for column in 0..depth {
                let mut query = [L::splat(0.0); VECTORS];
                for v in 0..VECTORS {
                    query[v] = L::load(queries.add((column * VECTORS + v) * L::COUNT));
                }
                for r in 0..ROWS {
                    let value = L::splat(*row.add(r * depth + column));
                    for v in 0..VECTORS {
                        sums[r][v] = if EUCLIDEAN {
                            let difference = query[v].sub(value);
                            sums[r][v].mul_sub(difference, difference)
                        } else {
                            sums[r][v].mul_add(value, query[v])
                        };
                    }
                }
            }
            for sums in sums {
                for v in 0..VECTORS {
                    maxima[v] = maxima[v].max_number(sums[v]);
                }
            }
        }
        maxima
    }
}
