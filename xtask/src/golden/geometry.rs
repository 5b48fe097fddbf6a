//! Section 5.5: grids, transforms, back-projection.

use super::{Report, TensorFile};
use nalgebra::{
    Isometry3, Matrix3, Matrix4, Point2, Point3, Quaternion, Rotation3, Translation3, UnitQuaternion,
};
use steropes_scene::geometry::depth::{Focals, pixel_grid, points_from_depth, world_points_from_depth};
use steropes_scene::geometry::transform::{
    apply_affine, apply_homography, center_from_corner_origin, corner_from_center_origin,
    median_center_distance, project_points, transform_points,
};
use steropes_testkit::Tolerance;

const TOLERANCE: Tolerance = Tolerance::OfLargest(2e-6);

/// Runs one geometry file.
///
/// # Errors
/// The file lacks a tensor.
pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    grids(file, report)?;
    back_projection(file, report)?;
    transforms(file, report)?;
    poses(file, report)
}

fn grids(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let shape = file.shape("xy_grid")?;
    let (height, width) = (shape[0], shape[1]);
    for name in ["xy_grid", "xy_grid_origin"] {
        let want = file.i64(name)?;
        // The first element is the origin that the case was made with.
        let got = pixel_grid(width, height, [want[0], want[1]]).into_iter().flatten().collect::<Vec<_>>();
        let verdict = if got == want { Ok("exact".to_owned()) } else { Err("differs".to_owned()) };
        report.verdict(&format!("{}/{name}", file.stem()), verdict);
    }
    Ok(())
}

fn back_projection(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let stem = file.stem();
    let shape = file.shape("depth")?;
    let (batch, width, pixels) = (shape[0], shape[2], shape[1] * shape[2]);
    let (depth, pp) = (file.f32("depth")?, file.f64("pp")?);
    let (focal, focals) = (file.f32("focal_bhw")?, file.f32("focal_b2hw")?);
    let depths = file.f32("depth_n")?;
    let layers = depths.len() / depth.len();
    let mut got: [Vec<f32>; 5] = Default::default();
    for b in 0..batch {
        let one = &depth[b * pixels..][..pixels];
        let per_pixel = Focals::PerPixel(&focal[b * pixels..][..pixels]);
        let (fx, fy) = focals[2 * b * pixels..][..2 * pixels].split_at(pixels);
        let center = Some([pp[2 * b], pp[2 * b + 1]]);
        got[0].extend(flat(&points_from_depth(one, width, per_pixel, None)));
        got[1].extend(flat(&points_from_depth(one, width, per_pixel, center)));
        got[2].extend(flat(&points_from_depth(one, width, Focals::PerPixelAndAxis(fx, fy), center)));
        got[3].extend(flat(&points_from_depth(one, width, Focals::PerPixel(fx), center)));
        let per_layer: Vec<Vec<f32>> = (0..layers)
            .map(|n| {
                let layer: Vec<f32> = (0..pixels).map(|p| depths[(b * pixels + p) * layers + n]).collect();
                flat(&points_from_depth(&layer, width, per_pixel, center))
            })
            .collect();
        got[4].extend((0..3 * pixels).flat_map(|i| per_layer.iter().map(move |layer| layer[i])));
    }
    for (name, got) in ["pts_nopp", "pts_pp", "pts_pp_fxfy", "pts_b1", "pts_n"].iter().zip(&got) {
        report.close(&format!("{stem}/{name}"), got, &file.f64(name)?, TOLERANCE);
    }
    Ok(())
}

fn transforms(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let stem = file.stem();
    let cam2w = matrices4(&file.f64("cam2w")?);
    for (input, output) in [("p_bhw3", "trf4_bhw3"), ("p_bn3", "trf4_bn3"), ("p_b3", "trf4_b3")] {
        let all = points(&file.f64(input)?);
        let each = all.len() / cam2w.len();
        let got: Vec<f32> =
            cam2w.iter().zip(all.chunks(each)).flat_map(|(m, p)| flat(&transform_points(m, p))).collect();
        report.close(&format!("{stem}/{output}"), &got, &file.f64(output)?, TOLERANCE);
    }
    let all = points(&file.f64("p_bhw3")?);
    let first = &all[..all.len() / cam2w.len()];
    report.close(
        &format!("{stem}/trf4_single"),
        &flat(&transform_points(&cam2w[0], first)),
        &file.f64("trf4_single")?,
        TOLERANCE,
    );
    let k = matrix3(&file.f64("K")?[..9]);
    let pixels = project_points(&k, first);
    report.close(&format!("{stem}/proj_k"), &flat2(&pixels), &file.f64("proj_k")?, TOLERANCE);
    let doubled: Vec<f32> = pixels.iter().flat_map(|p| [2.0 * p.x as f32, 2.0 * p.y as f32, 2.0]).collect();
    report.close(&format!("{stem}/proj_k_norm2"), &doubled, &file.f64("proj_k_norm2")?, TOLERANCE);
    let flat_points: Vec<Point2<f64>> =
        file.f64("p_hw2")?.chunks(2).map(|p| Point2::new(p[0], p[1])).collect();
    let h = matrix3(&file.f64("homography")?);
    let mapped = apply_homography(&h, &flat_points);
    report.close(&format!("{stem}/homography_hw2"), &flat2(&mapped), &file.f64("homography_hw2")?, TOLERANCE);
    let mapped = apply_affine(&h, &flat_points);
    report.close(&format!("{stem}/affine_hw2"), &flat2(&mapped), &file.f64("affine_hw2")?, TOLERANCE);
    let moved = corner_from_center_origin(&k);
    report.close(
        &format!("{stem}/K_colmap_from_opencv"),
        &rows3(&moved),
        &file.f64("K_colmap_from_opencv")?,
        TOLERANCE,
    );
    let moved = center_from_corner_origin(&k);
    report.close(
        &format!("{stem}/K_opencv_from_colmap"),
        &rows3(&moved),
        &file.f64("K_opencv_from_colmap")?,
        TOLERANCE,
    );
    Ok(())
}

fn poses(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let stem = file.stem();
    let cam2w = matrices4(&file.f64("cam2w")?);
    let inverses: Vec<f32> = cam2w
        .iter()
        .flat_map(|m| {
            isometry(m).inverse().to_homogeneous().transpose().iter().map(|v| *v as f32).collect::<Vec<_>>()
        })
        .collect();
    report.close(&format!("{stem}/cam2w_inv"), &inverses, &file.f64("cam2w_inv")?, Tolerance::Absolute(2e-6));
    let turned: Vec<f32> = file
        .f64("quat_xyzw")?
        .chunks(4)
        .map(|q| {
            UnitQuaternion::from_quaternion(Quaternion::new(q[3], q[0], q[1], q[2])).to_rotation_matrix()
        })
        .flat_map(|r| rows3(r.matrix()))
        .collect();
    let want: Vec<f64> =
        cam2w.iter().flat_map(|m| rows3(&m.fixed_view::<3, 3>(0, 0).into_owned())).map(f64::from).collect();
    report.close(&format!("{stem}/quat_xyzw"), &turned, &want, TOLERANCE);

    let depth = file.f32("depth_with_invalid")?;
    let width = file.shape("depth_with_invalid")?[1];
    let k = matrix3(&file.f64("K")?[..9]);
    let (focals, center) = (Focals::PerAxis([k[(0, 0)], k[(1, 1)]]), Some([k[(0, 2)], k[(1, 2)]]));
    let camera = points_from_depth(&depth, width, focals, center);
    report.close(&format!("{stem}/cam_pts"), &flat(&camera), &file.f64("cam_pts")?, TOLERANCE);
    let world = world_points_from_depth(&depth, width, focals, center, &isometry(&cam2w[0]));
    let valid: Vec<u8> = world.iter().map(|p| u8::from(p.is_some())).collect();
    let verdict =
        if valid == file.u8("cam_valid")? { Ok("exact".to_owned()) } else { Err("differs".to_owned()) };
    report.verdict(&format!("{stem}/cam_valid"), verdict);
    let want = file.f64("world_pts")?;
    let seen: Vec<usize> = (0..world.len()).filter(|&i| world[i].is_some()).collect();
    let got: Vec<f32> = seen.iter().flat_map(|&i| flat(&[world[i].expect("seen")])).collect();
    let want: Vec<f64> = seen.iter().flat_map(|&i| want[3 * i..][..3].to_vec()).collect();
    report.close(&format!("{stem}/world_pts"), &got, &want, TOLERANCE);

    let poses: Vec<_> = matrices4(&file.f64("poses_for_median")?).iter().map(isometry).collect();
    let got = median_center_distance(&poses) as f32;
    report.close(
        &format!("{stem}/median_pair_distance"),
        &[got],
        &file.f64("median_pair_distance")?,
        TOLERANCE,
    );
    Ok(())
}

fn flat(points: &[Point3<f64>]) -> Vec<f32> {
    points.iter().flat_map(|p| [p.x as f32, p.y as f32, p.z as f32]).collect()
}

fn flat2(points: &[Point2<f64>]) -> Vec<f32> {
    points.iter().flat_map(|p| [p.x as f32, p.y as f32]).collect()
}

fn points(values: &[f64]) -> Vec<Point3<f64>> {
    values.chunks_exact(3).map(|p| Point3::new(p[0], p[1], p[2])).collect()
}

fn matrix3(values: &[f64]) -> Matrix3<f64> {
    Matrix3::from_row_slice(values)
}

fn matrices4(values: &[f64]) -> Vec<Matrix4<f64>> {
    values.chunks_exact(16).map(Matrix4::from_row_slice).collect()
}

fn rows3(m: &Matrix3<f64>) -> Vec<f32> {
    m.transpose().iter().map(|v| *v as f32).collect()
}

fn isometry(m: &Matrix4<f64>) -> Isometry3<f64> {
    let rotation = Rotation3::from_matrix(&m.fixed_view::<3, 3>(0, 0).into_owned());
    let translation = Translation3::new(m[(0, 3)], m[(1, 3)], m[(2, 3)]);
    Isometry3::from_parts(translation, UnitQuaternion::from_rotation_matrix(&rotation))
}
