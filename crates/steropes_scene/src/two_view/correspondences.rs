//! Matches in units that suit the solvers, their weights, and a small spread-out sample of them.

use super::{MatchedPixels, PhotoGuess};

/// Cells per longer side of a photo: matches that share a cell count as one observation.
const CELLS: f64 = 32.0;
/// Matches in the sample that judges hypotheses.
const SAMPLE: usize = 768;
/// Matches that are judged together, for the vector units.
pub(super) const LANES: usize = 8;

/// Matched pixels relative to the principal points, divided by one scale for both photos.
#[derive(Clone, Default)]
pub(super) struct Correspondences {
    pub(super) x1: Vec<f64>,
    pub(super) y1: Vec<f64>,
    pub(super) x2: Vec<f64>,
    pub(super) y2: Vec<f64>,
    /// Share of an independent observation, in (0, 1]: one over the number of matches in the fuller of the two cells
    /// that the match lies in.
    pub(super) weight: Vec<f64>,
    /// Pixels per unit.
    pub(super) scale_px: f64,
    /// Width and height of both photos in units.
    pub(super) sizes: [[f64; 2]; 2],
}

impl Correspondences {
    pub(super) fn new(matches: &MatchedPixels<'_>, photos: &[PhotoGuess; 2]) -> Self {
        let scale_px = photos.iter().flat_map(|p| p.size_px).fold(0.0, f64::max);
        let [cells_1, cells_2] = [cells(matches.pixels_1, &photos[0]), cells(matches.pixels_2, &photos[1])];
        let (count_1, count_2) = (occupancy(&cells_1), occupancy(&cells_2));
        let unit =
            |p: &[f64; 2], axis: usize, photo: &PhotoGuess| (p[axis] - photo.center_px[axis]) / scale_px;
        let column = |pixels: &[[f64; 2]], axis, photo| pixels.iter().map(|p| unit(p, axis, photo)).collect();
        Self {
            x1: column(matches.pixels_1, 0, &photos[0]),
            y1: column(matches.pixels_1, 1, &photos[0]),
            x2: column(matches.pixels_2, 0, &photos[1]),
            y2: column(matches.pixels_2, 1, &photos[1]),
            weight: (0..cells_1.len()).map(|i| 1.0 / f64::from(count_1[i].max(count_2[i]))).collect(),
            scale_px,
            sizes: [photos[0].size_px.map(|s| s / scale_px), photos[1].size_px.map(|s| s / scale_px)],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.x1.len()
    }

    /// Number of independent observations.
    pub(super) fn effective_count(&self) -> f64 {
        self.weight.iter().sum()
    }

    fn picked(&self, indices: &[usize]) -> Self {
        let pick = |values: &[f64]| indices.iter().map(|&i| values[i]).collect();
        Self {
            x1: pick(&self.x1),
            y1: pick(&self.y1),
            x2: pick(&self.x2),
            y2: pick(&self.y2),
            weight: vec![1.0; indices.len()],
            scale_px: self.scale_px,
            sizes: self.sizes,
        }
    }
}

/// A sample of the matches, most confident first, in f64 for refinement and in f32 lanes for judging hypotheses.
pub(super) struct Sample {
    pub(super) points: Correspondences,
    /// x1, y1, x2, y2, weight of [`LANES`] matches each; the last is filled up with weight 0.
    pub(super) lanes: Vec<[[f32; LANES]; 5]>,
}

impl Sample {
    /// Takes the most confident match of every cell, then the second of every cell, and so on.
    pub(super) fn new(all: &Correspondences, matches: &MatchedPixels<'_>, photos: &[PhotoGuess; 2]) -> Self {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by(|&a, &b| matches.confidence[b].total_cmp(&matches.confidence[a]).then(a.cmp(&b)));
        let keys = [cells(matches.pixels_1, &photos[0]), cells(matches.pixels_2, &photos[1])];
        let mut seen = [vec![0u32; CELL_COUNT], vec![0u32; CELL_COUNT]];
        let mut ranked: Vec<(u32, usize)> = Vec::with_capacity(order.len());
        for (position, &i) in order.iter().enumerate() {
            let rank = seen[0][keys[0][i]].max(seen[1][keys[1][i]]);
            seen[0][keys[0][i]] += 1;
            seen[1][keys[1][i]] += 1;
            ranked.push((rank, position));
        }
        ranked.sort_unstable();
        ranked.truncate(SAMPLE);
        let mut positions: Vec<usize> = ranked.into_iter().map(|(_, position)| position).collect();
        positions.sort_unstable();
        let chosen: Vec<usize> = positions.into_iter().map(|position| order[position]).collect();
        let points = all.picked(&chosen);
        let lanes = lanes_of(&points);
        Self { points, lanes }
    }
}

fn lanes_of(points: &Correspondences) -> Vec<[[f32; LANES]; 5]> {
    let columns = [&points.x1, &points.y1, &points.x2, &points.y2, &points.weight];
    (0..points.len().div_ceil(LANES))
        .map(|block| {
            columns.map(|column| {
                std::array::from_fn(|lane| column.get(block * LANES + lane).map_or(0.0, |&v| v as f32))
            })
        })
        .collect()
}

const CELL_COUNT: usize = (CELLS as usize + 1) * (CELLS as usize + 1);

/// The cell of each pixel; pixels outside the photo belong to the nearest cell.
fn cells(pixels: &[[f64; 2]], photo: &PhotoGuess) -> Vec<usize> {
    let side = photo.size_px[0].max(photo.size_px[1]) / CELLS;
    let index = |v: f64| (v / side).floor().clamp(0.0, CELLS) as usize;
    pixels.iter().map(|p| index(p[1]) * (CELLS as usize + 1) + index(p[0])).collect()
}

/// For each match the number of matches in its cell.
fn occupancy(cells: &[usize]) -> Vec<u32> {
    let mut counts = vec![0u32; CELL_COUNT];
    for &cell in cells {
        counts[cell] += 1;
    }
    cells.iter().map(|&cell| counts[cell]).collect()
}
