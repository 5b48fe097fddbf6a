//! Positions between pixels from a quadratic through the similarities around a match.

use super::{DescriptorMap, Matches, Metric};
use rayon::prelude::*;
use steropes_ops::OpError;

/// Matches with positions between pixels in photo 2.
#[derive(Clone, Debug, PartialEq)]
pub struct SubpixelMatches {
    /// `(x, y)` in photo 2 of each match, in pixels; the whole pixel where it was not refined.
    pub xy2: Vec<[f32; 2]>,
    /// Whether the position was refined.
    pub refined: Vec<bool>,
}

/// Moves the pixel of photo 2 of each match to the maximum of the quadratic that fits the similarities of the descriptor in
/// photo 1 to the 3 x 3 descriptors around that pixel best, at most half a pixel each way.
///
/// A match at the border of photo 2, and one whose quadratic has no maximum, stays where it is.
///
/// # Shapes
/// `map_1` and `map_2` are the maps that the matches were found in (any frame), prepared with [`Metric::Dot`].
///
/// # Errors
/// [`OpError::Value`] if a match lies outside of a map or a map was prepared for another metric, [`OpError::Shape`] if the
/// maps differ in depth.
///
/// # Source
/// Least squares on a 3 x 3 grid, written from the formula.
pub fn refine_subpixel(
    matches: &Matches,
    map_1: &DescriptorMap,
    map_2: &DescriptorMap,
) -> Result<SubpixelMatches, OpError> {
    const OP: &str = "matching::refine_subpixel";
    for (argument, map, points) in [("map_1", map_1, &matches.xy1), ("map_2", map_2, &matches.xy2)] {
        if map.metric() != Metric::Dot {
            return Err(OpError::value(
                OP,
                argument,
                "prepared for dot products",
                format!("{:?}", map.metric()),
            ));
        }
        let outside = |[x, y]: &&[u32; 2]| *x as usize >= map.width() || *y as usize >= map.height();
        if let Some([x, y]) = points.iter().find(outside) {
            let expected = format!("inside of {} x {} pixels", map.width(), map.height());
            return Err(OpError::value(OP, "matches", expected, format!("({x}, {y})")));
        }
    }
    if map_1.depth() != map_2.depth() {
        let expected = format!("of depth {}, as map 1", map_1.depth());
        return Err(OpError::shape(OP, "map_2", expected, &[map_2.height(), map_2.width(), map_2.depth()]));
    }
    let inside = |v: u32, side: usize| v >= 1 && (v as usize) + 1 < side;
    let surrounded: Vec<usize> = (0..matches.len())
        .filter(|m| inside(matches.xy2[*m][0], map_2.width()) && inside(matches.xy2[*m][1], map_2.height()))
        .collect();
    let from = surrounded.iter().map(|m| map_1.pixel(matches.xy1[*m])).collect();
    let around = surrounded.iter().flat_map(|m| {
        let [x, y] = matches.xy2[*m];
        (0..9).map(move |i| map_2.pixel([x + i % 3 - 1, y + i / 3 - 1]))
    });
    let (descriptors, others) = (map_1.descriptors(from)?, map_2.descriptors(around.collect())?);
    let depth = map_1.depth();
    let offsets: Vec<_> = descriptors
        .par_chunks_exact(depth)
        .zip(others.par_chunks_exact(9 * depth))
        .map(|(descriptor, others)| offset(descriptor, others))
        .collect();

    let mut fine = SubpixelMatches {
        xy2: matches.xy2.iter().map(|p| p.map(|v| v as f32)).collect(),
        refined: vec![false; matches.len()],
    };
    for (m, offset) in surrounded.into_iter().zip(offsets) {
        if let Some([dx, dy]) = offset {
            fine.xy2[m] = [fine.xy2[m][0] + dx, fine.xy2[m][1] + dy];
            fine.refined[m] = true;
        }
    }
    Ok(fine)
}

/// From a pixel to the maximum near it, `None` where there is none; `others` are the descriptors of its 3 x 3 neighbourhood.
fn offset(descriptor: &[f32], others: &[f32]) -> Option<[f32; 2]> {
    // In f64: neighbours differ in the fourth digit, their second differences in the sixth.
    let similarity = |dx: usize, dy: usize| -> f64 {
        let other = &others[(3 * dy + dx) * descriptor.len()..];
        descriptor.iter().zip(other).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    let s: [[f64; 3]; 3] = std::array::from_fn(|dy| std::array::from_fn(|dx| similarity(dx, dy)));
    let column = |dx: usize| s[0][dx] + s[1][dx] + s[2][dx];
    let row = |dy: usize| s[dy].iter().sum::<f64>();
    // The least-squares fit of c + g.d + d.H d / 2 on the grid -1, 0, 1.
    let g = [(column(2) - column(0)) / 6.0, (row(2) - row(0)) / 6.0];
    let h_xx = (column(0) - 2.0 * column(1) + column(2)) / 3.0;
    let h_yy = (row(0) - 2.0 * row(1) + row(2)) / 3.0;
    let h_xy = (s[0][0] - s[0][2] - s[2][0] + s[2][2]) / 4.0;
    let determinant = h_xx * h_yy - h_xy * h_xy;
    // NaN fails as well.
    if !(h_xx < 0.0 && determinant > 0.0) {
        return None;
    }
    let dx = (h_xy * g[1] - h_yy * g[0]) / determinant;
    let dy = (h_xy * g[0] - h_xx * g[1]) / determinant;
    Some([dx, dy].map(|d| d.clamp(-0.5, 0.5) as f32))
}
