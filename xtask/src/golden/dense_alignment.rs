//! Sections 5.2 to 5.4: the dense aligner of DUSt3R and the pair viewer.
//!
//! Tolerances are those that the manifest states in words for these files.

use super::{Report, TensorFile};
use nalgebra::{Isometry3, Matrix4, Rotation3, Translation3, UnitQuaternion};
use steropes_scene::dense_alignment::{
    ConfidenceWeight, Distance, Edge, InitialCamera, Parameters, Problem, Schedule, Settings,
    edge_similarity, initialise, optimise, view_pair,
};
use steropes_testkit::Tolerance;

/// Runs one file.
///
/// # Errors
/// The file lacks a tensor.
pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let shape = file.shape("pred_i")?;
    let (height, width) = (shape[1], shape[2]);
    let edges = edges(file, "", file.i64("edges")?.chunks(2).map(|e| [e[0] as usize, e[1] as usize]))?;
    let images = file.shape("init.im_poses")?[0];
    let sizes = vec![[width, height]; images];
    let problem = Problem::new(&sizes, &edges, ConfidenceWeight::Log, Distance::L1)?;
    starting_values(file, report, &problem, &edges)?;
    states(file, report, &problem)?;
    variants(file, report, &sizes, &edges)?;
    for (name, start, schedule) in [
        ("cosine", "init", Schedule::Cosine),
        ("pert_cosine", "pert", Schedule::Cosine),
        ("pert_linear", "pert", Schedule::Linear),
    ] {
        if file.has(&format!("{name}.losses_f64")) {
            trajectory(file, report, &problem, name, start, schedule)?;
        }
    }
    pair(file, report)
}

fn edges(
    file: &TensorFile,
    prefix: &str,
    ends: impl Iterator<Item = [usize; 2]>,
) -> anyhow::Result<Vec<Edge>> {
    let pixels: usize = file.shape(&format!("{prefix}conf_i"))?[1..].iter().product();
    let points = |name: &str| -> anyhow::Result<Vec<[f32; 3]>> {
        Ok(file.f32(&format!("{prefix}{name}"))?.chunks_exact(3).map(|p| [p[0], p[1], p[2]]).collect())
    };
    let (pred_i, pred_j) = (points("pred_i")?, points("pred_j")?);
    let (conf_i, conf_j) = (file.f32(&format!("{prefix}conf_i"))?, file.f32(&format!("{prefix}conf_j"))?);
    let edge = |(e, [first, second]): (usize, [usize; 2])| {
        let range = e * pixels..(e + 1) * pixels;
        Edge {
            first,
            second,
            points_first: pred_i[range.clone()].to_vec(),
            points_second: pred_j[range.clone()].to_vec(),
            confidence_first: conf_i[range.clone()].to_vec(),
            confidence_second: conf_j[range].to_vec(),
        }
    };
    Ok(ends.enumerate().map(edge).collect())
}

fn starting_values(
    file: &TensorFile,
    report: &mut Report<'_>,
    problem: &Problem,
    edges: &[Edge],
) -> anyhow::Result<()> {
    let stem = file.stem();
    let (parameters, cameras, order) = initialise(problem, edges)?;
    let want: Vec<[usize; 2]> =
        file.i64("tree_edges")?.chunks(2).map(|e| [e[0] as usize, e[1] as usize]).collect();
    let got: Vec<[usize; 2]> = order.iter().map(|&e| [edges[e].first, edges[e].second]).collect();
    let verdict = if got == want { Ok(format!("{got:?}")) } else { Err(format!("{got:?}, want {want:?}")) };
    report.verdict(&format!("{stem}/tree_edges"), verdict);

    let focals = file.f64("init_raw.focal")?;
    let poses = poses(&file.f64("init_raw.cam2w")?);
    for (i, InitialCamera { focal_px, world_from_camera, from_pnp, .. }) in cameras.iter().enumerate() {
        // The reference may have taken the focal length from another edge; the manifest says where.
        let stale = file.entry()["params"]["focal_source"][i.to_string()]["stale"].as_bool();
        if stale != Some(true) {
            report.at_most(&format!("{stem}/init_raw.focal.{i}"), (focal_px / focals[i] - 1.0).abs(), 1e-4);
        }
        let turn = world_from_camera.rotation.angle_to(&poses[i].rotation).to_degrees();
        report.at_most(&format!("{stem}/init_raw.cam2w.{i}"), turn, if *from_pnp { 0.1 } else { 0.01 });
    }
    let stride = 4;
    let [width, height] = problem.size(0);
    let got: Vec<f32> = (0..height)
        .step_by(stride)
        .flat_map(|y| (0..width).step_by(stride).map(move |x| y * width + x))
        .flat_map(|i| cameras[0].points[i].map(|v| v as f32))
        .collect();
    report.close(
        &format!("{stem}/init_raw.pts0"),
        &got,
        &file.f64("init_raw.pts0")?,
        Tolerance::OfLargest(1e-4),
    );
    let scales: Vec<f32> = (0..edges.len()).map(|e| parameters.edge(e).2 as f32).collect();
    report.close(
        &format!("{stem}/init.edge_scale"),
        &scales,
        &file.f64("init.edge_scale")?,
        Tolerance::OfLargest(1e-3),
    );
    Ok(())
}

/// Loss, decoded values and gradients at stored parameters.
fn states(file: &TensorFile, report: &mut Report<'_>, problem: &Problem) -> anyhow::Result<()> {
    let stem = file.stem();
    for state in ["init", "pert"] {
        let parameters = parameters(file, state)?;
        let (loss, gradient) = problem.evaluate(&parameters);
        let want = file.f64(&format!("{state}.loss"))?[0];
        report.at_most(&format!("{stem}/{state}.loss"), (loss / want - 1.0).abs(), 1e-6);
        let focals: Vec<f32> = (0..problem.images()).map(|i| parameters.focal_px(i) as f32).collect();
        report.close(
            &format!("{stem}/{state}.focals"),
            &focals,
            &file.f64(&format!("{state}.focals"))?,
            Tolerance::OfLargest(1e-6),
        );
        let similarities: Vec<f32> = (0..problem.ends().len())
            .flat_map(|e| edge_similarity(&parameters, e).into_iter().flatten().map(|v| v as f32))
            .collect();
        report.close(
            &format!("{stem}/{state}.edge_similarity"),
            &similarities,
            &file.f64(&format!("{state}.edge_similarity"))?,
            Tolerance::OfLargest(2e-6),
        );
        let flat = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v as f32).collect::<Vec<f32>>();
        for (block, got) in [
            ("pw_poses", flat(&mut gradient.edges.iter().flatten().copied())),
            ("im_poses", flat(&mut gradient.poses.iter().flatten().copied())),
            ("im_focals", flat(&mut gradient.focals.iter().copied())),
            ("im_depthmaps", flat(&mut gradient.log_depths.iter().flatten().copied())),
        ] {
            let name = format!("{state}.grad.{block}");
            report.close(&format!("{stem}/{name}"), &got, &file.f64(&name)?, Tolerance::OfLargest(1e-4));
        }
    }
    Ok(())
}

fn variants(
    file: &TensorFile,
    report: &mut Report<'_>,
    sizes: &[[usize; 2]],
    edges: &[Edge],
) -> anyhow::Result<()> {
    let parameters = parameters(file, "init")?;
    let mut got = Vec::new();
    for weight in [
        ConfidenceWeight::Log,
        ConfidenceWeight::Sqrt,
        ConfidenceWeight::MinusOne,
        ConfidenceWeight::Identity,
    ] {
        for distance in [Distance::L1, Distance::L2] {
            got.push(Problem::new(sizes, edges, weight, distance)?.evaluate(&parameters).0);
        }
    }
    let want = file.f64("init.loss_variants")?;
    let worst = got.iter().zip(&want).map(|(g, w)| (g / w - 1.0).abs()).fold(0.0, f64::max);
    report.at_most(&format!("{}/init.loss_variants", file.stem()), worst, 1e-6);
    Ok(())
}

fn trajectory(
    file: &TensorFile,
    report: &mut Report<'_>,
    problem: &Problem,
    name: &str,
    start: &str,
    schedule: Schedule,
) -> anyhow::Result<()> {
    let stem = file.stem();
    let params = &file.entry()["params"];
    let settings = Settings {
        steps: params["niter"].as_u64().unwrap_or(300) as usize,
        rate: params["lr"].as_f64().unwrap_or(0.01),
        last_rate: params["lr_min"].as_f64().unwrap_or(1e-6),
        schedule,
        optimise_centers: false,
    };
    let mut state = parameters(file, start)?;
    let losses = optimise(problem, &mut state, &settings);
    let want = file.f64(&format!("{name}.losses_f64"))?;
    let last = want.len() - 1;
    for step in [0, 1, 10, 100, last] {
        if start == "init" && step != 0 && step != last {
            continue; // zero residuals make the first steps arbitrary
        }
        let seen = params["runs"][name]["rel_diff_at"][step.to_string()].as_f64().unwrap_or(0.0);
        let floor = match step {
            0 => 1e-6,
            1 => 1e-5,
            10 => 1e-3,
            100 => 5e-3,
            _ => 2e-3,
        };
        let bound = if step == 0 { floor } else { f64::max(floor, 5.0 * seen) };
        report.at_most(&format!("{stem}/{name}.loss.{step}"), (losses[step] / want[step] - 1.0).abs(), bound);
    }
    let focals = file.f64(&format!("{name}.final_focals_f64"))?;
    let error =
        (0..problem.images()).map(|i| (state.focal_px(i) / focals[i] - 1.0).abs()).fold(0.0, f64::max);
    report.at_most(&format!("{stem}/{name}.final_focals"), error, 5e-4);
    let want = poses(&file.f64(&format!("{name}.final_cam2w_f64"))?);
    let relative = |p: &[Isometry3<f64>], i: usize| p[0].rotation.inverse() * p[i].rotation;
    let got: Vec<_> = (0..problem.images()).map(|i| state.pose(i)).collect();
    let turn = (1..got.len())
        .map(|i| relative(&got, i).angle_to(&relative(&want, i)).to_degrees())
        .fold(0.0, f64::max);
    report.at_most(&format!("{stem}/{name}.final_rotations"), turn, 0.05);
    let (got, want) = (centered(&got), centered(&want));
    let extent = want.iter().map(|c| c.norm()).fold(0.0, f64::max);
    let shift = got.iter().zip(&want).map(|(g, w)| (g - w).norm()).fold(0.0, f64::max);
    report.at_most(&format!("{stem}/{name}.final_centers"), shift / extent, 1e-3);
    Ok(())
}

/// Camera centres in the frame of the first camera: free of the drift of the world frame.
fn centered(poses: &[Isometry3<f64>]) -> Vec<nalgebra::Vector3<f64>> {
    poses.iter().map(|p| (poses[0].inverse() * p).translation.vector).collect()
}

fn pair(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    if !file.has("pv.pred_i") {
        return Ok(());
    }
    let stem = file.stem();
    let shape = file.shape("pv.pred_i")?;
    let edges = edges(file, "pv.", [[0, 1], [1, 0]].into_iter())?;
    let view = view_pair([[shape[2], shape[1]]; 2], &edges)?;
    let focals = file.f64("pv.focals")?;
    let error = (0..2).map(|i| (view.focals_px[i] / focals[i] - 1.0).abs()).fold(0.0, f64::max);
    report.at_most(&format!("{stem}/pv.focals"), error, 2e-6);
    let want = poses(&file.f64("pv.cam2w")?);
    let turn = (0..2)
        .map(|i| view.world_from_camera[i].rotation.angle_to(&want[i].rotation).to_degrees())
        .fold(0.0, f64::max);
    report.at_most(&format!("{stem}/pv.rotation"), turn, 0.1);
    let shift = (0..2)
        .map(|i| (view.world_from_camera[i].translation.vector - want[i].translation.vector).norm())
        .fold(0.0, f64::max);
    report.at_most(&format!("{stem}/pv.translation"), shift, 5e-3);
    let confidence: Vec<f32> = view.edge_confidence.iter().map(|c| *c as f32).collect();
    report.close(
        &format!("{stem}/pv.edge_conf"),
        &confidence,
        &file.f64("pv.edge_conf")?,
        Tolerance::OfLargest(1e-6),
    );
    Ok(())
}

fn parameters(file: &TensorFile, state: &str) -> anyhow::Result<Parameters> {
    let get = |name: &str| file.f64(&format!("{state}.{name}"));
    let depths = get("im_depthmaps")?;
    let poses: Vec<[f64; 7]> = rows(&get("im_poses")?);
    let pixels = depths.len() / poses.len();
    Ok(Parameters {
        edges: rows(&get("pw_poses")?),
        focals: get("im_focals")?,
        centers: vec![[0.0; 2]; poses.len()],
        log_depths: depths.chunks(pixels).map(<[f64]>::to_vec).collect(),
        poses,
    })
}

fn rows<const N: usize>(values: &[f64]) -> Vec<[f64; N]> {
    values.chunks_exact(N).map(|r| r.try_into().expect("chunks of N")).collect()
}

fn poses(values: &[f64]) -> Vec<Isometry3<f64>> {
    values
        .chunks_exact(16)
        .map(|m| {
            let m: Matrix4<f64> = Matrix4::from_row_slice(m);
            let rotation = Rotation3::from_matrix(&m.fixed_view::<3, 3>(0, 0).into_owned());
            let translation = Translation3::new(m[(0, 3)], m[(1, 3)], m[(2, 3)]);
            Isometry3::from_parts(translation, UnitQuaternion::from_rotation_matrix(&rotation))
        })
        .collect()
}
