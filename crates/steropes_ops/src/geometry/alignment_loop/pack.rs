//! What a device needs to know of matches: units of work, the order of the matches, and where sums go.

use super::{LoopProblem, OP};
use crate::error::OpError;
use crate::geometry::sparse_alignment::{MatchedPixel, PairMatches};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Matches in a unit.
pub(super) const CHUNK: usize = 2048;

/// At most [`CHUNK`] matches of one edge, as `unit.wgsl` reads them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Unit {
    pub(super) owner: u32,
    pub(super) frame: u32,
    /// First match of its part.
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) segments: u32,
    pub(super) segment_base: u32,
    /// Row of sums.
    pub(super) row: u32,
    /// For targets: what leads from an anchor to its target, modulo 2^32.
    pub(super) extra: u32,
}

/// A pair of images seen one way: the points of `owner` in the camera of `frame`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub(super) struct Edge {
    pub(super) owner: u32,
    pub(super) frame: u32,
    pub(super) first_row: u32,
    pub(super) rows: u32,
}

/// Matches of some pairs, first all seen one way, then the other way.
#[derive(Default)]
pub(super) struct Part {
    pub(super) units: Vec<Unit>,
    /// Units of the first way, those of the coarse stage.
    pub(super) first_way: usize,
    /// x, y, depth relative to the anchor, anchor; in the order of anchors within a unit.
    pub(super) own: Vec<[u32; 4]>,
    /// x, y and weight of the other end, start of the segment of this number.
    pub(super) seen: Vec<[u32; 4]>,
    /// Depth relative to the anchor, and anchor, of the other end; for the first way.
    pub(super) other: Vec<[u32; 2]>,
}

/// The matched pixels of images that targets draw.
#[derive(Default)]
pub(super) struct Drawn {
    pub(super) units: Vec<Unit>,
    pub(super) own: Vec<[u32; 4]>,
    pub(super) starts: Vec<u32>,
    /// Point and weight per target and anchor.
    pub(super) points: Vec<[f32; 4]>,
    /// Sum of the weights of all drawn pixels.
    pub(super) weight: f64,
}

/// Numbers rows of sums and segments while parts are packed.
pub(super) struct Packing {
    /// First anchor of each image, and the total.
    pub(super) first_anchor: Vec<u32>,
    pub(super) rows: usize,
    /// Anchor of each segment.
    pub(super) segment_anchor: Vec<u32>,
    /// Edges of the two ways, and those of targets.
    pub(super) edges: [Vec<Edge>; 3],
    /// Sum of the weights of all matches.
    pub(super) weight: f64,
}

/// One end of the matches of an edge.
struct End<'a> {
    pixels: &'a [[f32; 2]],
    anchors: &'a [u32],
    offsets: &'a [f32],
}

impl<'a> End<'a> {
    fn of(pair: &PairMatches<'a>, side: usize) -> Self {
        Self { pixels: pair.pixels[side], anchors: pair.anchors[side], offsets: pair.offsets[side] }
    }
}

/// Indices by ascending anchor, equal ones in their order.
fn order(anchors: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..anchors.len() as u32).collect();
    order.sort_by_key(|&i| anchors[i as usize]);
    order
}

/// Starts of runs of equal values.
fn run_starts(values: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut last = None;
    let starts = values.enumerate().filter_map(|(i, v)| (last.replace(v) != Some(v)).then_some(i as u32));
    starts.collect()
}

impl Packing {
    pub(super) fn new(problem: &LoopProblem<'_>) -> Result<Self, OpError> {
        let mut first_anchor = vec![0u32];
        for image in problem.images {
            let next = u32::try_from(image.anchors)
                .ok()
                .and_then(|n| n.checked_add(first_anchor[first_anchor.len() - 1]))
                .ok_or_else(|| OpError::value(OP, "images", "fewer than 2^32 anchors", image.anchors))?;
            first_anchor.push(next);
        }
        let edges = Default::default();
        Ok(Self { first_anchor, rows: 0, segment_anchor: Vec::new(), edges, weight: 0.0 })
    }

    /// Packs some pairs; parts must be packed in the order of the pairs.
    pub(super) fn part(&mut self, pairs: &[PairMatches<'_>]) -> Part {
        let mut part = Part::default();
        for way in 0..2 {
            let orders: Vec<_> = pairs.par_iter().map(|p| order(p.anchors[way])).collect();
            for (pair, order) in pairs.iter().zip(orders) {
                self.push_edge(&mut part, pair, way, &order);
            }
            if way == 0 {
                part.first_way = part.units.len();
            }
        }
        self.weight += pairs.iter().flat_map(|p| p.weights).map(|&w| f64::from(w)).sum::<f64>();
        part
    }

    fn push_edge(&mut self, part: &mut Part, pair: &PairMatches<'_>, way: usize, order: &[u32]) {
        let (own, seen) = (End::of(pair, way), End::of(pair, 1 - way));
        let [owner, frame] = [pair.views[way], pair.views[1 - way]];
        let edge = Edge { owner: owner as u32, frame: frame as u32, first_row: self.rows as u32, rows: 0 };
        self.edges[way].push(edge);
        for chunk in order.chunks(CHUNK) {
            let first = part.own.len();
            let starts = run_starts(chunk.iter().map(|&i| own.anchors[i as usize]));
            for (n, &i) in chunk.iter().enumerate() {
                let i = i as usize;
                let [x, y] = own.pixels[i].map(f32::to_bits);
                let anchor = self.first_anchor[owner] + own.anchors[i];
                part.own.push([x, y, own.offsets[i].to_bits(), anchor]);
                let [x, y] = seen.pixels[i].map(f32::to_bits);
                let start = starts.get(n).copied().unwrap_or(0);
                part.seen.push([x, y, pair.weights[i].to_bits(), start]);
                if way == 0 {
                    let anchor = self.first_anchor[frame] + seen.anchors[i];
                    part.other.push([seen.offsets[i].to_bits(), anchor]);
                }
            }
            let own = &part.own[first..];
            part.units.push(self.unit((way, first, own), &starts, 0));
        }
    }

    /// A unit of the last edge of a kind: numbers its row and its segments.
    fn unit(&mut self, (kind, first, own): (usize, usize, &[[u32; 4]]), starts: &[u32], extra: u32) -> Unit {
        let edge = self.edges[kind].last_mut().expect("the unit's edge was pushed");
        edge.rows += 1;
        let unit = Unit {
            owner: edge.owner,
            frame: edge.frame,
            first: first as u32,
            count: own.len() as u32,
            segments: starts.len() as u32,
            segment_base: self.segment_anchor.len() as u32,
            row: self.rows as u32,
            extra,
        };
        self.rows += 1;
        self.segment_anchor.extend(starts.iter().map(|&s| own[s as usize][3]));
        unit
    }

    /// Packs the targets, after all parts.
    pub(super) fn drawn(&mut self, problem: &LoopProblem<'_>) -> Drawn {
        let mut drawn = Drawn::default();
        // Where the pixels of an image start, once some target needs them.
        let mut placed = vec![None; problem.images.len()];
        for target in problem.targets {
            let first_anchor = self.first_anchor[target.view];
            let pixels: &[MatchedPixel] = &problem.matched[target.view];
            let first = *placed[target.view].get_or_insert_with(|| drawn.push_pixels(pixels, first_anchor));
            drawn.weight += pixels.iter().map(|p| f64::from(target.weights[p.anchor as usize])).sum::<f64>();
            let extra = (drawn.points.len() as u32).wrapping_sub(first_anchor);
            let points = target.points.iter().zip(&target.weights);
            drawn.points.extend(points.map(|(&[x, y, z], &w)| [x, y, z, w]));
            let (owner, frame) = (target.view as u32, target.frame as u32);
            self.edges[2].push(Edge { owner, frame, first_row: self.rows as u32, rows: 0 });
            for at in (first..first + pixels.len()).step_by(CHUNK) {
                let own = &drawn.own[at..(at + CHUNK).min(first + pixels.len())];
                let starts = run_starts(own.iter().map(|o| o[3]));
                drawn.units.push(self.unit((2, at, own), &starts, extra));
            }
        }
        drawn
    }

    /// Number of anchors.
    pub(super) fn anchors(&self) -> usize {
        *self.first_anchor.last().expect("it starts with 0") as usize
    }

    /// Per anchor where its segments start and end, then the segments from `first` on, ascending per anchor.
    pub(super) fn links(&self, first: usize) -> Vec<u32> {
        let anchors = self.anchors();
        let segments = &self.segment_anchor[first..];
        let mut links = vec![0u32; anchors + 1 + segments.len()];
        for &anchor in segments {
            links[anchor as usize + 1] += 1;
        }
        for anchor in 0..anchors {
            links[anchor + 1] += links[anchor];
        }
        let mut next = links[..anchors].to_vec();
        for (i, &anchor) in segments.iter().enumerate() {
            links[anchors + 1 + next[anchor as usize] as usize] = (first + i) as u32;
            next[anchor as usize] += 1;
        }
        links
    }
}

impl Drawn {
    fn push_pixels(&mut self, pixels: &[MatchedPixel], first_anchor: u32) -> usize {
        let first = self.own.len();
        let mut sorted: Vec<_> = pixels.iter().collect();
        sorted.sort_by_key(|p| p.anchor);
        for chunk in sorted.chunks(CHUNK) {
            let starts = run_starts(chunk.iter().map(|p| p.anchor));
            for (n, p) in chunk.iter().enumerate() {
                let [x, y] = p.pixel.map(f32::to_bits);
                self.own.push([x, y, p.offset.to_bits(), first_anchor + p.anchor]);
                self.starts.push(starts.get(n).copied().unwrap_or(0));
            }
        }
        first
    }
}

/// Per image where its entries start and end, then for every edge that touches it where the derivatives by the image lie
/// among those by the edges.
pub(super) fn incidence(edges: &[Edge], images: usize, [per_edge, by_view]: [u32; 2]) -> Vec<u32> {
    let mut lists = vec![Vec::new(); images];
    for (i, edge) in edges.iter().enumerate() {
        lists[edge.owner as usize].push(i as u32 * per_edge);
        lists[edge.frame as usize].push(i as u32 * per_edge + by_view);
    }
    let mut out = vec![0u32];
    for list in &lists {
        out.push(out[out.len() - 1] + list.len() as u32);
    }
    out.extend(lists.concat());
    out
}

/// The kinematic tree as `image.wgsl` reads it, and its number of levels.
///
/// # Errors
/// [`OpError::Value`] unless the edges join all images to the root, parents first.
pub(super) fn topology(root: usize, edges: &[[usize; 2]], images: usize) -> Result<(Vec<u32>, u32), OpError> {
    let wrong = |found: String| {
        Err(OpError::value(OP, "tree", format!("a tree over {images} images, parents first"), found))
    };
    if root >= images {
        return wrong(format!("root {root}"));
    }
    let mut level = vec![None; images];
    let mut parents: Vec<u32> = (0..images as u32).collect();
    let mut children = vec![Vec::new(); images];
    level[root] = Some(0usize);
    for &[parent, child] in edges {
        let above = level.get(parent).copied().flatten();
        let (Some(above), Some(None)) = (above, level.get(child)) else {
            return wrong(format!("edge {parent}-{child}"));
        };
        level[child] = Some(above + 1);
        parents[child] = parent as u32;
        children[parent].push(child as u32);
    }
    if let Some(image) = level.iter().position(Option::is_none) {
        return wrong(format!("none with image {image}"));
    }
    let levels = level.iter().flatten().max().map_or(0, |l| l + 1);
    let mut order: Vec<u32> = (0..images as u32).collect();
    order.sort_by_key(|&i| level[i as usize]);
    let start = |l: usize| order.partition_point(|&i| level[i as usize].is_some_and(|own| own < l)) as u32;
    let starts: Vec<u32> = (0..=levels).map(start).collect();
    let mut out = [order, starts, parents].concat();
    let mut first = 0;
    out.push(0);
    out.extend(children.iter().map(|c| {
        first += c.len() as u32;
        first
    }));
    out.extend(children.concat());
    Ok((out, levels as u32))
}
