//! Whole alignments: states, loss curves, final cameras, dense maps.

use super::{edges, number_after, relative_error, scalar};
use crate::golden::{Report, TensorFile};
use anyhow::{Context as _, bail};
use nalgebra::{DMatrix, Isometry3, Matrix3, Rotation3, Translation3, UnitQuaternion, Vector3};
use serde_json::Value;
use steropes_ops::geometry::canonical_view::CanonicalView;
use steropes_scene::alignment::{
    AlignedImages, Aligner, AlignmentImage, AlignmentOptions, AlignmentPair, AlignmentProblem, Evaluation,
    FrameTargets, ImageParameters, KinematicTree, Parameters, Precision, Stage, Start, TreeChoice, clean,
    dense_images,
};
use steropes_scene::{Camera, Intrinsics};
use steropes_testkit::Tolerance;

pub(super) fn run(file: &TensorFile, report: &mut Report<'_>) -> anyhow::Result<()> {
    let problem = problem(file)?;
    let runs = file.entry()["params"]["runs"].as_object().context("`params.runs`")?.clone();
    for (name, params) in &runs {
        let options = match options(file, name, params)? {
            Some(options) => options,
            None => {
                report.not_built(&format!("{}/{name}: options {}", file.stem(), params["options"]));
                continue;
            }
        };
        let run = Run { file, name, params, problem: &problem, options };
        if report.wants(&run.check("")) {
            run.states(report)?;
            run.shared_start(report)?;
            run.trajectory(report)?;
            run.dense(report)?;
        }
    }
    let mut aligner = Aligner::new(&problem, &run_options(file, "hclust-ward")?)?;
    let start = aligner.start(&problem)?;
    let got: Vec<f64> = problem
        .images
        .iter()
        .scan(0, |first, image| {
            let median = f64::from(image.anchor_depths[0]) / start.depths[*first];
            *first += image.anchor_depths.len();
            Some(median)
        })
        .collect();
    let error = relative_error(&got, &file.f64("median_depth")?);
    report.at_most(&format!("{}/median_depth", file.stem()), error, 2e-6);
    aligner.evaluate(Stage::Coarse, &start)?;
    Ok(())
}

fn run_options(file: &TensorFile, tree: &str) -> anyhow::Result<AlignmentOptions> {
    let tensor = format!("tree_{}", tree.replace('-', "_"));
    let images = file.shape("imsizes")?[0];
    let root = scalar(file, &format!("{tensor}.root"))? as usize;
    let tree = KinematicTree::new(root, edges(file, &format!("{tensor}.edges"))?, images)?;
    Ok(AlignmentOptions::published(TreeChoice::Given(tree)))
}

/// The options of a run; `None` if there is one that the program does not have.
fn options(file: &TensorFile, name: &str, params: &Value) -> anyhow::Result<Option<AlignmentOptions>> {
    let given = params["options"].as_object().context("`options`")?;
    let tree = given.get("kinematic_mode").and_then(Value::as_str).unwrap_or("hclust-ward");
    let mut options = run_options(file, tree)?;
    for (key, value) in given {
        let flag = || value.as_bool().with_context(|| format!("`{key}` is true or false"));
        let number = || value.as_f64().with_context(|| format!("`{key}` is a number"));
        match key.as_str() {
            "kinematic_mode" | "full_traj" => {}
            "niter1" => options.coarse.iterations = number()? as usize,
            "niter2" => options.fine.iterations = number()? as usize,
            "lr1" => options.coarse.learning_rate = number()?,
            "lr2" => options.fine.learning_rate = number()?,
            "opt_depth" => options.optimise_depth = flag()?,
            "opt_pp" => options.optimise_principal = flag()?,
            "matching_conf_thr" => options.weak_pair_confidence = number()? as f32,
            "loss_dust3r_w" => options.fallback_weight = number()?,
            "shared_intrinsics" => options.shared_intrinsics = flag()?,
            _ => return Ok(None),
        }
    }
    if params.get("injected").is_some() && file.has(&format!("{name}.s1_it0.param.q")) {
        options.start = Start::Parameters(parameters(file, &format!("{name}.s1_it0.param"))?);
    }
    Ok(Some(options))
}

fn problem(file: &TensorFile) -> anyhow::Result<AlignmentProblem> {
    let sizes: Vec<[usize; 2]> =
        file.i64("imsizes")?.chunks(2).map(|s| [s[0] as usize, s[1] as usize]).collect();
    let (focal, principal) = (file.f64("base_focal")?, file.f64("pp_px")?);
    let (depths, conf) = (file.f32("core_depth")?, file.f64("canon_conf")?);
    let (anchors, pixels) = (depths.len() / sizes.len(), conf.len() / sizes.len());
    let image = |i: usize| AlignmentImage {
        size: sizes[i],
        base_focal_px: focal[i],
        principal_px: [principal[2 * i], principal[2 * i + 1]],
        anchor_depths: depths[i * anchors..(i + 1) * anchors].to_vec(),
        mean_confidence: conf[i * pixels..(i + 1) * pixels].iter().sum::<f64>() / pixels as f64,
    };
    let images = (0..sizes.len()).map(image).collect();
    let ends = ["i", "j"].map(|s| -> anyhow::Result<_> {
        let xy: Vec<[f32; 2]> = file.f32(&format!("xy_{s}"))?.chunks(2).map(|p| [p[0], p[1]]).collect();
        let anchors: Vec<u32> = file.i64(&format!("anchor_{s}"))?.iter().map(|&k| k as u32).collect();
        Ok((xy, anchors, file.f32(&format!("offset_{s}"))?))
    });
    let [a, b] = ends;
    let ends = [a?, b?];
    let (pointers, conf) = (file.i64("pair_ptr")?, file.f32("conf")?);
    let pair = |(k, images): (usize, [usize; 2])| {
        let range = pointers[k] as usize..pointers[k + 1] as usize;
        AlignmentPair {
            images,
            pixels: [0, 1].map(|s| ends[s].0[range.clone()].to_vec()),
            anchors: [0, 1].map(|s| ends[s].1[range.clone()].to_vec()),
            offsets: [0, 1].map(|s| ends[s].2[range.clone()].to_vec()),
            confidence: conf[range].to_vec(),
        }
    };
    let pairs = edges(file, "pairs")?.into_iter().enumerate().map(pair).collect();
    let mut targets = Vec::new();
    if file.has("fallback_pairs") {
        let (points, weights) = (file.f32("fallback_pts")?, file.f32("fallback_conf")?);
        for (k, [view, frame]) in edges(file, "fallback_pairs")?.into_iter().enumerate() {
            let rows = k * anchors..(k + 1) * anchors;
            let points =
                rows.clone().map(|r| [points[3 * r], points[3 * r + 1], points[3 * r + 2]]).collect();
            targets.push(FrameTargets { view, frame, points, weights: weights[rows].to_vec() });
        }
    }
    Ok(AlignmentProblem { images, pairs, targets })
}

/// Parameters stored under `prefix`, one row per image.
fn parameters(file: &TensorFile, prefix: &str) -> anyhow::Result<Parameters> {
    let tensor = |name: &str| file.f64(&format!("{prefix}.{name}"));
    let (q, t, sigma, phi, c) = (tensor("q")?, tensor("t")?, tensor("sigma")?, tensor("phi")?, tensor("c")?);
    let image = |i: usize| ImageParameters {
        quaternion: std::array::from_fn(|k| q[4 * i + k]),
        translation: std::array::from_fn(|k| t[3 * i + k]),
        log_size: sigma[i],
        log_focal: phi[i],
        center: [c[2 * i], c[2 * i + 1]],
    };
    Ok(Parameters {
        images: (0..sigma.len()).map(image).collect(),
        depths: file.f64(&format!("{prefix}.d"))?,
    })
}

/// Values of one block of parameters.
fn block(p: &Parameters, name: &str) -> Vec<f64> {
    let images = p.images.iter();
    match name {
        "q" => images.flat_map(|i| i.quaternion).collect(),
        "t" => images.flat_map(|i| i.translation).collect(),
        "sigma" => images.map(|i| i.log_size).collect(),
        "phi" => images.map(|i| i.log_focal).collect(),
        "c" => images.flat_map(|i| i.center).collect(),
        _ => p.depths.clone(),
    }
}

/// Camera-to-world matrices `[N, 4, 4]`.
pub(super) fn poses(values: &[f64]) -> Vec<Isometry3<f64>> {
    let pose = |m: &[f64]| {
        let rotation = Rotation3::from_matrix(&Matrix3::from_fn(|r, c| m[4 * r + c]));
        let translation = Translation3::new(m[3], m[7], m[11]);
        Isometry3::from_parts(translation, UnitQuaternion::from_rotation_matrix(&rotation))
    };
    values.chunks(16).map(pose).collect()
}

/// Error of the largest value, relative to the largest expected one.
fn block_error(got: &[f64], want: &[f64]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs())).max(1e-30);
    got.iter().zip(want).map(|(g, w)| (g - w).abs() / largest).fold(0.0, f64::max)
}

struct Run<'a> {
    file: &'a TensorFile,
    name: &'a str,
    params: &'a Value,
    problem: &'a AlignmentProblem,
    options: AlignmentOptions,
}

impl Run<'_> {
    fn check(&self, what: &str) -> String {
        format!("{}/{}/{what}", self.file.stem(), self.name)
    }

    fn tensor(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    fn tolerance(&self, name: &str) -> anyhow::Result<&str> {
        self.file.entry()["tolerance"][name].as_str().with_context(|| format!("tolerance `{name}`"))
    }

    /// Loss, derivatives and forward values at stored parameters, in both precisions.
    fn states(&self, report: &mut Report<'_>) -> anyhow::Result<()> {
        self.states_in(Precision::Single, report)?;
        self.states_in(Precision::Double, report)
    }

    fn states_in(&self, precision: Precision, report: &mut Report<'_>) -> anyhow::Result<()> {
        let options = AlignmentOptions { precision, ..self.options.clone() };
        let Some(states) = self.params["states"].as_object() else { return Ok(()) };
        for (state, info) in states {
            let text = self.tolerance("states")?;
            let stage = if info["stage"] == 1 { Stage::Coarse } else { Stage::Fine };
            let floor = match stage {
                Stage::Coarse => number_after(text, "max(")?,
                Stage::Fine => number_after(text, "stage 1 /")?,
            };
            let prefix = self.tensor(state);
            let parameters = parameters(self.file, &format!("{prefix}.param"))?;
            let mut aligner = Aligner::new(self.problem, &options)?;
            let got = aligner.evaluate(stage, &parameters)?;
            let want = scalar(self.file, &format!("{prefix}.loss"))?;
            let check = |what: &str| self.check(&format!("{state}/{precision:?}/{what}"));
            report.at_most(&check("loss"), (got.loss / want - 1.0).abs(), number_after(text, "loss ")?);
            for name in ["q", "t", "sigma", "phi", "c", "d"] {
                let tensor = format!("{prefix}.grad.{name}");
                let tied = name == "sigma" && info["near_tie_of_smallest_size"] == true;
                if !self.file.has(&tensor) || tied {
                    continue;
                }
                let noise =
                    info["upstream_gradient_error_relative_to_block_max"][name].as_f64().unwrap_or(0.0);
                let error = block_error(&block(&got.gradient, name), &self.file.f64(&tensor)?);
                let bound = match precision {
                    Precision::Single => floor.max(5.0 * noise),
                    Precision::Double => number_after(text, "for f32,")?,
                };
                report.at_most(&check(&format!("grad.{name}")), error, bound);
            }
            let bound = number_after(text, "K, cam2w, D0, X0 ")?;
            self.forward_values(&prefix, &got, bound, &check, report)?;
        }
        Ok(())
    }

    fn forward_values(
        &self,
        prefix: &str,
        got: &Evaluation,
        bound: f64,
        check: &dyn Fn(&str) -> String,
        report: &mut Report<'_>,
    ) -> anyhow::Result<()> {
        let cameras = &got.images.cameras;
        let want = |name: &str| self.file.f64(&format!("{prefix}.{name}"));
        report.at_most(&check("K"), block_error(&intrinsics(cameras), &want("K")?), bound);
        let matrices: Vec<f64> = cameras
            .iter()
            .flat_map(|c| c.world_from_camera.to_homogeneous().transpose().as_slice().to_vec())
            .collect();
        report.at_most(&check("cam2w"), block_error(&matrices, &want("cam2w")?), bound);
        let depths: Vec<f64> = got.images.anchor_depths[0].iter().map(|&d| f64::from(d)).collect();
        report.at_most(&check("D0"), block_error(&depths, &want("D0")?), bound);
        let mut points = Vec::new();
        for slice in self.file.i64("match_slices")?.chunks(4).filter(|s| s[0] == 0) {
            let partner = slice[1] as usize;
            let pair =
                self.problem.pairs.iter().find(|p| p.images == [0, partner] || p.images == [partner, 0]);
            let pair = pair.context("a pair of `match_slices`")?;
            let side = usize::from(pair.images[1] == 0);
            points.push((slice[2], got.images.sparse_points(pair, side)));
        }
        points.sort_by_key(|p| p.0);
        let flat: Vec<f64> = points.iter().flat_map(|p| p.1.iter().flat_map(|x| [x.x, x.y, x.z])).collect();
        let expected = want("X0")?;
        if flat.len() < expected.len() {
            bail!("image 0 has {} matched points, fewer than stored", flat.len() / 3);
        }
        report.at_most(&check("X0"), block_error(&flat[..expected.len()], &expected), bound);
        Ok(())
    }

    fn shared_start(&self, report: &mut Report<'_>) -> anyhow::Result<()> {
        if self.file.has(&self.tensor("shared_init")) {
            let aligner = Aligner::new(self.problem, &self.options)?;
            let start = aligner.start(self.problem)?.images[0];
            let got = [start.log_focal.exp(), start.center[0], start.center[1]];
            let error = relative_error(&got, &self.file.f64(&self.tensor("shared_init"))?);
            report.at_most(&self.check("shared_init"), error, 2e-6);
        }
        Ok(())
    }

    /// Loss curves and final cameras.
    fn trajectory(&self, report: &mut Report<'_>) -> anyhow::Result<()> {
        // The stepping of one parameter once per image is a defect; its curve is information only.
        let repeated = self.options.shared_intrinsics && self.params["deduplicated_optimiser"] == false;
        if !self.file.has(&self.tensor("final_K")) || repeated {
            return Ok(());
        }
        let result = steropes_scene::alignment::align(self.problem, &self.options)?;
        let exact = self.file.entry()["tolerance"].get("iterations").is_none();
        if exact {
            return self.exact_scene(&result.images, [&result.coarse_losses, &result.fine_losses], report);
        }
        self.curve("stage1", &result.coarse_losses, report)?;
        self.curve("stage2", &result.fine_losses, report)?;
        let text = self.tolerance("final")?;
        let want_k = self.file.f64(&self.tensor("final_K"))?;
        let want = poses(&self.file.f64(&self.tensor("final_cam2w"))?);
        let got: Vec<_> = result.images.cameras.iter().map(|c| c.world_from_camera).collect();
        compare_cameras(&|w| self.check(w), (&got, &want), text, report)?;
        let focals: Vec<f64> = result.images.cameras.iter().map(|c| c.intrinsics.focal_px).collect();
        let want: Vec<f64> = want_k.chunks(4).map(|k| k[0]).collect();
        report.at_most(
            &self.check("final/focal"),
            relative_error(&focals, &want),
            number_after(text, "focal ")? / 100.0,
        );
        Ok(())
    }

    fn curve(&self, stage: &str, got: &[f64], report: &mut Report<'_>) -> anyhow::Result<()> {
        let plain = self.tensor(&format!("losses_{stage}"));
        if !self.file.has(&plain) {
            return Ok(());
        }
        let oracle = format!("{plain}_f64");
        let upstream = self.file.f64(&plain)?;
        let want = if self.file.has(&oracle) { self.file.f64(&oracle)? } else { upstream.clone() };
        if got.len() != want.len() {
            bail!("{stage} has {} losses, expected {}", got.len(), want.len());
        }
        let text = self.tolerance("iterations")?;
        let strict = number_after(text, "0 and 1:")?;
        let measured = self.params["measured_rel_difference_of_losses"][stage].as_object();
        for (key, measured) in measured.context("`measured_rel_difference_of_losses`")? {
            let iteration: usize = key.parse()?;
            // Curves cross: at one iteration two right programs may agree by chance, so the noise is the largest
            // difference of the two stored curves around it.
            let around = iteration / 2..=(2 * iteration + 5).min(want.len() - 1);
            let difference = |i: usize| (upstream[i] / want[i] - 1.0).abs();
            let measured = around.map(difference).fold(measured.as_f64().context("a number")?, f64::max);
            let noise = 5.0 * measured;
            let bound = match iteration {
                0 | 1 if stage == "stage1" => strict,
                i if i + 1 == want.len() => noise.max(number_after(text, "2e-3 (100),")?),
                0..=10 => noise.max(number_after(text, "never below")?),
                _ => noise.max(number_after(text, "(10),")?),
            };
            let error = (got[iteration] / want[iteration] - 1.0).abs();
            report.at_most(&self.check(&format!("{stage}/loss_{iteration}")), error, bound);
        }
        Ok(())
    }

    /// A scene whose optimum is exactly 0: absolute bounds against the truth.
    fn exact_scene(
        &self,
        got: &AlignedImages,
        losses: [&[f64]; 2],
        report: &mut Report<'_>,
    ) -> anyhow::Result<()> {
        let text = self.tolerance("final")?;
        for (loss, key) in losses.iter().zip(["L3 last <", "L2 last <"]) {
            if let Some(&last) = loss.last() {
                report.at_most(
                    &self.check(key.split(' ').next().unwrap_or(key)),
                    last,
                    number_after(text, key)?,
                );
            }
        }
        let truth = poses(&self.file.f64("true_cam2w")?);
        let cameras: Vec<_> = got.cameras.iter().map(|c| c.world_from_camera).collect();
        let bound = number_after(text, "relative rotations <")?;
        report.at_most(&self.check("rotation_deg"), worst_relative_rotation(&cameras, &truth), bound);
        let steps = |p: &[Isometry3<f64>]| -> Vec<f64> {
            p.windows(2).map(|w| (w[1].translation.vector - w[0].translation.vector).norm()).collect()
        };
        let (own, wanted) = (steps(&cameras), steps(&truth));
        let mean = own.iter().sum::<f64>() / own.len() as f64;
        let spread = own.iter().map(|s| (s / mean - 1.0).abs()).fold(0.0, f64::max);
        report.at_most(&self.check("baseline_spread"), spread, number_after(text, "equal within")?);
        let off = own.iter().zip(&wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        let focals: Vec<f64> = got.cameras.iter().map(|c| c.intrinsics.focal_px).collect();
        let focal_error = relative_error(&focals, &self.file.f64("true_focal")?);
        if self.options.fine.iterations == 0 {
            report.at_most(
                &self.check("baseline"),
                off,
                number_after(&text[text.find("coarse:").context("coarse")?..], "+-")?,
            );
        } else if !self.options.optimise_depth {
            let text = &text[text.find("nodepth").context("nodepth")?..];
            report.at_most(&self.check("baseline"), off, number_after(text, "+-")?);
            report.at_most(&self.check("focal"), focal_error, number_after(text, "focal within")? / 100.0);
        } else {
            let text = &text[text.find("default:").context("default")?..];
            report.at_most(&self.check("focal"), focal_error, number_after(text, "focal within")? / 100.0);
        }
        Ok(())
    }

    /// Dense maps from the stored final state.
    fn dense(&self, report: &mut Report<'_>) -> anyhow::Result<()> {
        let name = self.tensor("dense_depth");
        if !self.file.has(&name) {
            return Ok(());
        }
        let shape = self.file.shape(&name)?;
        let (height, width) = (shape[1], shape[2]);
        let (relative, confidence) = (self.file.f32("canon2")?, self.file.f32("canon_conf")?);
        let subsample = self.file.entry()["params"]["subsample"].as_u64().context("`subsample`")? as usize;
        let pixels = height * width;
        let view = |i: usize| CanonicalView {
            width,
            height,
            subsample,
            points: Vec::new(),
            relative_depth: relative[i * pixels..(i + 1) * pixels].to_vec(),
            confidence: confidence[i * pixels..(i + 1) * pixels].to_vec(),
        };
        let views: Vec<_> = (0..shape[0]).map(view).collect();
        let k = self.file.f64(&self.tensor("final_K"))?;
        let poses = poses(&self.file.f64(&self.tensor("final_cam2w"))?);
        let camera = |(i, &world_from_camera): (usize, &Isometry3<f64>)| Camera {
            intrinsics: Intrinsics { focal_px: k[4 * i], center_px: [k[4 * i + 2], k[4 * i + 3]] },
            world_from_camera,
        };
        let depths = self.file.f32(&self.tensor("final_depth"))?;
        let anchors = depths.len() / shape[0];
        let state = AlignedImages {
            cameras: poses.iter().enumerate().map(camera).collect(),
            anchor_depths: depths.chunks(anchors).map(<[f32]>::to_vec).collect(),
            base_focals_px: self.problem.images.iter().map(|i| i.base_focal_px).collect(),
        };
        let text = self.tolerance("dense")?;
        let mut images = dense_images(&state, &views.iter().collect::<Vec<_>>())?;
        let depth: Vec<f32> = images.iter().flat_map(|i| i.depth.clone()).collect();
        let bound = Tolerance::OfLargest(number_after(text, "dense_depth ")?);
        report.close(&self.check("dense_depth"), &depth, &self.file.f64(&name)?, bound);
        clean(&mut images, &state.cameras, 0.001)?;
        let got: Vec<f32> = images.iter().flat_map(|i| i.confidence.clone()).collect();
        let want = self.file.f32(&self.tensor("dense_conf_clean"))?;
        let differing = got.iter().zip(&want).filter(|(a, b)| a != b).count() as f64 / want.len() as f64;
        let bound = number_after(text, "except <=")? / 100.0;
        report.at_most(&self.check("dense_conf_clean"), differing, bound);
        Ok(())
    }
}

fn intrinsics(cameras: &[Camera]) -> Vec<f64> {
    let values = |c: &Camera| {
        let k = &c.intrinsics;
        [k.focal_px, k.focal_px, k.center_px[0], k.center_px[1]]
    };
    cameras.iter().flat_map(values).collect()
}

/// Largest angle, in degrees, between relative rotations of two sets of cameras.
pub(super) fn worst_relative_rotation(a: &[Isometry3<f64>], b: &[Isometry3<f64>]) -> f64 {
    let mut worst = 0.0f64;
    for i in 0..a.len() {
        for j in 0..i {
            let relative =
                |p: &[Isometry3<f64>]| (p[i].rotation.inverse() * p[j].rotation).to_rotation_matrix();
            let distance = (relative(a).matrix() - relative(b).matrix()).norm();
            worst = worst.max(2.0 * (distance / 8f64.sqrt()).min(1.0).asin().to_degrees());
        }
    }
    worst
}

/// Final cameras after the best similarity of the centres.
pub(super) fn compare_cameras(
    check: &dyn Fn(&str) -> String,
    (got, want): (&[Isometry3<f64>], &[Isometry3<f64>]),
    text: &str,
    report: &mut Report<'_>,
) -> anyhow::Result<()> {
    let error = worst_relative_rotation(got, want);
    report.at_most(&check("final/relative_rotation_deg"), error, number_after(text, "relative rotation ")?);
    let centers =
        |p: &[Isometry3<f64>]| -> Vec<Vector3<f64>> { p.iter().map(|p| p.translation.vector).collect() };
    let (from, to) = (centers(got), centers(want));
    let aligned = aligned_centers(&from, &to);
    let worst = aligned.iter().zip(&to).map(|(a, b)| (a - b).norm()).fold(0.0, f64::max);
    let mut baselines = Vec::new();
    for i in 0..to.len() {
        baselines.extend((0..i).map(|j| (to[i] - to[j]).norm()));
    }
    let mean = baselines.iter().sum::<f64>() / baselines.len() as f64;
    report.at_most(&check("final/centres"), worst / mean, number_after(text, "centres ")? / 100.0);
    Ok(())
}

/// `from` moved onto `to` by the similarity with the least squared distances (Umeyama 1991).
fn aligned_centers(from: &[Vector3<f64>], to: &[Vector3<f64>]) -> Vec<Vector3<f64>> {
    let n = from.len() as f64;
    let mean = |v: &[Vector3<f64>]| v.iter().sum::<Vector3<f64>>() / n;
    let (a, b) = (mean(from), mean(to));
    let mut covariance = DMatrix::zeros(3, 3);
    let mut variance = 0.0;
    for (x, y) in from.iter().zip(to) {
        covariance += DMatrix::from_fn(3, 3, |r, c| (y - b)[r] * (x - a)[c]);
        variance += (x - a).norm_squared();
    }
    let svd = Matrix3::from_fn(|r, c| covariance[(r, c)]).svd(true, true);
    let (u, v) = (svd.u.expect("asked for"), svd.v_t.expect("asked for"));
    let mut sign = Matrix3::identity();
    sign[(2, 2)] = (u * v).determinant().signum();
    let rotation = u * sign * v;
    let scale = (Matrix3::from_diagonal(&svd.singular_values) * sign).trace() / variance;
    from.iter().map(|x| scale * (rotation * (x - a)) + b).collect()
}
