//! From stored network outputs and matches to the aligned scene.

use super::global::{compare_cameras, poses};
use super::{canonical_view, edges, number_after, relative_error, scalar, tolerance, undirected};
use crate::golden::{Report, TensorFile};
use anyhow::{Context as _, bail};
use nalgebra::Isometry3;
use steropes_ops::geometry::canonical_view::{CanonicalView, RelativeDepth};
use steropes_scene::alignment::{
    AlignedImages, AlignmentOptions, AlignmentProblem, KinematicTree, TargetSampling, TreeChoice, align,
    clean_on, condense_image, condense_pair, dense_images, sample_targets, ward,
};
use steropes_scene::{Camera, Intrinsics};
use steropes_tensor::Device;
use steropes_testkit::{Tolerance, check_equal};

pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let images = file.shape("imsizes")?[0];
    let subsample = file.entry()["params"]["subsample"].as_u64().context("`subsample`")? as usize;
    let views: Vec<CanonicalView> =
        (0..images).map(|i| view(file, i, images, subsample, &report.device())).collect::<Result<_, _>>()?;
    let problem = problem(file, &views)?;
    canonical(file, &views, report)?;
    condensed(file, &views, &problem, report)?;
    fallback(file, &views, report)?;
    if report.is_on_cpu(&format!("{}/optimisation", file.stem())) {
        optimisation(file, &problem, report)?;
    }
    dense(file, &views, &problem, report)
}

/// The canonical view of an image over all pairs that have it as reference.
fn view(
    file: &TensorFile,
    image: usize,
    images: usize,
    subsample: usize,
    device: &Device,
) -> anyhow::Result<CanonicalView> {
    let (mut points, mut confidence, mut shape) = (Vec::new(), Vec::new(), Vec::new());
    for other in 0..images {
        let prefix = format!("pred.{image}_{other}");
        if file.has(&format!("{prefix}.pts_ref")) {
            shape = file.shape(&format!("{prefix}.pts_ref"))?;
            points.extend(file.f32(&format!("{prefix}.pts_ref"))?);
            confidence.extend(file.f32(&format!("{prefix}.conf_ref"))?);
        }
    }
    if shape.len() != 3 {
        bail!("no prediction with image {image} as reference");
    }
    let size = [shape[1], shape[0]];
    canonical_view(&points, &confidence, size, subsample, RelativeDepth::AverageAngle, device)
}

fn problem(file: &TensorFile, views: &[CanonicalView]) -> anyhow::Result<AlignmentProblem> {
    let mut problem = AlignmentProblem::default();
    for v in views {
        problem.images.push(condense_image(v, [v.width as f64 / 2.0, v.height as f64 / 2.0])?);
    }
    for i in 0..views.len() {
        for j in 0..views.len() {
            let prefix = format!("match.{i}_{j}");
            if file.has(&format!("{prefix}.conf")) {
                let pixels = |side: &str| -> anyhow::Result<Vec<[u32; 2]>> {
                    let values = file.i64(&format!("{prefix}.{side}"))?;
                    Ok(values.chunks(2).map(|p| [p[0] as u32, p[1] as u32]).collect())
                };
                let (a, b) = (pixels("xy_i")?, pixels("xy_j")?);
                let confidence = file.f32(&format!("{prefix}.conf"))?;
                problem.pairs.push(condense_pair([i, j], [&views[i], &views[j]], [&a, &b], &confidence)?);
            }
        }
    }
    Ok(problem)
}

fn canonical(file: &TensorFile, views: &[CanonicalView], report: &mut Report<'_>) -> anyhow::Result<()> {
    for (i, view) in views.iter().enumerate() {
        let check = |what: &str| format!("{}/canon.{i}/{what}", file.stem());
        let want = |what: &str| file.f64(&format!("canon.{i}.{what}"));
        let canon = Tolerance::OfLargest(tolerance(file, "canon")?);
        report.close(&check("pts"), &view.points, &want("pts")?, canon);
        report.close(&check("core_depth"), &view.anchor_depths(), &want("core_depth")?, canon);
        report.close(&check("conf"), &view.confidence, &want("conf")?, canon);
        let bound = Tolerance::OfLargest(tolerance(file, "rel_depth")?);
        report.close(&check("rel_depth"), &view.relative_depth, &want("rel_depth")?, bound);
    }
    Ok(())
}

fn condensed(
    file: &TensorFile,
    views: &[CanonicalView],
    problem: &AlignmentProblem,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let check = |what: &str| format!("{}/{what}", file.stem());
    let focals: Vec<f64> = problem.images.iter().map(|i| i.base_focal_px).collect();
    let error = relative_error(&focals, &file.f64("base_focal")?);
    report.at_most(&check("base_focal"), error, tolerance(file, "base_focal")?);
    let principal: Vec<f64> = problem.images.iter().flat_map(|i| i.principal_px).collect();
    let verdict = check_equal(&principal, &file.f64("pp_px")?);
    report.verdict(&check("pp_px"), verdict.map(|()| "exact".to_owned()));
    let counts = problem.counts();
    let verdict = check_equal(counts.as_slice(), &file.f64("pair_scores")?);
    report.verdict(&check("pair_scores"), verdict.map(|()| "exact".to_owned()));
    let text = file.entry()["tolerance"]["anchors"].as_str().context("tolerance `anchors`")?;
    for i in 0..views.len() {
        for slice in file.i64(&format!("anchors.{i}.slices"))?.chunks(3) {
            let (partner, range) = (slice[0] as usize, slice[1] as usize..slice[2] as usize);
            let pair = problem.pairs.iter().find(|p| p.images == [i, partner] || p.images == [partner, i]);
            let pair = pair.with_context(|| format!("a pair {i}, {partner}"))?;
            let side = usize::from(pair.images[1] == i);
            let name = |what: &str| check(&format!("anchors.{i}_{partner}/{what}"));
            let own: Vec<i64> = pair.anchors[side].iter().map(|&k| i64::from(k)).collect();
            let verdict = check_equal(&own, &file.i64(&format!("anchors.{i}.idx"))?[range.clone()]);
            report.verdict(&name("idx"), verdict.map(|()| "exact".to_owned()));
            let want = &file.f64(&format!("anchors.{i}.offset"))?[range];
            let bound = Tolerance::Absolute(number_after(text, "offset ")?);
            report.close(&name("offset"), &pair.offsets[side], want, bound);
        }
    }
    let anchors: Vec<usize> = problem.images.iter().map(|i| i.anchor_depths.len()).collect();
    let own = undirected(ward(&counts, &anchors)?.edges);
    let verdict = check_equal(&own, &undirected(edges(file, "tree_edges")?));
    report.verdict(&check("tree_edges"), verdict.map(|()| "exact".to_owned()));
    Ok(())
}

/// Points of one image in another's frame at the anchors of its matched pixels.
fn fallback(file: &TensorFile, views: &[CanonicalView], report: &mut Report<'_>) -> anyhow::Result<()> {
    for view in 0..views.len() {
        for frame in 0..views.len() {
            let name = format!("fallback.{view}_{frame}");
            if !file.has(&format!("{name}.pts")) {
                continue;
            }
            let points = file.f32(&format!("pred.{frame}_{view}.pts_other"))?;
            let confidence = file.f32(&format!("pred.{frame}_{view}.conf_other"))?;
            let maps = (points.as_slice(), confidence.as_slice());
            let targets = sample_targets([view, frame], &views[view], maps, TargetSampling::Corner)?;
            let anchors = file.i64(&format!("anchors.{view}.idx"))?;
            let own: Vec<f32> = anchors.iter().flat_map(|&k| targets.points[k as usize]).collect();
            let verdict = check_equal(&own, &file.f32(&format!("{name}.pts"))?);
            report.verdict(&format!("{}/{name}/pts", file.stem()), verdict.map(|()| "exact".to_owned()));
            let own: Vec<f32> = anchors.iter().map(|&k| targets.weights[k as usize]).collect();
            let verdict = check_equal(&own, &file.f32(&format!("{name}.conf"))?);
            report.verdict(&format!("{}/{name}/conf", file.stem()), verdict.map(|()| "exact".to_owned()));
        }
    }
    Ok(())
}

/// The stated bounds of files that refer to others: those of noisy scenes.
const NOISY_FINAL: &str = "centres 1 % of mean baseline, relative rotation 0.4 deg, focal 1 %";

fn optimisation(
    file: &TensorFile,
    problem: &AlignmentProblem,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let root = scalar(file, "tree_root")? as usize;
    let tree = KinematicTree::new(root, edges(file, "tree_edges")?, problem.images.len())?;
    let result = align(problem, &AlignmentOptions::published(TreeChoice::Given(tree)))?;
    let text = file.entry()["tolerance"]["loss"].as_str().context("tolerance `loss`")?;
    for (stage, got) in [("stage1", &result.coarse_losses), ("stage2", &result.fine_losses)] {
        let want = file.f64(&format!("losses_{stage}_f64"))?;
        let upstream = file.f64(&format!("losses_{stage}"))?;
        if got.len() != want.len() {
            bail!("{stage} has {} losses, expected {}", got.len(), want.len());
        }
        for i in [0, 1, want.len() - 1] {
            let error = (got[i] / want[i] - 1.0).abs();
            // Rounding has grown by the second stage: as far apart as the two stored curves, times 5.
            let noise = 5.0 * (upstream[i] / want[i] - 1.0).abs();
            let bound = match (stage, i) {
                (_, 0 | 1) => number_after(text, "0,1:")?.max(if stage == "stage2" { noise } else { 0.0 }),
                _ => number_after(text, "last ")? / 100.0,
            };
            report.at_most(&format!("{}/{stage}/loss_{i}", file.stem()), error, bound);
        }
    }
    let got: Vec<_> = result.images.cameras.iter().map(|c| c.world_from_camera).collect();
    let want = poses(&file.f64("final_cam2w")?);
    compare_cameras(&|w| format!("{}/{w}", file.stem()), (&got, &want), NOISY_FINAL, report)?;
    let focals: Vec<f64> = result.images.cameras.iter().map(|c| c.intrinsics.focal_px).collect();
    let want: Vec<f64> = file.f64("final_K")?.chunks(9).map(|k| k[0]).collect();
    let bound = number_after(NOISY_FINAL, "focal ")? / 100.0;
    report.at_most(&format!("{}/final/focal", file.stem()), relative_error(&focals, &want), bound);
    Ok(())
}

/// Sparse and dense points from the stored final state.
fn dense(
    file: &TensorFile,
    views: &[CanonicalView],
    problem: &AlignmentProblem,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let (k, poses) = (file.f64("final_K")?, poses(&file.f64("final_cam2w")?));
    let camera = |(i, &world_from_camera): (usize, &Isometry3<f64>)| Camera {
        intrinsics: Intrinsics { focal_px: k[9 * i], center_px: [k[9 * i + 2], k[9 * i + 5]] },
        world_from_camera,
    };
    let state = AlignedImages {
        cameras: poses.iter().enumerate().map(camera).collect(),
        anchor_depths: (0..views.len())
            .map(|i| file.f32(&format!("final_depth.{i}")))
            .collect::<Result<_, _>>()?,
        base_focals_px: problem.images.iter().map(|i| i.base_focal_px).collect(),
    };
    let bound = Tolerance::OfLargest(tolerance(file, "dense")?);
    let mut images = dense_images(&state, &views.iter().collect::<Vec<_>>())?;
    for (i, image) in images.iter().enumerate() {
        let want = file.f64(&format!("dense_depth.{i}"))?;
        report.close(&format!("{}/dense_depth.{i}", file.stem()), &image.depth, &want, bound);
    }
    clean_on(&mut images, &state.cameras, 0.001, &report.device())?;
    for (i, image) in images.iter().enumerate() {
        let want = file.f64(&format!("dense_conf.{i}"))?;
        // The stored confidences carry the rounding of their own averages.
        let differs = |(a, b): &(&f32, &f64)| (f64::from(**a) - **b).abs() > 1e-5 * b.abs().max(1.0);
        let differing = image.confidence.iter().zip(&want).filter(differs).count() as f64 / want.len() as f64;
        report.at_most(&format!("{}/dense_conf.{i}", file.stem()), differing, 1e-3);
    }
    for i in 0..views.len() {
        let mut points = Vec::new();
        for slice in file.i64(&format!("anchors.{i}.slices"))?.chunks(3) {
            let partner = slice[0] as usize;
            let pair = problem.pairs.iter().find(|p| p.images == [i, partner] || p.images == [partner, i]);
            let pair = pair.with_context(|| format!("a pair {i}, {partner}"))?;
            points.push((slice[1], state.sparse_points(pair, usize::from(pair.images[1] == i))));
        }
        points.sort_by_key(|p| p.0);
        let got: Vec<f32> = points
            .iter()
            .flat_map(|p| p.1.iter().flat_map(|x| [x.x as f32, x.y as f32, x.z as f32]))
            .collect();
        let want = file.f64(&format!("final_pts.{i}"))?;
        report.close(
            &format!("{}/final_pts.{i}", file.stem()),
            &got[..want.len().min(got.len())],
            &want,
            bound,
        );
    }
    Ok(())
}
