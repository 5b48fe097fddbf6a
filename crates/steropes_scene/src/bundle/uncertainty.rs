//! How far each camera can be trusted.

use super::adjust::{AdjustOptions, Columns, KEPT, Problem};
use nalgebra::{DMatrix, Matrix3, Vector3};

/// Standard deviations of one refined camera, as the residuals and the geometry of the points tell. Errors that
/// many matches share are not seen by them: take them as an order of cameras, not as bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CameraUncertainty {
    /// Root mean square turn, in degrees.
    pub rotation_deg: f64,
    /// Root mean square shift of the centre, as a share of the largest distance between two cameras.
    pub center_share: f64,
    /// Of the focal length, as a share of it; 0 if it was held.
    pub focal_share: f64,
}

/// Uncertainty of every camera from the inverse of the reduced normal equations at the solution.
///
/// No camera is kept: the seven directions that nothing measures (turn, shift and growth of the whole
/// scene) are taken out instead, so that the first camera is not certain merely because the frame hangs on it.
/// Cameras without observations get `None`. `extent` is the largest distance between two centres.
///
/// # Source
/// Free-network adjustment: Triggs et al. 2000, section 9.
pub(super) fn uncertainties(
    problem: &Problem,
    options: &AdjustOptions,
    extent: f64,
) -> Vec<Option<CameraUncertainty>> {
    let cameras = problem.cameras.len();
    let mut seen = vec![0usize; cameras];
    for o in &problem.observations {
        seen[o.camera] += 1;
    }
    let unseen: Vec<bool> = seen.iter().map(|&n| n == 0).collect();
    let columns = Columns::new(problem, options.free, &unseen);
    let mut matrix = columns.reduced_system(problem, options, 0.0).matrix;
    matrix.fill_upper_triangle_with_lower_triangle();
    // Rows of lens groups that see nothing are empty.
    for k in 0..columns.count {
        if matrix[(k, k)] <= 0.0 {
            matrix[(k, k)] = 1.0;
        }
    }
    // Believed depths measure the growth.
    let unmeasured = if options.depth_sigma.is_some() { 6 } else { 7 };
    let gauge = gauge_directions(problem, &columns).columns(0, unmeasured).into_owned();
    let stiffness = matrix.trace() / columns.count.max(1) as f64;
    matrix += &gauge * gauge.transpose() * stiffness;
    let Some(inverse) = matrix.cholesky().map(|c| c.inverse()) else { return vec![None; cameras] };
    let covariance = inverse - &gauge * gauge.transpose() / stiffness;
    (0..cameras)
        .map(|i| {
            let column = columns.of_pose(i);
            if column == KEPT {
                return None;
            }
            let variance =
                |from: usize| -> f64 { (from..from + 3).map(|k| covariance[(k, k)].max(0.0)).sum() };
            let focal = columns.of_focal(i).map_or(0.0, |k| covariance[(k, k)].max(0.0).sqrt());
            // A shift of the translation is a shift of the centre, turned.
            Some(CameraUncertainty {
                rotation_deg: variance(column).sqrt().to_degrees(),
                center_share: variance(column + 3).sqrt() / extent,
                focal_share: focal,
            })
        })
        .collect()
}

/// Orthonormal basis of the turns, shifts and growth of the whole scene.
fn gauge_directions(problem: &Problem, columns: &Columns) -> DMatrix<f64> {
    let mut directions = DMatrix::zeros(columns.count, 7);
    for (i, camera) in problem.cameras.iter().enumerate() {
        let column = columns.of_pose(i);
        if column == KEPT {
            continue;
        }
        let rotation = camera.rotation.matrix();
        // World turned by w: R' = R exp(-w), so the camera turns by -R w, and p = R X + t stays for X' = exp(w) X.
        directions.fixed_view_mut::<3, 3>(column, 0).copy_from(&-rotation);
        // As twist (turn, shift) after camera-from-world with turn x translation included by the parametrisation.
        let carried: Matrix3<f64> = camera.translation.cross_matrix() * -rotation;
        directions.fixed_view_mut::<3, 3>(column + 3, 0).copy_from(&carried);
        directions.fixed_view_mut::<3, 3>(column + 3, 3).copy_from(&-rotation);
    }
    directions.set_column(6, &columns.growth_about(problem, &Vector3::zeros()));
    // Columns are independent unless there is a single camera; QR then still returns a basis.
    directions.qr().q()
}
