//! Matches as one array per field, padded per pair so that whole registers can be loaded.

use super::OP;
use crate::error::OpError;

/// The widest register in f32 values; pairs are padded to multiples of it with matches of weight 0.
pub(super) const PAD: usize = 16;
/// Matches per unit of work: enough to pay for a histogram over the anchors of one image.
const CHUNK: usize = 2048;

/// What the alignment needs to know about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewShape {
    /// Number of anchors.
    pub anchors: usize,
    /// Whether its pixels count as observations of the fine loss.
    pub observes: bool,
}

/// The matches of one pair of images; all lists have the same length.
#[derive(Clone, Copy, Debug)]
pub struct PairMatches<'a> {
    /// The two images.
    pub views: [usize; 2],
    /// Pixels (x, y) in either image.
    pub pixels: [&'a [[f32; 2]]; 2],
    /// Anchor of the pixel in either image.
    pub anchors: [&'a [u32]; 2],
    /// Depth of the pixel relative to its anchor in either image.
    pub offsets: [&'a [f32]; 2],
    /// Weight of each match.
    pub weights: &'a [f32],
}

/// One end of all matches.
#[derive(Default)]
pub(super) struct End {
    pub(super) x: Vec<f32>,
    pub(super) y: Vec<f32>,
    pub(super) offset: Vec<f32>,
    pub(super) anchor: Vec<u32>,
}

/// Some matches of one pair.
pub(super) struct Chunk {
    pub(super) views: [usize; 2],
    pub(super) matches: std::ops::Range<usize>,
}

pub(super) struct Packed {
    pub(super) shapes: Vec<ViewShape>,
    /// Index of the first anchor of each image, and the total at the end.
    pub(super) first_anchor: Vec<usize>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) ends: [End; 2],
    pub(super) weights: Vec<f32>,
    /// Sum of all weights.
    pub(super) coarse_weight: f64,
    /// Sum of the weights of all observations.
    pub(super) fine_weight: f64,
}

impl Packed {
    pub(super) fn new(shapes: &[ViewShape], pairs: &[PairMatches<'_>]) -> Result<Self, OpError> {
        let mut first_anchor = vec![0];
        for shape in shapes {
            first_anchor.push(first_anchor[first_anchor.len() - 1] + shape.anchors);
        }
        let mut packed = Self {
            shapes: shapes.to_vec(),
            first_anchor,
            chunks: Vec::new(),
            ends: Default::default(),
            weights: Vec::new(),
            coarse_weight: 0.0,
            fine_weight: 0.0,
        };
        for pair in pairs {
            check_pair(OP, shapes, pair)?;
            packed.push(pair);
        }
        Ok(packed)
    }

    pub(super) fn views(&self) -> usize {
        self.shapes.len()
    }

    pub(super) fn anchors(&self) -> usize {
        self.first_anchor[self.shapes.len()]
    }

    fn push(&mut self, pair: &PairMatches<'_>) {
        let n = pair.weights.len();
        let padded = n.next_multiple_of(PAD);
        let start = self.weights.len();
        for i in 0..padded {
            // Padding repeats the last match: its values stay in range and its weight is 0.
            let source = i.min(n - 1);
            for (side, end) in self.ends.iter_mut().enumerate() {
                let [x, y] = pair.pixels[side][source];
                end.x.push(x);
                end.y.push(y);
                end.offset.push(pair.offsets[side][source]);
                end.anchor.push(pair.anchors[side][source]);
            }
            self.weights.push(if i < n { pair.weights[source] } else { 0.0 });
        }
        for first in (start..start + padded).step_by(CHUNK) {
            let matches = first..(first + CHUNK).min(start + padded);
            self.chunks.push(Chunk { views: pair.views, matches });
        }
        let total: f64 = pair.weights.iter().map(|&w| f64::from(w)).sum();
        self.coarse_weight += total;
        self.fine_weight += total * pair.views.iter().filter(|&&v| self.shapes[v].observes).count() as f64;
    }
}

/// Checks the lists of a pair, for errors of `op`.
pub(in crate::geometry) fn check_pair(
    op: &'static str,
    shapes: &[ViewShape],
    pair: &PairMatches<'_>,
) -> Result<(), OpError> {
    let [a, b] = pair.views;
    if a == b || a.max(b) >= shapes.len() {
        let expected = format!("two different images below {}", shapes.len());
        return Err(OpError::value(op, "views", expected, format!("{a} and {b}")));
    }
    let n = pair.weights.len();
    for side in 0..2 {
        for (name, found) in [
            ("pixels", pair.pixels[side].len()),
            ("anchors", pair.anchors[side].len()),
            ("offsets", pair.offsets[side].len()),
        ] {
            if found != n {
                return Err(OpError::shape(op, name, format!("[{n}]"), &[found]));
            }
        }
        let anchors = shapes[pair.views[side]].anchors;
        if let Some(k) = pair.anchors[side].iter().find(|&&k| k as usize >= anchors) {
            return Err(OpError::value(op, "anchors", format!("below {anchors}"), k));
        }
        if let Some(v) = pair.pixels[side].as_flattened().iter().find(|v| !v.is_finite()) {
            return Err(OpError::value(op, "pixels", "finite", v));
        }
        if let Some(v) = pair.offsets[side].iter().find(|v| !v.is_finite()) {
            return Err(OpError::value(op, "offsets", "finite", v));
        }
    }
    match pair.weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
        Some(w) => Err(OpError::value(op, "weights", "finite and at least 0", w)),
        None => Ok(()),
    }
}
