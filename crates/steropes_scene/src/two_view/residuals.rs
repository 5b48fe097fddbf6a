//! Residuals of matches under a 3 x 3 model, hypothesis scores, and normal equations in the nine entries of the model.
//!
//! Lengths are in the units of [`Correspondences`].

use super::correspondences::{Correspondences, LANES, Sample};
use nalgebra::{Matrix3, SMatrix, SVector};

/// What a 3 x 3 matrix says about a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// `x2^T F x1 = 0`; the residual is Sampson's first-order distance of the match to the set of exact ones.
    Epipolar,
    /// `x2 ~ H x1`; with transfer errors `e2` in photo 2 and `e1` in photo 1 the residual is
    /// `e1 e2 / sqrt(e1^2 + e2^2)`, which is Sampson's distance where `H` is locally a similarity.
    Homography,
}

/// The square residual of every match; infinite where a homography sends a point to infinity.
pub(super) fn square_residuals(relation: Relation, m: &Matrix3<f64>, points: &Correspondences) -> Vec<f64> {
    let inverse = inverse_of(relation, m);
    (0..points.len())
        .map(|i| match relation {
            Relation::Epipolar => {
                let e = Epipolar::new(m, points, i);
                e.product * e.product / e.slope_square
            }
            Relation::Homography => {
                let e1 = transfer(&inverse, points.x2[i], points.y2[i], points.x1[i], points.y1[i]).square;
                let e2 = transfer(m, points.x1[i], points.y1[i], points.x2[i], points.y2[i]).square;
                harmonic(e1, e2)
            }
        })
        .map(|square| if square.is_nan() { f64::INFINITY } else { square })
        .collect()
}

/// Distances of every match to what the model predicts for it in photo 1 and in photo 2: to the epipolar lines, or to
/// the transferred points.
pub(super) fn distances(relation: Relation, m: &Matrix3<f64>, points: &Correspondences) -> Vec<[f64; 2]> {
    let inverse = inverse_of(relation, m);
    (0..points.len())
        .map(|i| match relation {
            Relation::Epipolar => {
                let e = Epipolar::new(m, points, i);
                let length = |a: f64, b: f64| e.product.abs() / a.hypot(b);
                [length(e.line_1[0], e.line_1[1]), length(e.line_2[0], e.line_2[1])]
            }
            Relation::Homography => {
                let e1 = transfer(&inverse, points.x2[i], points.y2[i], points.x1[i], points.y1[i]).square;
                let e2 = transfer(m, points.x1[i], points.y1[i], points.x2[i], points.y2[i]).square;
                [e1.sqrt(), e2.sqrt()]
            }
        })
        .collect()
}

fn inverse_of(relation: Relation, m: &Matrix3<f64>) -> Matrix3<f64> {
    match relation {
        Relation::Epipolar => *m,
        // A singular homography transfers nothing back: all residuals become infinite.
        Relation::Homography => m.try_inverse().unwrap_or_else(|| Matrix3::from_element(f64::NAN)),
    }
}

fn harmonic(a: f64, b: f64) -> f64 {
    if a + b > 0.0 { a * b / (a + b) } else { 0.0 }
}

struct Epipolar {
    /// `x2^T F x1`.
    product: f64,
    /// First two coefficients of the line `F^T x2` in photo 1.
    line_1: [f64; 2],
    /// First two coefficients of the line `F x1` in photo 2.
    line_2: [f64; 2],
    slope_square: f64,
}

impl Epipolar {
    fn new(f: &Matrix3<f64>, p: &Correspondences, i: usize) -> Self {
        let (x1, y1, x2, y2) = (p.x1[i], p.y1[i], p.x2[i], p.y2[i]);
        let line_2 =
            [f[(0, 0)] * x1 + f[(0, 1)] * y1 + f[(0, 2)], f[(1, 0)] * x1 + f[(1, 1)] * y1 + f[(1, 2)]];
        let line_1 =
            [f[(0, 0)] * x2 + f[(1, 0)] * y2 + f[(2, 0)], f[(0, 1)] * x2 + f[(1, 1)] * y2 + f[(2, 1)]];
        let product = x2 * line_2[0] + y2 * line_2[1] + f[(2, 0)] * x1 + f[(2, 1)] * y1 + f[(2, 2)];
        let slope_square = line_1[0].powi(2) + line_1[1].powi(2) + line_2[0].powi(2) + line_2[1].powi(2);
        Self { product, line_1, line_2, slope_square }
    }
}

struct Transfer {
    /// Error in the target photo.
    error: [f64; 2],
    square: f64,
    /// The transferred point.
    point: [f64; 2],
    depth: f64,
}

fn transfer(h: &Matrix3<f64>, x: f64, y: f64, to_x: f64, to_y: f64) -> Transfer {
    let row = |i: usize| h[(i, 0)] * x + h[(i, 1)] * y + h[(i, 2)];
    let depth = row(2);
    let point = [row(0) / depth, row(1) / depth];
    let error = [point[0] - to_x, point[1] - to_y];
    Transfer { error, square: error[0].powi(2) + error[1].powi(2), point, depth }
}

/// `sum w max(0, 1 - r^2 / limit^2)` over the sample; stops early once `to_beat` is out of reach.
pub(super) fn score(relation: Relation, m: &Matrix3<f64>, sample: &Sample, limit: f64, to_beat: f32) -> f32 {
    let scale = 1.0 / m.norm();
    if !scale.is_finite() {
        return 0.0;
    }
    let forward: [f32; 9] = std::array::from_fn(|k| (m[(k / 3, k % 3)] * scale) as f32);
    let over_limit = (1.0 / (limit * limit)) as f32;
    let backward = match relation {
        Relation::Epipolar => forward,
        Relation::Homography => {
            let Some(inverse) = (m * scale).try_inverse() else { return 0.0 };
            std::array::from_fn(|k| inverse[(k / 3, k % 3)] as f32)
        }
    };
    let mut gains = [0.0f32; LANES];
    let mut remaining = sample.points.len() as f32;
    for group in sample.lanes.chunks(8) {
        for lanes in group {
            match relation {
                Relation::Epipolar => add_epipolar_gain(&forward, lanes, over_limit, &mut gains),
                Relation::Homography => add_transfer_gain(&forward, &backward, lanes, over_limit, &mut gains),
            }
        }
        remaining -= (group.len() * LANES) as f32;
        let total: f32 = gains.iter().sum();
        if total + remaining.max(0.0) <= to_beat {
            return total;
        }
    }
    gains.iter().sum()
}

fn add_epipolar_gain(f: &[f32; 9], lanes: &[[f32; LANES]; 5], over_limit: f32, gains: &mut [f32; LANES]) {
    let [x1, y1, x2, y2, weight] = lanes;
    for l in 0..LANES {
        let a = f[0] * x1[l] + f[1] * y1[l] + f[2];
        let b = f[3] * x1[l] + f[4] * y1[l] + f[5];
        let c = f[6] * x1[l] + f[7] * y1[l] + f[8];
        let d = f[0] * x2[l] + f[3] * y2[l] + f[6];
        let e = f[1] * x2[l] + f[4] * y2[l] + f[7];
        let product = x2[l] * a + y2[l] * b + c;
        let square = product * product / (a * a + b * b + d * d + e * e + f32::MIN_POSITIVE);
        gains[l] += weight[l] * (1.0 - square * over_limit).max(0.0);
    }
}

fn add_transfer_gain(
    h: &[f32; 9],
    back: &[f32; 9],
    lanes: &[[f32; LANES]; 5],
    over_limit: f32,
    gains: &mut [f32; LANES],
) {
    let [x1, y1, x2, y2, weight] = lanes;
    let square_error = |m: &[f32; 9], x: f32, y: f32, to_x: f32, to_y: f32| {
        let inverse_depth = 1.0 / (m[6] * x + m[7] * y + m[8]);
        let dx = (m[0] * x + m[1] * y + m[2]) * inverse_depth - to_x;
        let dy = (m[3] * x + m[4] * y + m[5]) * inverse_depth - to_y;
        dx * dx + dy * dy
    };
    for l in 0..LANES {
        let e2 = square_error(h, x1[l], y1[l], x2[l], y2[l]);
        let e1 = square_error(back, x2[l], y2[l], x1[l], y1[l]);
        let square = e1 * e2 / (e1 + e2 + f32::MIN_POSITIVE);
        // `max` drops a NaN, which stands for a point at infinity.
        gains[l] += weight[l] * (1.0 - square * over_limit).max(0.0);
    }
}

/// Weighted robust cost with Gauss-Newton matrix and half gradient in the nine entries (row major) of the model.
pub(super) struct NormalEquations {
    pub(super) cost: f64,
    pub(super) hessian: SMatrix<f64, 9, 9>,
    pub(super) gradient: SVector<f64, 9>,
}

/// The Geman-McClure cost `sum w r^2 / (1 + r^2 / scale^2)` alone.
pub(super) fn robust_cost(relation: Relation, m: &Matrix3<f64>, points: &Correspondences, scale: f64) -> f64 {
    let limit = scale * scale;
    let squares = square_residuals(relation, m, points);
    let loss = |square: f64| if square.is_finite() { limit * square / (limit + square) } else { limit };
    squares.iter().zip(&points.weight).map(|(&square, w)| w * loss(square)).sum()
}

/// The [`NormalEquations`] of the Geman-McClure cost `sum w r^2 / (1 + r^2 / scale^2)`.
pub(super) fn normal_equations(
    relation: Relation,
    m: &Matrix3<f64>,
    points: &Correspondences,
    scale: f64,
) -> NormalEquations {
    let limit = scale * scale;
    let inverse = inverse_of(relation, m);
    let mut sums = Sums { cost: 0.0, products: [[0.0; 9]; 9], gradient: [0.0; 9] };
    for i in 0..points.len() {
        let weight = points.weight[i];
        match relation {
            Relation::Epipolar => {
                let e = Epipolar::new(m, points, i);
                let square = e.product * e.product / e.slope_square;
                if !square.is_finite() {
                    continue;
                }
                sums.cost += weight * limit * square / (limit + square);
                let (residual, row) = sampson_row(&e, points, i);
                sums.add(weight * (limit / (limit + square)).powi(2), residual, &row);
            }
            Relation::Homography => {
                let e1 = transfer(&inverse, points.x2[i], points.y2[i], points.x1[i], points.y1[i]).square;
                let forward = transfer(m, points.x1[i], points.y1[i], points.x2[i], points.y2[i]);
                let square = harmonic(e1, forward.square);
                if !square.is_finite() {
                    sums.cost += weight * limit;
                    continue;
                }
                sums.cost += weight * limit * square / (limit + square);
                // The share of the error in photo 2 is taken as constant for the slope.
                let share = if forward.square > 0.0 { square / forward.square } else { 0.5 };
                let weight = weight * share * (limit / (limit + square)).powi(2);
                for (row, error) in
                    transfer_rows(&forward, points.x1[i], points.y1[i]).iter().zip(forward.error)
                {
                    sums.add(weight, error, row);
                }
            }
        }
    }
    sums.finished()
}

struct Sums {
    cost: f64,
    products: [[f64; 9]; 9],
    gradient: [f64; 9],
}

impl Sums {
    fn add(&mut self, weight: f64, residual: f64, row: &[f64; 9]) {
        for j in 0..9 {
            let scaled = weight * row[j];
            self.gradient[j] += scaled * residual;
            // Whole rows although half would do: fixed lengths suit the vector units.
            for (sum, slope) in self.products[j].iter_mut().zip(row) {
                *sum += scaled * slope;
            }
        }
    }

    fn finished(self) -> NormalEquations {
        NormalEquations {
            cost: self.cost,
            hessian: SMatrix::from_fn(|j, k| self.products[j][k]),
            gradient: SVector::from(self.gradient),
        }
    }
}

/// The signed Sampson residual and its slope in the entries of `F`.
fn sampson_row(e: &Epipolar, p: &Correspondences, i: usize) -> (f64, [f64; 9]) {
    let first = [p.x1[i], p.y1[i], 1.0];
    let second = [p.x2[i], p.y2[i], 1.0];
    let inverse = 1.0 / e.slope_square.sqrt();
    let residual = e.product * inverse;
    let pull = residual * inverse * inverse;
    let mut row = [0.0; 9];
    for j in 0..3 {
        for k in 0..3 {
            let mut d = second[j] * first[k] * inverse;
            if j < 2 {
                d -= pull * e.line_2[j] * first[k];
            }
            if k < 2 {
                d -= pull * e.line_1[k] * second[j];
            }
            row[3 * j + k] = d;
        }
    }
    (residual, row)
}

fn transfer_rows(t: &Transfer, x: f64, y: f64) -> [[f64; 9]; 2] {
    let inverse = 1.0 / t.depth;
    let first = [x * inverse, y * inverse, inverse];
    let mut rows = [[0.0; 9]; 2];
    for k in 0..3 {
        for (axis, row) in rows.iter_mut().enumerate() {
            row[3 * axis + k] = first[k];
            row[6 + k] = -t.point[axis] * first[k];
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::random::SplitMix;

    fn points(n: usize) -> Correspondences {
        let mut random = SplitMix::new(3);
        let mut column = || (0..n).map(|_| random.uniform() - 0.5).collect::<Vec<_>>();
        Correspondences {
            x1: column(),
            y1: column(),
            x2: column(),
            y2: column(),
            weight: vec![0.7; n],
            scale_px: 1.0,
            sizes: [[1.0; 2]; 2],
        }
    }

    #[test]
    fn sampson_slope_matches_differences() {
        let p = points(20);
        let f = Matrix3::new(0.3, -0.2, 0.5, 0.1, 0.4, -0.6, 0.2, 0.7, 0.1);
        for i in 0..20 {
            let (_, row) = sampson_row(&Epipolar::new(&f, &p, i), &p, i);
            for k in 0..9 {
                let at = |step: f64| {
                    let mut moved = f;
                    moved[(k / 3, k % 3)] += step;
                    sampson_row(&Epipolar::new(&moved, &p, i), &p, i).0
                };
                let slope = (at(1e-6) - at(-1e-6)) / 2e-6;
                assert!((slope - row[k]).abs() < 1e-7 * (1.0 + slope.abs()), "{i} {k}");
            }
        }
    }

    #[test]
    fn gradient_is_half_the_slope_of_the_cost() {
        let p = points(40);
        let f = Matrix3::new(0.3, -0.2, 0.5, 0.1, 0.4, -0.6, 0.2, 0.7, 0.1);
        // With a wide loss the weight's own slope vanishes and the gradient is that of least squares.
        let equations = normal_equations(Relation::Epipolar, &f, &p, 1e4);
        for k in 0..9 {
            let at = |step: f64| {
                let mut moved = f;
                moved[(k / 3, k % 3)] += step;
                robust_cost(Relation::Epipolar, &moved, &p, 1e4)
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((0.5 * slope - equations.gradient[k]).abs() < 1e-6, "{k}");
        }
    }

    #[test]
    fn transfer_slope_matches_differences() {
        let h = Matrix3::new(1.1, 0.2, 0.3, -0.1, 0.9, 0.2, 0.1, -0.2, 1.0);
        let rows = transfer_rows(&transfer(&h, 0.3, -0.2, 0.0, 0.0), 0.3, -0.2);
        for k in 0..9 {
            let at = |step: f64| {
                let mut moved = h;
                moved[(k / 3, k % 3)] += step;
                transfer(&moved, 0.3, -0.2, 0.0, 0.0).error
            };
            for (axis, row) in rows.iter().enumerate() {
                let slope = (at(1e-6)[axis] - at(-1e-6)[axis]) / 2e-6;
                assert!((slope - row[k]).abs() < 1e-8, "{axis} {k}");
            }
        }
    }
}
