//! The exact kernel: a register tile of rows x queries that ends in a maximum instead of a store.
//!
//! A panel of queries sits in the lanes of a few registers per column (`[panel][column][lane]`, packed once per
//! task); rows are the broadcast operand, read where they lie. Per accumulator there is only one `max`: which *chunk* of
//! rows holds the best score is noted once per chunk, and the place inside that chunk is found at the end by
//! repeating its scores one by one, in the same order of operations and hence with the same bits. Strict
//! comparison between chunks and the first equal score inside give the lowest index.

use super::{Best, Lines, Metric, Pass, score};
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Lane, Simd};

/// No chunk had a score above minus infinity.
const NO_CHUNK: u32 = u32::MAX;

/// Rows per chunk: about this many bytes stay in L1 while the panels of queries pass by.
const CHUNK_BYTES: usize = 8192;

/// The best row of the range for each query.
pub(super) fn best_rows(pass: &Pass<'_>, isa: Isa) -> Vec<Best> {
    isa.run(BestRows(pass))
}

struct BestRows<'a>(&'a Pass<'a>);

impl Kernel for BestRows<'_> {
    type Output = Vec<Best>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<Best> {
        // The depth of MASt3R's descriptors as a constant turns the addresses of the rows into constants too.
        match (self.0.metric, self.0.depth) {
            (Metric::Dot, 24) => of_tile::<S, 24, false>(s, self.0),
            (Metric::Dot, _) => of_tile::<S, 0, false>(s, self.0),
            (Metric::Euclidean, _) => of_tile::<S, 0, true>(s, self.0),
        }
    }
}

/// The scan with the register tile of the instruction set; `DEPTH` is the depth of the pass, or 0 to take it at run time.
#[inline(always)]
fn of_tile<S: Simd, const DEPTH: usize, const EUCLIDEAN: bool>(s: S, pass: &Pass<'_>) -> Vec<Best> {
    match (S::TILE_ROWS, S::TILE_COLUMNS / S::LANES) {
        (14, 2) => scan::<S, 14, 2, DEPTH, EUCLIDEAN>(s, pass),
        (6, 2) => scan::<S, 6, 2, DEPTH, EUCLIDEAN>(s, pass),
        (8, 3) => scan::<S, 8, 3, DEPTH, EUCLIDEAN>(s, pass),
        _ => scan::<S, 4, 2, DEPTH, EUCLIDEAN>(s, pass),
    }
}

#[inline(always)]
fn scan<S: Simd, const ROWS: usize, const VECTORS: usize, const DEPTH: usize, const EUCLIDEAN: bool>(
    s: S,
    pass: &Pass<'_>,
) -> Vec<Best> {
    let depth = if DEPTH == 0 { pass.depth } else { DEPTH };
    let width = S::LANES * VECTORS;
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
    // Chunk numbers as the bits of an f32, which travel through the vectors untouched.
    let mut chunk_of = vec![f32::from_bits(NO_CHUNK); panels * width];
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
                let maxima =
                    tile_maxima::<S, ROWS, VECTORS, EUCLIDEAN>(s, queries, rows.as_ptr(), depth, tiles);
                for (v, maximum) in maxima.into_iter().enumerate() {
                    let best = best.as_mut_ptr().add(lane + v * S::LANES);
                    let chunk_of = chunk_of.as_mut_ptr().add(lane + v * S::LANES);
                    // Strictly less: among equal scores the earliest chunk stays.
                    let (old, old_chunk) = (s.load(best), s.load(chunk_of));
                    let this_chunk = s.splat(f32::from_bits(chunk as u32));
                    s.store(best, old.if_less(maximum, maximum, old));
                    s.store(chunk_of, old.if_less(maximum, this_chunk, old_chunk));
                }
            }
        }
    }

    let place = |i: usize| {
        if chunk_of[i].to_bits() == NO_CHUNK {
            return Best::NONE;
        }
        let start = pass.start + chunk_of[i].to_bits() as usize * chunk_rows;
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
///
/// # Safety
/// `queries` must cover a panel and `rows` the tiles.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "index loops with constant bounds are what becomes registers")]
unsafe fn tile_maxima<S: Simd, const ROWS: usize, const VECTORS: usize, const EUCLIDEAN: bool>(
    s: S,
    queries: *const f32,
    rows: *const f32,
    depth: usize,
    tiles: usize,
) -> [S::F; VECTORS] {
    let mut maxima = [s.splat(f32::NEG_INFINITY); VECTORS];
    for tile in 0..tiles {
        let mut sums = [[s.splat(0.0); VECTORS]; ROWS];
        for column in 0..depth {
            let mut query = [s.splat(0.0); VECTORS];
            for v in 0..VECTORS {
                // SAFETY: the caller's panel.
                query[v] = unsafe { s.load(queries.add((column * VECTORS + v) * S::LANES)) };
            }
            for r in 0..ROWS {
                // SAFETY: the caller's tiles.
                let value = s.splat(unsafe { *rows.add((tile * ROWS + r) * depth + column) });
                for v in 0..VECTORS {
                    sums[r][v] = if EUCLIDEAN {
                        (value - query[v]).fused_mul_add(query[v] - value, sums[r][v])
                    } else {
                        value.fused_mul_add(query[v], sums[r][v])
                    };
                }
            }
        }
        for sums in sums {
            for v in 0..VECTORS {
                // False for NaN, so that a NaN never gets in.
                maxima[v] = maxima[v].if_less(sums[v], sums[v], maxima[v]);
            }
        }
    }
    maxima
}
