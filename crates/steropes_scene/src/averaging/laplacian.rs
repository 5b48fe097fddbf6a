//! Least squares over the differences of a graph's nodes.

use nalgebra::{Matrix3, Vector3};

/// One term `(x_b - x_a)^T M (x_b - x_a) - 2 r^T (x_b - x_a)` of the sum.
pub(super) struct Term {
    pub(super) nodes: [usize; 2],
    /// Symmetric and positive semidefinite.
    pub(super) matrix: Matrix3<f64>,
    pub(super) right_side: Vector3<f64>,
}

/// The node vectors that minimise the sum of the terms plus `damping |x|^2`; nodes in `pinned` stay zero.
///
/// Conjugate gradients, preconditioned with the inverse diagonal blocks.
pub(super) fn least_squares(
    node_count: usize,
    terms: &[Term],
    pinned: &[bool],
    damping: f64,
) -> Vec<Vector3<f64>> {
    let mut diagonal = vec![Matrix3::identity() * damping; node_count];
    let mut residual = vec![Vector3::zeros(); node_count];
    for term in terms {
        let [a, b] = term.nodes;
        diagonal[a] += term.matrix;
        diagonal[b] += term.matrix;
        residual[a] -= term.right_side;
        residual[b] += term.right_side;
    }
    let inverse: Vec<Matrix3<f64>> = diagonal
        .iter()
        .zip(pinned)
        .map(|(d, &pinned)| {
            // A node whose terms leave a direction free gets no preconditioning in it.
            let lifted = d + Matrix3::identity() * (1e-9 * d.trace() + f64::MIN_POSITIVE);
            if pinned { Matrix3::zeros() } else { lifted.try_inverse().unwrap_or_else(Matrix3::zeros) }
        })
        .collect();
    let mut x = vec![Vector3::zeros(); node_count];
    let mut z = product(&inverse, &residual);
    let mut direction = z.clone();
    let mut power = dot(&residual, &z);
    let target = 1e-24 * power;
    for _ in 0..(6 * node_count + 50) {
        if !(power > target && power > 0.0) {
            break;
        }
        let applied = apply(terms, &direction, pinned, damping);
        let curvature = dot(&direction, &applied);
        if curvature <= 0.0 {
            break;
        }
        let step = power / curvature;
        for i in 0..node_count {
            x[i] += step * direction[i];
            residual[i] -= step * applied[i];
        }
        z = product(&inverse, &residual);
        let next = dot(&residual, &z);
        let keep = next / power;
        power = next;
        for i in 0..node_count {
            direction[i] = z[i] + keep * direction[i];
        }
    }
    x
}

fn apply(terms: &[Term], x: &[Vector3<f64>], pinned: &[bool], damping: f64) -> Vec<Vector3<f64>> {
    let mut y: Vec<Vector3<f64>> = x.iter().map(|v| v * damping).collect();
    for term in terms {
        let [a, b] = term.nodes;
        let pull = term.matrix * (x[b] - x[a]);
        y[a] -= pull;
        y[b] += pull;
    }
    for (v, _) in y.iter_mut().zip(pinned).filter(|(_, pinned)| **pinned) {
        *v = Vector3::zeros();
    }
    y
}

fn product(blocks: &[Matrix3<f64>], x: &[Vector3<f64>]) -> Vec<Vector3<f64>> {
    blocks.iter().zip(x).map(|(m, v)| m * v).collect()
}

fn dot(a: &[Vector3<f64>], b: &[Vector3<f64>]) -> f64 {
    a.iter().zip(b).map(|(p, q)| p.dot(q)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_adds_up() {
        let step = Vector3::new(1.0, -2.0, 0.5);
        let terms: Vec<Term> = (0..9)
            .map(|i| Term { nodes: [i, i + 1], matrix: Matrix3::identity() * 3.0, right_side: step * 3.0 })
            .collect();
        let mut pinned = vec![false; 10];
        pinned[0] = true;
        let x = least_squares(10, &terms, &pinned, 0.0);
        for (i, v) in x.iter().enumerate() {
            assert!((v - step * i as f64).norm() < 1e-9, "{i}: {v}");
        }
    }
}
