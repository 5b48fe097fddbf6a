//! Matching pixels of a pair.

use super::{MatchOptions, PairResult};
use std::time::{Duration, Instant};
use steropes_ops::OpError;
use steropes_ops::matching::gather_rows::gather_rows;
use steropes_ops::matching::nearest_neighbors::{Database, Metric, nearest_neighbors};
use steropes_tensor::{Tensor, TensorError};

/// Matching pixels of two images, those with the highest confidence first; of equal ones, those that stand first in the first image. All
/// lists have the same length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PairMatches {
    /// (x, y) in the first image.
    pub pixels_1: Vec<[u32; 2]>,
    /// (x, y) in the second image.
    pub pixels_2: Vec<[u32; 2]>,
    /// Points of the pixels of the first image, in the frame of its camera.
    pub points_1: Vec<[f32; 3]>,
    /// Points of the pixels of the second image, in the same frame.
    pub points_2: Vec<[f32; 3]>,
    /// `sqrt(c1 c2)` of the confidences of the two descriptors.
    pub confidence: Vec<f32>,
    /// Dot product of the two descriptors.
    pub similarity: Vec<f32>,
    /// The time to find them, by the clock of the host; on a GPU with whatever had to be waited for.
    pub time: Duration,
}

impl PairMatches {
    /// The number of matches.
    pub fn len(&self) -> usize {
        self.pixels_1.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pixels_1.is_empty()
    }
}

/// A map whose rows are pixels.
struct Rows {
    rows: Tensor,
    width: usize,
}

impl Rows {
    fn of(map: &Tensor) -> Self {
        let [pixels, width] = [map.shape()[0] * map.shape()[1], map.shape()[1]];
        let values = map.len() / pixels;
        Self { rows: map.clone().reshape(&[pixels, values]).expect("as many elements"), width }
    }

    /// The rows of some pixels, on the device.
    fn at(&self, pixels: &[u32]) -> Result<Tensor, OpError> {
        let indices = match Tensor::new(&self.rows.device(), &[pixels.len()], pixels.to_vec()) {
            Ok(indices) => indices,
            Err(TensorError::Device(error)) => return Err(error.into()),
            Err(_) => unreachable!("a list has its own length"),
        };
        gather_rows(&self.rows, &indices)
    }

    /// The values of some pixels, one after the other.
    fn read(&self, pixels: &[u32]) -> Result<Vec<f32>, OpError> {
        Ok(self.at(pixels)?.into_vec()?)
    }

    fn points(&self, pixels: &[u32]) -> Result<Vec<[f32; 3]>, OpError> {
        Ok(self.read(pixels)?.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect())
    }

    fn xy(&self, pixel: u32) -> [u32; 2] {
        let width = self.width as u32;
        [pixel % width, pixel / width]
    }
}

/// A pixel of either image, with what is known of them.
struct Match {
    pixels: [u32; 2],
    similarity: f32,
    confidence: f32,
}

/// The matches of a pair, whose `described` are descriptors and confidences of the first and of the second image.
pub(super) fn match_pair(
    result: &PairResult,
    described: &[[&Tensor; 2]; 2],
    options: &MatchOptions,
) -> Result<PairMatches, OpError> {
    let start = Instant::now();
    let [[desc_1, conf_1], [desc_2, conf_2]] = described.map(|maps| maps.map(Rows::of));
    let seeds = seeds(result.pts3d_1.shape(), options.subsample);
    let nearest = nearest_neighbors(&desc_1.at(&seeds)?, &Database::new(&desc_2.rows, Metric::Dot)?)?;
    let mut pairs: Vec<[u32; 2]> =
        seeds.into_iter().zip(nearest.into_vec::<u32>()?).map(|(p, q)| [p, q]).collect();
    if options.reciprocal {
        pairs = reciprocal(&pairs, &desc_1, &desc_2)?;
    }
    let side = |k: usize| pairs.iter().map(|pair| pair[k]).collect::<Vec<u32>>();
    let (first, second) = (side(0), side(1));
    let depth = desc_1.rows.shape()[1];
    let (rows_1, rows_2) = (desc_1.read(&first)?, desc_2.read(&second)?);
    let similarity = rows_1.chunks_exact(depth).zip(rows_2.chunks_exact(depth)).map(|(a, b)| dot(a, b));
    let confidence = conf_1.read(&first)?.into_iter().zip(conf_2.read(&second)?).map(|(a, b)| (a * b).sqrt());
    let mut matches: Vec<Match> = pairs
        .iter()
        .zip(similarity.zip(confidence))
        .map(|(&pixels, (similarity, confidence))| Match { pixels, similarity, confidence })
        .filter(|m| m.similarity >= options.threshold)
        .collect();
    matches.sort_by(|a, b| b.confidence.total_cmp(&a.confidence).then(a.pixels.cmp(&b.pixels)));
    matches.truncate(options.top_k);
    let side = |k: usize| matches.iter().map(|m| m.pixels[k]).collect::<Vec<u32>>();
    let (first, second) = (side(0), side(1));
    Ok(PairMatches {
        pixels_1: first.iter().map(|&p| desc_1.xy(p)).collect(),
        pixels_2: second.iter().map(|&p| desc_2.xy(p)).collect(),
        points_1: Rows::of(&result.pts3d_1).points(&first)?,
        points_2: Rows::of(&result.pts3d_2).points(&second)?,
        confidence: matches.iter().map(|m| m.confidence).collect(),
        similarity: matches.iter().map(|m| m.similarity).collect(),
        time: start.elapsed(),
    })
}

/// Every `step`-th pixel both ways, from `step / 2` on, row by row.
fn seeds(shape: &[usize], step: usize) -> Vec<u32> {
    let [height, width] = [shape[0], shape[1]];
    let along = |side: usize| ((step / 2).min(side - 1)..side).step_by(step);
    along(height).flat_map(|y| along(width).map(move |x| (x + width * y) as u32)).collect()
}

/// Those pairs whose second pixel has the first for its nearest, too.
fn reciprocal(pairs: &[[u32; 2]], desc_1: &Rows, desc_2: &Rows) -> Result<Vec<[u32; 2]>, OpError> {
    // Many pixels may have the same nearest one, which is asked for once.
    let mut asked: Vec<u32> = pairs.iter().map(|pair| pair[1]).collect();
    asked.sort_unstable();
    asked.dedup();
    let database = Database::new(&desc_1.rows, Metric::Dot)?;
    let back = nearest_neighbors(&desc_2.at(&asked)?, &database)?.into_vec::<u32>()?;
    let returns = |[p, q]: &[u32; 2]| asked.binary_search(q).is_ok_and(|k| back[k] == *p);
    Ok(pairs.iter().copied().filter(returns).collect())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>() as f32
}
