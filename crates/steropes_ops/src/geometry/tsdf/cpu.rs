//! Ranges of pixels are shared among threads. For one pixel and one map, all candidates are projected in a loop without branches,
//! which the compiler turns into vectors; then those that are inside look up their pixel.

use super::{DepthMaps, SAME, Samples, View, cameras, random};
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use crate::error::values;
use rayon::prelude::*;

/// Pixels or points in a task: enough work to be worth taking from the queue, few enough to share evenly.
const TASK: usize = 64;

/// The maps as the kernels want them.
pub(super) struct Maps<'a> {
    views: &'a [View],
    /// First pixel of each map.
    starts: Vec<usize>,
    /// Minus infinity at pixels that say nothing: no point is seen there.
    surface: Vec<f32>,
    depth: &'a [f32],
    confidence: &'a [f32],
    threshold: f32,
}

impl<'a> Maps<'a> {
    pub(super) fn new(maps: &DepthMaps<'a>, threshold: f32) -> Self {
        let (depth, confidence) = (values::<f32>(maps.depth), values::<f32>(maps.confidence));
        let usable = |(&d, &c): (&f32, &f32)| {
            if d.is_finite() && d > 0.0 && c.is_finite() { d } else { f32::NEG_INFINITY }
        };
        let surface = depth.iter().zip(confidence).map(usable).collect();
        let starts = super::starts(maps.views);
        Self { views: maps.views, starts, surface, depth, confidence, threshold }
    }

    /// The TSDF at world points, and whether it is defined.
    pub(super) fn values(&self, points: &[f32]) -> (Vec<f32>, Vec<u32>) {
        let cameras: Vec<_> = self.views.iter().map(|v| to_f32(&cameras::pixel_from_world(v))).collect();
        let value = |p: &[f32]| {
            let mut sum = Average::NONE;
            for (k, m) in cameras.iter().enumerate() {
                let at = |row: [f32; 4]| row[0] * p[0] + row[1] * p[1] + row[2] * p[2] + row[3];
                let z = at(m[2]);
                let index = pixel_index([at(m[0]) / z, at(m[1]) / z], self.size(k));
                if index >= 0 {
                    self.add(&mut sum, k, index, z);
                }
            }
            (if sum.is_some() { sum.value() } else { 0.0 }, u32::from(sum.is_some()))
        };
        points.par_chunks(3).with_min_len(TASK).map(value).unzip()
    }

    /// All maps refined.
    pub(super) fn refine(&self, samples: Samples<'_>) -> Vec<f32> {
        let isa = Isa::current();
        let count = samples.count();
        let numbers = match samples {
            Samples::Random { seed, .. } => Numbers::Random(seed),
            Samples::Given(numbers) => Numbers::Given(values(numbers)),
        };
        let mut refined = self.depth.to_vec();
        for (v, view) in self.views.iter().enumerate() {
            let cameras: Vec<_> = self.views.iter().map(|k| cameras::pixel_from_ray(k, view)).collect();
            let own = &mut refined[self.starts[v]..][..view.pixels()];
            own.par_chunks_mut(TASK).enumerate().for_each_init(
                || Candidates::new(count),
                |candidates, (task, depth)| {
                    let first = task * TASK;
                    isa.run(Pixels {
                        maps: self,
                        view: v,
                        cameras: &cameras,
                        numbers,
                        candidates,
                        first,
                        depth,
                    });
                },
            );
        }
        refined
    }

    fn size(&self, k: usize) -> [f32; 2] {
        [self.views[k].width as f32, self.views[k].height as f32]
    }

    /// Adds what map `k` says at one of its pixels about a point of depth `z`.
    #[inline(always)]
    fn add(&self, sum: &mut Average, k: usize, index: i32, z: f32) {
        let at = self.starts[k] + index as usize;
        let distance = self.surface[at] - z;
        if distance >= -self.threshold {
            sum.add(distance, self.confidence[at]);
        }
    }
}

/// Where the candidates lie: the seed of random numbers, or the numbers.
#[derive(Clone, Copy)]
enum Numbers<'a> {
    Random(u32),
    Given(&'a [f32]),
}

/// Candidates of one pixel, a list for each quantity, so that loops over them become vectors.
struct Candidates {
    depth: Vec<f32>,
    /// Depth in the other camera.
    z: Vec<f32>,
    /// Pixel in the other image, -1 outside.
    index: Vec<i32>,
    sum: Vec<Average>,
}

impl Candidates {
    fn new(count: usize) -> Self {
        Self {
            depth: vec![0.0; count],
            z: vec![0.0; count],
            index: vec![-1; count],
            sum: vec![Average::NONE; count],
        }
    }
}

/// An average of distances with weights `exp(confidence)`, relative to the largest confidence so far.
#[derive(Clone, Copy)]
struct Average {
    largest: f32,
    weighted: f32,
    weights: f32,
}

impl Average {
    const NONE: Self = Self { largest: f32::NEG_INFINITY, weighted: 0.0, weights: 0.0 };

    #[inline(always)]
    fn add(&mut self, distance: f32, confidence: f32) {
        if confidence <= self.largest {
            let weight = (confidence - self.largest).exp();
            self.weighted += weight * distance;
            self.weights += weight;
        } else {
            let scale = (self.largest - confidence).exp();
            self.weighted = self.weighted * scale + distance;
            self.weights = self.weights * scale + 1.0;
            self.largest = confidence;
        }
    }

    fn is_some(&self) -> bool {
        self.weights > 0.0
    }

    fn value(&self) -> f32 {
        self.weighted / self.weights
    }
}

/// A range of pixels of one map.
struct Pixels<'a> {
    maps: &'a Maps<'a>,
    view: usize,
    /// From points on rays of this map to pixels of each map.
    cameras: &'a [cameras::Rows],
    numbers: Numbers<'a>,
    candidates: &'a mut Candidates,
    /// First pixel of the range.
    first: usize,
    /// What is refined.
    depth: &'a mut [f32],
}

impl Kernel for Pixels<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { maps, view, cameras, numbers, candidates, first, depth } = self;
        let width = maps.views[view].width;
        for (i, depth) in depth.iter_mut().enumerate() {
            let pixel = first + i;
            if !(depth.is_finite() && *depth > 0.0) {
                continue;
            }
            let range = place(candidates, *depth, maps.threshold, numbers, maps.starts[view] + pixel);
            let (x, y) = ((pixel % width) as f64, (pixel / width) as f64);
            for (k, camera) in cameras.iter().enumerate() {
                // Homogeneous pixel of the candidate at depth d: start + d step.
                let start = camera.map(|row| row[3] as f32);
                let step = camera.map(|row| (row[0] * x + row[1] * y + row[2]) as f32);
                let size = maps.size(k);
                if misses(start, step, size, range) {
                    continue;
                }
                project(candidates, start, step, size);
                for s in 0..candidates.depth.len() {
                    if candidates.index[s] >= 0 {
                        maps.add(&mut candidates.sum[s], k, candidates.index[s], candidates.z[s]);
                    }
                }
            }
            if let Some(better) = nearest(candidates, maps.threshold) {
                *depth = better;
            }
        }
    }
}

/// Places the candidates of a pixel and returns their smallest and largest depth.
#[inline(always)]
fn place(
    candidates: &mut Candidates,
    depth: f32,
    threshold: f32,
    numbers: Numbers<'_>,
    pixel: usize,
) -> [f32; 2] {
    let count = candidates.depth.len();
    for (s, d) in candidates.depth.iter_mut().enumerate() {
        let z = match numbers {
            Numbers::Random(seed) => random::normal(pixel as u32, s as u32, seed),
            Numbers::Given(values) => values[pixel * count + s],
        };
        *d = depth + (z - 1.0) * threshold;
    }
    candidates.sum.fill(Average::NONE);
    let mut range = [f32::INFINITY, 0.0];
    for &d in &candidates.depth {
        if d.is_finite() && d > 0.0 {
            range = [range[0].min(d), range[1].max(d)];
        }
    }
    range
}

/// Whether all candidates of a ray pass the image on the same side. The projections lie between those of the ends if
/// all are on the same side of the camera.
#[inline(always)]
fn misses(start: [f32; 3], step: [f32; 3], size: [f32; 2], range: [f32; 2]) -> bool {
    let ends = range.map(|d| [0, 1, 2].map(|c| start[c] + d * step[c]));
    let same_side = ends[0][2] * ends[1][2] > 0.0;
    let beyond = |axis: usize| {
        let [a, b] = ends.map(|e| e[axis] / e[2]);
        // A pixel of margin is far more than the rounding errors.
        (a < -1.5 && b < -1.5) || (a > size[axis] + 0.5 && b > size[axis] + 0.5)
    };
    same_side && (beyond(0) || beyond(1))
}

/// Fills in `z` and `index` for one map.
#[inline(always)]
fn project(candidates: &mut Candidates, start: [f32; 3], step: [f32; 3], size: [f32; 2]) {
    let Candidates { depth, z, index, .. } = candidates;
    for ((&d, z), index) in depth.iter().zip(z.iter_mut()).zip(index.iter_mut()) {
        *z = start[2] + d * step[2];
        let pixel = [(start[0] + d * step[0]) / *z, (start[1] + d * step[1]) / *z];
        let usable = d > 0.0 && d < f32::INFINITY;
        *index = if usable { pixel_index(pixel, size) } else { -1 };
    }
}

/// Row-major index of the rounded pixel, -1 outside.
#[inline(always)]
fn pixel_index(pixel: [f32; 2], size: [f32; 2]) -> i32 {
    let [u, v] = pixel.map(f32::round_ties_even);
    // NaN is outside. Bitwise: no branch that keeps a loop from becoming vectors.
    let inside = (u >= 0.0) & (v >= 0.0) & (u < size[0]) & (v < size[1]);
    if inside { v as i32 * size[0] as i32 + u as i32 } else { -1 }
}

/// The first candidate of the smallest absolute TSDF, if it says anything.
#[inline(always)]
fn nearest(candidates: &Candidates, threshold: f32) -> Option<f32> {
    let mut best: Option<(f32, f32)> = None;
    let mut informative = false;
    for (sum, &depth) in candidates.sum.iter().zip(&candidates.depth) {
        if sum.is_some() {
            let value = sum.value().abs();
            informative |= (value - threshold).abs() > SAME * threshold;
            if best.is_none_or(|(smallest, _)| value < smallest) {
                best = Some((value, depth));
            }
        }
    }
    best.filter(|_| informative).map(|(_, depth)| depth)
}

fn to_f32(rows: &cameras::Rows) -> [[f32; 4]; 3] {
    rows.map(|row| row.map(|v| v as f32))
}
