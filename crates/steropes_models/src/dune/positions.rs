//! Learned positions on other grids than they were learned on.

/// What is added to an extent of the new grid before the ratio of the grids is taken, as in training.
const OFFSET: f64 = 0.1;
/// The parameter of Keys' bicubic kernel.
const A: f64 = -0.75;

/// The learned positions of a grid of `rows x columns` patches.
///
/// Bicubic interpolation by Keys' kernel with A = -0.75, indices clamped at the border. The place of result `i` of an axis is
/// `(i + 1/2) side / (extent + 0.1) - 1/2`: not quite the ratio of the extents. The stored grid itself comes back to the bit.
///
/// # Shapes
/// - `stored`: `[side, side, width]`
/// - returns: `[rows, columns, width]`
///
/// # Numerics
/// f64, rounded once.
///
/// # Panics
/// If `stored` does not hold `side * side * width` values or `side` is 0.
pub fn resize_positions(stored: &[f32], [side, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    assert!(side > 0 && stored.len() == side * side * width, "a square grid of positions");
    if [rows, columns] == [side, side] {
        return stored.to_vec();
    }
    let (down, across) = (taps(side, rows), taps(side, columns));
    let mut resized = Vec::with_capacity(rows * columns * width);
    let mut sum = vec![0.0; width];
    for row in &down {
        for column in &across {
            sum.fill(0.0);
            for (i, weight) in row {
                for (j, other) in column {
                    let place = &stored[(i * side + j) * width..][..width];
                    sum.iter_mut().zip(place).for_each(|(s, &v)| *s += weight * other * f64::from(v));
                }
            }
            resized.extend(sum.iter().map(|&s| s as f32));
        }
    }
    resized
}

/// For each of `extent` results along an axis of `side` values the four values that it is made of, and their weights.
fn taps(side: usize, extent: usize) -> Vec<[(usize, f64); 4]> {
    let last = side as f64 - 1.0;
    let step = side as f64 / (extent as f64 + OFFSET);
    let result = |i: usize| {
        let place = (i as f64 + 0.5) * step - 0.5;
        let (first, part) = (place.floor() - 1.0, place - place.floor());
        let tap = |k: f64| (first + k).clamp(0.0, last) as usize;
        let weights = [far(1.0 + part), near(part), near(1.0 - part), far(2.0 - part)];
        [(tap(0.0), weights[0]), (tap(1.0), weights[1]), (tap(2.0), weights[2]), (tap(3.0), weights[3])]
    };
    (0..extent).map(result).collect()
}

/// Keys' kernel at a distance of at most 1.
fn near(t: f64) -> f64 {
    ((A + 2.0) * t - (A + 3.0)) * t * t + 1.0
}

/// Keys' kernel at a distance from 1 to 2.
fn far(t: f64) -> f64 {
    ((A * t - 5.0 * A) * t + 8.0 * A) * t - 4.0 * A
}

#[cfg(test)]
mod tests {
    use super::*;
    use steropes_testkit::inputs::uniform;

    /// Keys' kernel as in R. Keys, Cubic convolution interpolation for digital image processing, 1981, for A = -3/4.
    fn kernel(t: f64) -> f64 {
        let t = t.abs();
        if t <= 1.0 {
            1.25 * t.powi(3) - 2.25 * t.powi(2) + 1.0
        } else if t < 2.0 {
            -0.75 * (t.powi(3) - 5.0 * t.powi(2) + 8.0 * t - 4.0)
        } else {
            0.0
        }
    }

    /// Sums over a plane that goes on beyond the border as its last row or column.
    fn oracle(stored: &[f32], [side, width]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f64> {
        let place = |i: usize, extent: usize| {
            let scale = (extent as f64 + 0.1) / side as f64;
            (i as f64 + 0.5) / scale - 0.5
        };
        let clamped = |i: i64| i.clamp(0, side as i64 - 1) as usize;
        let mut out = Vec::new();
        for (r, c) in (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))) {
            for d in 0..width {
                let mut sum = 0.0;
                for i in -4..side as i64 + 4 {
                    for j in -4..side as i64 + 4 {
                        let weight = kernel(place(r, rows) - i as f64) * kernel(place(c, columns) - j as f64);
                        sum += weight * f64::from(stored[(clamped(i) * side + clamped(j)) * width + d]);
                    }
                }
                out.push(sum);
            }
        }
        out
    }

    #[test]
    fn other_grids_are_interpolated() {
        for (side, grid) in
            [(1, [1, 1]), (1, [3, 2]), (2, [5, 1]), (4, [3, 5]), (8, [5, 7]), (8, [4, 16]), (24, [27, 37])]
        {
            let width = 3;
            let stored = uniform("positions", side * side * width);
            let got = resize_positions(&stored, [side, width], grid);
            let want = oracle(&stored, [side, width], grid);
            assert_eq!(got.len(), want.len());
            for (g, w) in got.iter().zip(&want) {
                assert!((f64::from(*g) - w).abs() <= 1e-7, "{side} to {grid:?}: {g} is not {w}");
            }
        }
    }

    #[test]
    fn the_stored_grid_is_used_as_it_is() {
        let stored = uniform("positions", 8 * 8 * 2);
        assert_eq!(resize_positions(&stored, [8, 2], [8, 8]), stored);
        // As many patches on another grid are interpolated.
        assert_ne!(resize_positions(&stored, [8, 2], [4, 16]), stored);
    }
}
