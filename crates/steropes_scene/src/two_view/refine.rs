//! Parametrised two-view models and their refinement.

use super::correspondences::Correspondences;
use super::residuals::{Relation, normal_equations, robust_cost};
use nalgebra::{Matrix3, Rotation3, SMatrix, SVector, Unit, UnitQuaternion, Vector3};

/// Room for the parameters of every model.
const MAX: usize = 8;
/// A step of the parameters; entries from the number of parameters on are zero.
pub(super) type Step = SVector<f64, MAX>;
/// A symmetric matrix over the parameters.
pub(super) type Information = SMatrix<f64, MAX, MAX>;

/// A model with a few parameters that gives a 3 x 3 matrix.
pub(super) trait Model: Clone {
    /// How the matrix judges matches.
    const RELATION: Relation;
    /// Number of parameters.
    fn parameters(&self) -> usize;
    /// The fundamental matrix or homography in the units of [`Correspondences`].
    fn matrix(&self) -> Matrix3<f64>;
    /// The model after a small step.
    fn moved(&self, step: &Step) -> Self;
    /// Cost of the parameters themselves, with half gradient and curvature per parameter.
    fn prior(&self) -> (f64, Step, Step) {
        (0.0, Step::zeros(), Step::zeros())
    }
}

/// What is believed about the focal lengths before the matches are seen: log-normal around a guess with heavy tails
/// (`nu^2 ln(1 + z^2 / nu^2)`, nu = 3), because a network's focal is mostly within a tenth but sometimes far off.
#[derive(Clone, Copy, Debug)]
pub(super) struct FocalPrior {
    pub(super) log_mean: [f64; 2],
    /// Standard deviation of the logarithm; 0 for a focal length that is known.
    pub(super) sigma: [f64; 2],
    /// Both photos have one focal length: then both entries are equal.
    pub(super) shared: bool,
}

const PRIOR_TAIL: f64 = 9.0; // nu squared

impl FocalPrior {
    /// The photo whose focal length each free parameter is.
    pub(super) fn free(&self) -> impl Iterator<Item = usize> {
        let (sigma, count) = (self.sigma, if self.shared { 1 } else { 2 });
        (0..count).filter(move |&photo| sigma[photo] > 0.0)
    }

    fn moved(&self, log_focal: [f64; 2], step: &Step, first: usize) -> [f64; 2] {
        let mut moved = log_focal;
        for (k, photo) in self.free().enumerate() {
            // A wild step must not reach infinity.
            let change = step[first + k].clamp(-0.5, 0.5);
            moved[photo] += change;
            if self.shared {
                moved[1] = moved[0];
            }
        }
        moved
    }

    fn cost(&self, log_focal: [f64; 2], first: usize) -> (f64, Step, Step) {
        let (mut cost, mut gradient, mut curvature) = (0.0, Step::zeros(), Step::zeros());
        for (k, photo) in self.free().enumerate() {
            let z = (log_focal[photo] - self.log_mean[photo]) / self.sigma[photo];
            let weight = 1.0 / (1.0 + z * z / PRIOR_TAIL);
            cost += PRIOR_TAIL * (z * z / PRIOR_TAIL).ln_1p();
            gradient[first + k] = weight * z / self.sigma[photo];
            curvature[first + k] = weight / self.sigma[photo].powi(2);
        }
        (cost, gradient, curvature)
    }
}

/// diag(f, f, 1), inverted.
pub(super) fn inverse_calibration(log_focal: f64) -> Matrix3<f64> {
    let f = (-log_focal).exp();
    Matrix3::from_diagonal(&Vector3::new(f, f, 1.0))
}

/// diag(f, f, 1).
pub(super) fn calibration(log_focal: f64) -> Matrix3<f64> {
    inverse_calibration(-log_focal)
}

/// A relative pose (camera 2 from camera 1) with focal lengths; its matrix is the fundamental matrix.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoseModel {
    pub(super) rotation: UnitQuaternion<f64>,
    pub(super) direction: Unit<Vector3<f64>>,
    pub(super) log_focal: [f64; 2],
    pub(super) prior: FocalPrior,
}

impl Model for PoseModel {
    const RELATION: Relation = Relation::Epipolar;

    fn parameters(&self) -> usize {
        5 + self.prior.free().count()
    }

    fn matrix(&self) -> Matrix3<f64> {
        let essential = self.direction.cross_matrix() * self.rotation.to_rotation_matrix();
        inverse_calibration(self.log_focal[1]) * essential * inverse_calibration(self.log_focal[0])
    }

    fn moved(&self, step: &Step) -> Self {
        let (a, b) = tangents(&self.direction);
        Self {
            rotation: UnitQuaternion::from_scaled_axis(step.fixed_rows::<3>(0).into_owned()) * self.rotation,
            direction: Unit::new_normalize(self.direction.into_inner() + step[3] * a + step[4] * b),
            log_focal: self.prior.moved(self.log_focal, step, 5),
            prior: self.prior,
        }
    }

    fn prior(&self) -> (f64, Step, Step) {
        self.prior.cost(self.log_focal, 5)
    }
}

/// Two directions that span the plane orthogonal to `d`.
fn tangents(d: &Unit<Vector3<f64>>) -> (Vector3<f64>, Vector3<f64>) {
    let axis = if d.x.abs() < 0.6 { Vector3::x() } else { Vector3::y() };
    let a = d.cross(&axis).normalize();
    (a, d.cross(&a))
}

/// A rotation about the camera centre with focal lengths; its matrix is the homography `K2 R K1^-1`.
#[derive(Clone, Copy, Debug)]
pub(super) struct RotationModel {
    pub(super) rotation: UnitQuaternion<f64>,
    pub(super) log_focal: [f64; 2],
    pub(super) prior: FocalPrior,
}

impl Model for RotationModel {
    const RELATION: Relation = Relation::Homography;

    fn parameters(&self) -> usize {
        3 + self.prior.free().count()
    }

    fn matrix(&self) -> Matrix3<f64> {
        calibration(self.log_focal[1])
            * self.rotation.to_rotation_matrix()
            * inverse_calibration(self.log_focal[0])
    }

    fn moved(&self, step: &Step) -> Self {
        Self {
            rotation: UnitQuaternion::from_scaled_axis(step.fixed_rows::<3>(0).into_owned()) * self.rotation,
            log_focal: self.prior.moved(self.log_focal, step, 3),
            prior: self.prior,
        }
    }

    fn prior(&self) -> (f64, Step, Step) {
        self.prior.cost(self.log_focal, 3)
    }
}

/// A homography with its eight degrees of freedom.
#[derive(Clone, Copy, Debug)]
pub(super) struct HomographyModel(pub(super) Matrix3<f64>);

impl Model for HomographyModel {
    const RELATION: Relation = Relation::Homography;

    fn parameters(&self) -> usize {
        8
    }

    fn matrix(&self) -> Matrix3<f64> {
        self.0
    }

    fn moved(&self, step: &Step) -> Self {
        let change =
            Matrix3::new(step[0], step[1], step[2], step[3], step[4], step[5], step[6], step[7], 0.0);
        let moved = self.0 * (Matrix3::identity() + change);
        Self(moved / moved.norm())
    }
}

/// A fundamental matrix `U diag(cos a, sin a, 0) V^T`.
#[derive(Clone, Copy, Debug)]
pub(super) struct FundamentalModel {
    u: Rotation3<f64>,
    v: Rotation3<f64>,
    angle: f64,
}

impl FundamentalModel {
    /// The nearest matrix of rank 2.
    pub(super) fn new(f: &Matrix3<f64>) -> Self {
        let svd = f.svd(true, true);
        let (u, v) = (svd.u.expect("asked for"), svd.v_t.expect("asked for").transpose());
        // The sign of F is free, and so are the signs of the last columns.
        let proper = |m: Matrix3<f64>| Rotation3::from_matrix_unchecked(m * m.determinant().signum());
        Self { u: proper(u), v: proper(v), angle: svd.singular_values[1].atan2(svd.singular_values[0]) }
    }
}

impl Model for FundamentalModel {
    const RELATION: Relation = Relation::Epipolar;

    fn parameters(&self) -> usize {
        7
    }

    fn matrix(&self) -> Matrix3<f64> {
        let singular = Matrix3::from_diagonal(&Vector3::new(self.angle.cos(), self.angle.sin(), 0.0));
        self.u * singular * self.v.inverse()
    }

    fn moved(&self, step: &Step) -> Self {
        Self {
            u: self.u * Rotation3::from_scaled_axis(step.fixed_rows::<3>(0).into_owned()),
            v: self.v * Rotation3::from_scaled_axis(step.fixed_rows::<3>(3).into_owned()),
            angle: self.angle + step[6],
        }
    }
}

/// A refined model with its cost and the information about its parameters.
pub(super) struct Refined<M> {
    pub(super) model: M,
    /// Gauss-Newton matrix of matches and prior, in units of the noise.
    information: Information,
}

impl<M: Model> Refined<M> {
    /// Posterior standard deviation of parameter `k`; `None` where the matches and the prior leave it free.
    pub(super) fn deviation(&self, k: usize) -> Option<f64> {
        let n = self.model.parameters();
        let inverse = self.information.view((0, 0), (n, n)).into_owned().cholesky()?.inverse();
        Some(inverse[(k, k)].sqrt())
    }
}

/// Matches that tell as much as one: the errors of a network's matches are alike over several cells, and taking them
/// for independent would let them outvote what is believed about the focal lengths where the scene hardly shows them.
const ALIKE: f64 = 4.0;

/// Levenberg-Marquardt on the robust cost at `scale`, in units of the noise `sigma`, plus the prior.
pub(super) fn refined<M: Model>(
    model: &M,
    points: &Correspondences,
    scale: f64,
    sigma: f64,
    steps: usize,
) -> Refined<M> {
    let total_cost =
        |m: &M| robust_cost(M::RELATION, &m.matrix(), points, scale) / (ALIKE * sigma * sigma) + m.prior().0;
    let mut model = model.clone();
    let mut damping = 1e-3;
    let (mut cost, mut information, mut gradient) = equations(&model, points, scale, sigma);
    for _ in 0..steps {
        let mut damped = information;
        for k in 0..MAX {
            damped[(k, k)] += damping * information[(k, k)];
            if k >= model.parameters() {
                damped[(k, k)] = 1.0;
            }
        }
        let Some(factor) = damped.cholesky() else { break };
        let candidate = model.moved(&-factor.solve(&gradient));
        let moved_cost = total_cost(&candidate);
        if moved_cost < cost {
            let done = cost - moved_cost < 1e-7 * cost;
            model = candidate;
            damping = (damping * 0.1).max(1e-9);
            (cost, information, gradient) = equations(&model, points, scale, sigma);
            if done {
                break;
            }
        } else {
            damping *= 10.0;
            if damping > 1e4 {
                break;
            }
        }
    }
    Refined { model, information }
}

/// Cost, Gauss-Newton matrix and half gradient in the parameters.
fn equations<M: Model>(
    model: &M,
    points: &Correspondences,
    scale: f64,
    sigma: f64,
) -> (f64, Information, Step) {
    let entries = normal_equations(M::RELATION, &model.matrix(), points, scale);
    // The matrix is smooth in few parameters: central differences cost nothing beside the sum over matches.
    const STEP: f64 = 1e-6;
    let mut slope = SMatrix::<f64, 9, MAX>::zeros();
    for k in 0..model.parameters() {
        let mut step = Step::zeros();
        step[k] = STEP;
        let change = (model.moved(&step).matrix() - model.moved(&-step).matrix()) / (2.0 * STEP);
        for i in 0..9 {
            slope[(i, k)] = change[(i / 3, i % 3)];
        }
    }
    let noise = 1.0 / (ALIKE * sigma * sigma);
    let (prior_cost, prior_gradient, prior_curvature) = model.prior();
    let information =
        slope.transpose() * entries.hessian * slope * noise + Information::from_diagonal(&prior_curvature);
    let gradient = slope.transpose() * entries.gradient * noise + prior_gradient;
    (entries.cost * noise + prior_cost, information, gradient)
}
