//! Relative rotations of two-view geometry as soft constraints.

use nalgebra::{Matrix3, Rotation3, UnitQuaternion, Vector3};

/// What the two-view geometry of a pair says about its rotation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RelativeRotation {
    /// The two photos `[a, b]`.
    pub images: [usize; 2],
    /// Turns directions in camera a into directions in camera b.
    pub b_from_a: UnitQuaternion<f64>,
    /// Standard deviation of the rotation, in radians.
    pub sigma_rad: f64,
}

/// Residual of a relative rotation and its derivatives.
pub(super) struct RotationResidual {
    /// `log(b_from_a R_a R_b^T)`, in radians.
    pub(super) value: Vector3<f64>,
    /// By the turn of camera a.
    pub(super) by_a: Matrix3<f64>,
    /// By the turn of camera b.
    pub(super) by_b: Matrix3<f64>,
}

impl RelativeRotation {
    /// The residual for the two cameras' rotations (camera from world).
    ///
    /// With `E = M R_a R_b^T`: turning a by `w` multiplies E from the left by `exp(M w)`, turning b from the
    /// right by `exp(-w)`, and `log(exp(x) E) = log E + Jl^-1 x`, `log(E exp(x)) = log E + Jr^-1 x`.
    pub(super) fn residual(&self, a: &Rotation3<f64>, b: &Rotation3<f64>) -> RotationResidual {
        let measured = self.b_from_a.to_rotation_matrix();
        // Through a quaternion: the angle from the trace of a matrix is lost near zero.
        let value = UnitQuaternion::from_rotation_matrix(&(measured * a * b.inverse())).scaled_axis();
        let left = left_jacobian_inverse(&value);
        RotationResidual { value, by_a: left * measured.matrix(), by_b: -left.transpose() }
    }
}

/// Inverse of the left Jacobian of the rotation group; its transpose is the inverse of the right one.
fn left_jacobian_inverse(v: &Vector3<f64>) -> Matrix3<f64> {
    let angle2 = v.norm_squared();
    let cross = v.cross_matrix();
    let quadratic = if angle2 < 1e-8 {
        1.0 / 12.0
    } else {
        let half = 0.5 * angle2.sqrt();
        (1.0 - half / half.tan()) / angle2
    };
    Matrix3::identity() - cross * 0.5 + cross * cross * quadratic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_agree_with_differences() {
        let a = Rotation3::from_scaled_axis(Vector3::new(0.3, 0.2, -0.4));
        let b = Rotation3::from_scaled_axis(Vector3::new(-0.5, 0.6, 0.1));
        let link = RelativeRotation {
            images: [0, 1],
            b_from_a: UnitQuaternion::from_scaled_axis(Vector3::new(-0.4, 0.8, 0.9)),
            sigma_rad: 1.0,
        };
        let at = link.residual(&a, &b);
        let h = 1e-6;
        for i in 0..3 {
            let mut step = Vector3::zeros();
            step[i] = h;
            let turn = |sign: f64| Rotation3::from_scaled_axis(step * sign);
            let by_a = (link.residual(&(turn(1.0) * a), &b).value
                - link.residual(&(turn(-1.0) * a), &b).value)
                / (2.0 * h);
            let by_b = (link.residual(&a, &(turn(1.0) * b)).value
                - link.residual(&a, &(turn(-1.0) * b)).value)
                / (2.0 * h);
            assert!((by_a - at.by_a.column(i)).norm() < 1e-8, "{by_a} {}", at.by_a);
            assert!((by_b - at.by_b.column(i)).norm() < 1e-8, "{by_b} {}", at.by_b);
        }
    }
}
