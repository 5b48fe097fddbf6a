//! Poses of a gripper and the differences between them.

use nalgebra::Rotation3;

/// Below this cosine of the middle angle the other two turn about one axis, as SciPy has it.
const GIMBAL_COSINE: f64 = 1e-7;

/// Where the gripper of an arm is, in the frame of the arm's base.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pose {
    /// Place of the gripper, in metres.
    pub position_m: [f64; 3],
    /// Its rotation as angles about the fixed axes x, then y, then z of the base, in radians: `R = Rz(c) Ry(b) Rx(a)`.
    pub angles_rad: [f64; 3],
    /// How far the gripper is closed, from 0 (open) to 1.
    pub gripper: f64,
}

/// The change from one [`Pose`] to another, in the frame of the arm's base.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Action {
    /// Difference of the places, in metres.
    pub translation_m: [f64; 3],
    /// The rotation that turns the first orientation into the second, in the angles of [`Pose::angles_rad`].
    pub angles_rad: [f64; 3],
    /// Difference of how far the gripper is closed.
    pub gripper: f64,
}

impl Pose {
    /// The pose whose values are place, angles and gripper in this order.
    pub fn from_array([x, y, z, a, b, c, gripper]: [f64; 7]) -> Self {
        Self { position_m: [x, y, z], angles_rad: [a, b, c], gripper }
    }

    /// Place, angles and gripper in one row, as a world model reads them.
    pub fn to_array(&self) -> [f64; 7] {
        row(self.position_m, self.angles_rad, self.gripper)
    }

    /// The action that leads from this pose to `end`: `R_end R_startᵀ`, and plain differences of the rest.
    ///
    /// # Numerics
    /// Angles as [`Pose::after`] gives them.
    pub fn action_to(&self, end: &Pose) -> Action {
        let turn = rotation(end.angles_rad) * rotation(self.angles_rad).inverse();
        Action {
            translation_m: [0, 1, 2].map(|i| end.position_m[i] - self.position_m[i]),
            angles_rad: angles(&turn),
            gripper: end.gripper - self.gripper,
        }
    }

    /// The pose after an action: places are added, the rotation is `R_action R`, the gripper stays within 0 and 1.
    ///
    /// # Numerics
    /// The middle angle is within a quarter turn. Where it is a quarter turn, the others are not unique and the third is 0.
    pub fn after(&self, action: &Action) -> Pose {
        let turned = rotation(action.angles_rad) * rotation(self.angles_rad);
        Pose {
            position_m: [0, 1, 2].map(|i| self.position_m[i] + action.translation_m[i]),
            angles_rad: angles(&turned),
            gripper: (self.gripper + action.gripper).clamp(0.0, 1.0),
        }
    }
}

impl Action {
    /// The action whose values are translation, angles and gripper in this order.
    pub fn from_array([x, y, z, a, b, c, gripper]: [f64; 7]) -> Self {
        Self { translation_m: [x, y, z], angles_rad: [a, b, c], gripper }
    }

    /// Translation, angles and gripper in one row, as a world model reads them.
    pub fn to_array(&self) -> [f64; 7] {
        row(self.translation_m, self.angles_rad, self.gripper)
    }
}

fn row([x, y, z]: [f64; 3], [a, b, c]: [f64; 3], gripper: f64) -> [f64; 7] {
    [x, y, z, a, b, c, gripper]
}

/// `Rz(c) Ry(b) Rx(a)`.
fn rotation([a, b, c]: [f64; 3]) -> Rotation3<f64> {
    Rotation3::from_euler_angles(a, b, c)
}

/// The angles whose [`rotation`] this is.
fn angles(rotation: &Rotation3<f64>) -> [f64; 3] {
    let r = rotation.matrix();
    let cosine = r[(0, 0)].hypot(r[(1, 0)]);
    let middle = (-r[(2, 0)]).atan2(cosine);
    if cosine <= GIMBAL_COSINE {
        return [(-r[(1, 2)]).atan2(r[(1, 1)]), middle, 0.0];
    }
    [r[(2, 1)].atan2(r[(2, 2)]), middle, r[(1, 0)].atan2(r[(0, 0)])]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nalgebra::Matrix3;
    use std::f64::consts::{FRAC_PI_2, PI};
    use steropes_testkit::inputs::uniform;

    fn product(a: [[f64; 3]; 3], b: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| (0..3).map(|k| a[i][k] * b[k][j]).sum()))
    }

    /// `Rz Ry Rx`, written out.
    fn plain([a, b, c]: [f64; 3]) -> [[f64; 3]; 3] {
        let x = [[1.0, 0.0, 0.0], [0.0, a.cos(), -a.sin()], [0.0, a.sin(), a.cos()]];
        let y = [[b.cos(), 0.0, b.sin()], [0.0, 1.0, 0.0], [-b.sin(), 0.0, b.cos()]];
        let z = [[c.cos(), -c.sin(), 0.0], [c.sin(), c.cos(), 0.0], [0.0, 0.0, 1.0]];
        product(z, product(y, x))
    }

    #[track_caller]
    fn assert_rotation(angles: [f64; 3], want: [[f64; 3]; 3], bound: f64) {
        let got = plain(angles);
        let worst = (0..9).map(|i| (got[i / 3][i % 3] - want[i / 3][i % 3]).abs()).fold(0.0, f64::max);
        assert!(worst <= bound, "{angles:?} is off by {worst:e}");
    }

    fn transposed(r: [[f64; 3]; 3]) -> [[f64; 3]; 3] {
        [0, 1, 2].map(|i| [0, 1, 2].map(|j| r[j][i]))
    }

    /// Poses with angles of up to a whole turn and grippers between 0 and 1.
    fn poses(name: &str, count: usize) -> Vec<Pose> {
        let values: Vec<f64> = uniform(name, 7 * count).into_iter().map(f64::from).collect();
        let pose = |v: &[f64]| Pose {
            position_m: [v[0], v[1], v[2]],
            angles_rad: [2.0 * PI * v[3], 2.0 * PI * v[4], 2.0 * PI * v[5]],
            gripper: 0.5 + 0.5 * v[6],
        };
        values.chunks_exact(7).map(pose).collect()
    }

    #[test]
    fn the_action_between_two_poses_leads_from_one_to_the_other() {
        for (start, end) in poses("start", 2000).iter().zip(&poses("end", 2000)) {
            let action = start.action_to(end);
            let got = start.after(&action);
            for i in 0..3 {
                assert!((got.position_m[i] - end.position_m[i]).abs() < 1e-14);
            }
            assert!((got.gripper - end.gripper).abs() < 1e-15);
            assert_rotation(got.angles_rad, plain(end.angles_rad), 1e-12);
            let turn = product(plain(end.angles_rad), transposed(plain(start.angles_rad)));
            assert_rotation(action.angles_rad, turn, 1e-12);
            assert!(action.angles_rad[1].abs() <= FRAC_PI_2 + 1e-12, "{action:?}");
        }
    }

    #[test]
    fn an_action_is_found_again_from_what_it_does() {
        for (start, step) in poses("from", 2000).iter().zip(&poses("step", 2000)) {
            let mut action = Action { translation_m: step.position_m, ..Action::default() };
            action.angles_rad = step.angles_rad.map(|angle| angle / (4.1 * PI) * PI);
            let found = start.action_to(&start.after(&action));
            for i in 0..3 {
                assert!((found.translation_m[i] - action.translation_m[i]).abs() < 1e-14);
                assert!((found.angles_rad[i] - action.angles_rad[i]).abs() < 1e-7, "{found:?} {action:?}");
            }
        }
    }

    #[test]
    fn the_axes_are_those_of_the_base_and_the_first_turn_is_about_x() {
        // A quarter turn about x and then one about z of the base takes y to z, which the second leaves.
        let [x, y, z] = [0, 1, 2].map(|axis| plain([FRAC_PI_2, 0.0, FRAC_PI_2]).map(|row| row[axis]));
        let near = |v: [f64; 3], w: [f64; 3]| v.iter().zip(w).all(|(a, b)| (a - b).abs() < 1e-15);
        assert!(near(x, [0.0, 1.0, 0.0]) && near(y, [0.0, 0.0, 1.0]) && near(z, [1.0, 0.0, 0.0]));
        let start = Pose::from_array([0.0; 7]);
        let about_x = Action::from_array([0.0, 0.0, 0.0, FRAC_PI_2, 0.0, 0.0, 0.0]);
        let about_z = Action::from_array([0.0, 0.0, 0.0, 0.0, 0.0, FRAC_PI_2, 0.0]);
        let end = start.after(&about_x).after(&about_z);
        assert!(near(end.angles_rad, [FRAC_PI_2, 0.0, FRAC_PI_2]), "{end:?}");
        // The other order is another rotation.
        let other = start.after(&about_z).after(&about_x);
        assert_rotation(
            other.angles_rad,
            product(plain(about_x.angles_rad), plain(about_z.angles_rad)),
            1e-14,
        );
        assert!(!near(other.angles_rad, end.angles_rad));
    }

    #[test]
    fn at_a_gimbal_the_third_angle_is_zero_and_the_rotation_is_kept() {
        for middle in [FRAC_PI_2, -FRAC_PI_2] {
            for (a, c) in [(0.3, 0.0), (0.3, 0.9), (-2.5, 1.0), (0.0, PI), (3.0, -3.0)] {
                let want = plain([a, middle, c]);
                let flat = |i: usize, j: usize| want[i][j];
                let matrix = Matrix3::from_fn(flat);
                let got = angles(&Rotation3::from_matrix_unchecked(matrix));
                assert_eq!(got[2], 0.0, "{middle} {a} {c}");
                assert!((got[1] - middle).abs() < 1e-7);
                assert_rotation(got, want, 1e-15);
            }
        }
    }

    #[test]
    fn beside_a_gimbal_nothing_is_lost() {
        for tilt in [1e-3, 1e-5, 1e-6] {
            let pose = Pose::from_array([0.0, 0.0, 0.0, 0.4, FRAC_PI_2 - tilt, -0.7, 0.0]);
            let end = Pose::from_array([0.0; 7])
                .after(&Action { angles_rad: pose.angles_rad, ..Action::default() });
            assert_rotation(end.angles_rad, plain(pose.angles_rad), 1e-15);
            assert!((end.angles_rad[0] - 0.4).abs() < 1e-15 / tilt);
        }
    }

    #[test]
    fn the_gripper_stays_between_open_and_closed() {
        let at = |gripper| Pose { gripper, ..Pose::from_array([0.0; 7]) };
        let by = |gripper| Action { gripper, ..Action::default() };
        assert_eq!(at(0.8).after(&by(0.5)).gripper, 1.0);
        assert_eq!(at(0.2).after(&by(-0.5)).gripper, 0.0);
        assert_eq!(at(0.25).after(&by(0.5)).gripper, 0.75);
    }

    #[test]
    fn rows_hold_place_angles_and_gripper() {
        let row = [1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 0.5];
        assert_eq!(Pose::from_array(row).to_array(), row);
        assert_eq!(Action::from_array(row).to_array(), row);
        assert_eq!(Pose::from_array(row).angles_rad, [0.1, 0.2, 0.3]);
    }
}
