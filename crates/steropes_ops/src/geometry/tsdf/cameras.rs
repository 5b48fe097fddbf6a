//! The matrices that take points to pixels, in f64 on the host: a few numbers per map.

use super::View;

/// Rows of a 3x4 matrix.
pub(super) type Rows = [[f64; 4]; 3];

/// The matrix that takes world points to homogeneous pixels: `K [R t]`.
pub(super) fn pixel_from_world(view: &View) -> Rows {
    with_intrinsics(view, &view.camera_from_world)
}

/// The matrix that takes `(x d, y d, d)`, the pixel `(x, y)` of `source` at depth `d`, to homogeneous pixels of `target`.
pub(super) fn pixel_from_ray(target: &View, source: &View) -> Rows {
    let (to, from) = (&target.camera_from_world, &source.camera_from_world);
    // R = R_target R_source^T, t = t_target - R t_source.
    let mut relative = [[0.0; 4]; 3];
    for (i, row) in relative.iter_mut().enumerate() {
        for j in 0..3 {
            row[j] = (0..3).map(|c| to[i][c] * from[j][c]).sum();
        }
        row[3] = to[i][3] - (0..3).map(|j| row[j] * from[j][3]).sum::<f64>();
        // Times the inverse intrinsics of the source: x_camera = (x d - cx d) / f.
        let [fx, fy] = source.focal_px;
        let [cx, cy] = source.center_px;
        let (x, y) = (row[0] / fx, row[1] / fy);
        row[2] -= cx * x + cy * y;
        (row[0], row[1]) = (x, y);
    }
    with_intrinsics(target, &relative)
}

/// Of the left 3x3 block.
pub(super) fn determinant(m: &Rows) -> f64 {
    m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
        + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
}

fn with_intrinsics(view: &View, camera: &Rows) -> Rows {
    let mut rows = *camera;
    for axis in 0..2 {
        for c in 0..4 {
            rows[axis][c] = view.focal_px[axis] * camera[axis][c] + view.center_px[axis] * camera[2][c];
        }
    }
    rows
}
