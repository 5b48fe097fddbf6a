//! f64 oracle: the normal equations, solved by Cramer's rule.

/// A least-squares point with the condition number of its equations (Frobenius norm, at most three times the usual one).
pub(super) struct Solution {
    pub(super) point: [f64; 3],
    pub(super) condition: f64,
}

/// The point seen at `pixels` by cameras with these 3x4 projections (12 values each), `None` if the equations are singular.
pub(super) fn triangulate(pixels: &[[f32; 2]], projections: &[Vec<f64>]) -> Option<Solution> {
    let (mut normal, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (pixel, p) in pixels.iter().zip(projections) {
        for axis in 0..2 {
            let row: Vec<f64> = (0..4).map(|c| p[4 * axis + c] - f64::from(pixel[axis]) * p[8 + c]).collect();
            for i in 0..3 {
                for j in 0..3 {
                    normal[i][j] += row[i] * row[j];
                }
                right[i] -= row[i] * row[3];
            }
        }
    }
    let whole = determinant(&normal);
    let point = [0, 1, 2].map(|column| {
        let mut replaced = normal;
        for (row, r) in replaced.iter_mut().zip(right) {
            row[column] = r;
        }
        determinant(&replaced) / whole
    });
    // |N|_F |N^-1|_F; the inverse is made of cofactors.
    let square = |m: &[[f64; 3]; 3]| m.iter().flatten().map(|v| v * v).sum::<f64>();
    let mut inverse = [[0.0; 3]; 3];
    for (i, row) in inverse.iter_mut().enumerate() {
        for (j, v) in row.iter_mut().enumerate() {
            let at = |r: usize, c: usize| normal[(i + r) % 3][(j + c) % 3];
            *v = (at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)) / whole;
        }
    }
    let condition = (square(&normal) * square(&inverse)).powf(0.25);
    (whole != 0.0 && condition < 1e7).then_some(Solution { point, condition })
}

fn determinant(m: &[[f64; 3]; 3]) -> f64 {
    (0..3)
        .map(|j| m[0][j] * (m[1][(j + 1) % 3] * m[2][(j + 2) % 3] - m[1][(j + 2) % 3] * m[2][(j + 1) % 3]))
        .sum()
}
