//! Whole alignments of a scene that is known exactly: two slanted walls seen by cameras on an arc.

use super::*;
use nalgebra::{Isometry3, Point3, UnitQuaternion, Vector3};
use steropes_ops::geometry::canonical_view::CanonicalView;

const SIZE: [usize; 2] = [64, 48];
const FOCAL: f64 = 60.0;
const PRINCIPAL: [f64; 2] = [31.5, 23.5];

/// Depth of the nearer of two walls along a ray.
fn cast(camera: &Isometry3<f64>, ray: Vector3<f64>) -> f64 {
    let walls = [(Vector3::new(0.3, 0.1, -1.0), 4.0), (Vector3::new(-0.9, 0.2, -1.0), 3.5)];
    let (origin, direction) = (camera.translation.vector, camera.rotation * ray);
    let hit =
        |(normal, offset): &(Vector3<f64>, f64)| -(offset + normal.dot(&origin)) / normal.dot(&direction);
    walls.iter().map(hit).filter(|t| *t > 0.0).fold(f64::INFINITY, f64::min)
}

fn ray(x: f64, y: f64) -> Vector3<f64> {
    Vector3::new((x - PRINCIPAL[0]) / FOCAL, (y - PRINCIPAL[1]) / FOCAL, 1.0)
}

fn truth(images: usize) -> Vec<Isometry3<f64>> {
    let pose = |i: usize| {
        let t = i as f64 - images as f64 / 2.0;
        let rotation = UnitQuaternion::from_euler_angles(0.02 * t, -0.08 * t, 0.03 * t);
        Isometry3::from_parts(Vector3::new(0.35 * t, 0.05 * t * t, 0.1 * t).into(), rotation)
    };
    (0..images).map(pose).collect()
}

/// The exact pointmap of a camera in units of `scale`.
fn view(camera: &Isometry3<f64>, scale: f64) -> CanonicalView {
    let [width, height] = SIZE;
    let depth = |i: usize| cast(camera, ray((i % width) as f64, (i / width) as f64)) * scale;
    let points = (0..width * height).flat_map(|i| {
        let p = ray((i % width) as f64, (i / width) as f64) * depth(i);
        [p.x as f32, p.y as f32, p.z as f32]
    });
    let mut view = CanonicalView {
        width,
        height,
        subsample: 8,
        points: points.collect(),
        relative_depth: Vec::new(),
        confidence: vec![5.0; width * height],
    };
    view.relative_depth = (0..width * height)
        .map(|i| {
            let anchor = view.anchor_pixel(view.anchor_of(i % width, i / width));
            (depth(i) / depth(anchor)) as f32
        })
        .collect();
    view
}

/// Images whose clouds have different units, matched on a grid wherever both see the same point.
fn problem(images: usize) -> (AlignmentProblem, Vec<CanonicalView>) {
    let poses = truth(images);
    let views: Vec<_> = poses.iter().enumerate().map(|(i, p)| view(p, 1.0 + 0.1 * i as f64)).collect();
    let mut problem = AlignmentProblem::default();
    for v in &views {
        problem.images.push(condense_image(v, PRINCIPAL).expect("a pointmap"));
    }
    for a in 0..images {
        for b in a + 1..images {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            for i in 0..16 * 12 {
                let (x, y) = ((i % 16 * 4 + 2) as f64, (i / 16 * 4 + 2) as f64);
                let depth = cast(&poses[a], ray(x, y));
                let p = poses[b].inverse_transform_point(&(poses[a] * Point3::from(ray(x, y) * depth)));
                let pixel =
                    [FOCAL * p.x / p.z + PRINCIPAL[0], FOCAL * p.y / p.z + PRINCIPAL[1]].map(f64::round);
                let inside = (0.0..64.0).contains(&pixel[0]) && (0.0..48.0).contains(&pixel[1]);
                if inside && (cast(&poses[b], ray(pixel[0], pixel[1])) / p.z - 1.0).abs() < 0.03 {
                    first.push([x as u32, y as u32]);
                    second.push(pixel.map(|v| v as u32));
                }
            }
            let confidence = vec![10.0; first.len()];
            let pair = condense_pair([a, b], [&views[a], &views[b]], [&first, &second], &confidence);
            problem.pairs.push(pair.expect("pixels are inside"));
        }
    }
    (problem, views)
}

/// Largest error of relative rotations in degrees, and of baselines after one factor, relative to their mean.
fn errors(got: &[Camera], want: &[Isometry3<f64>]) -> (f64, f64) {
    let (mut angle, mut ratios) = (0.0f64, Vec::new());
    for i in 0..got.len() {
        for j in 0..i {
            let relative = |a: &Isometry3<f64>, b: &Isometry3<f64>| a.inverse() * b;
            let own = relative(&got[i].world_from_camera, &got[j].world_from_camera);
            let wanted = relative(&want[i], &want[j]);
            angle = angle.max(own.rotation.angle_to(&wanted.rotation).to_degrees());
            ratios.push(own.translation.vector.norm() / wanted.translation.vector.norm());
        }
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    (angle, ratios.iter().map(|r| (r / mean - 1.0).abs()).fold(0.0, f64::max))
}

#[test]
fn images_are_aligned_in_the_frame_of_the_first() {
    let (problem, views) = problem(4);
    let result = align(&problem, &AlignmentOptions::default()).expect("aligned");
    let (angle, baseline) = errors(&result.images.cameras, &truth(4));
    // Matches are rounded to whole pixels, which are 0.95 degrees wide here.
    assert!(angle < 2.0 && baseline < 0.15, "{angle} {baseline}");
    let first = result.images.cameras[0].world_from_camera;
    assert!(first.translation.vector.norm() < 1e-12 && first.rotation.angle() < 1e-7);
    assert!(result.fine_losses[299] < result.fine_losses[1] && result.coarse_losses.len() == 300);
    let mut dense = dense_images(&result.images, &views.iter().collect::<Vec<_>>()).expect("views fit");
    clean(&mut dense, &result.images.cameras, 0.01).expect("cameras fit");
    let coarse_only = AlignmentOptions {
        fine: StageOptions { iterations: 0, learning_rate: 0.0 },
        ..AlignmentOptions::default()
    };
    let coarse = align(&problem, &coarse_only).expect("aligned").images;
    let ratio = depth_ratio(&coarse, &result.images);
    assert!((ratio - 1.0).abs() < 1e-5, "the fine stage changed the scale by {ratio}");
}

#[test]
fn single_and_double_precision_agree_and_repeat() {
    let (problem, _) = problem(3);
    let run = |precision| {
        let options = AlignmentOptions { precision, ..AlignmentOptions::default() };
        align(&problem, &options).expect("aligned").images
    };
    let (single, double) = (run(Precision::Single), run(Precision::Double));
    let poses: Vec<_> = double.cameras.iter().map(|c| c.world_from_camera).collect();
    let (angle, baseline) = errors(&single.cameras, &poses);
    assert!(angle < 0.2 && baseline < 0.02, "{angle} {baseline}");
    assert_eq!(single, run(Precision::Single));
}

#[test]
fn known_cameras_are_where_the_optimisation_starts() {
    let (problem, _) = problem(4);
    let poses = truth(4);
    let rotations = poses.iter().map(|p| p.rotation).collect();
    let loss_from = |start: Start| {
        let options = AlignmentOptions { start, ..AlignmentOptions::default() };
        let mut aligner = Aligner::new(&problem, &options).expect("fits");
        let parameters = aligner.start(&problem).expect("positive sizes");
        let state = aligner.evaluate(Stage::Coarse, &parameters).expect("fits");
        (state.loss, errors(&state.images.cameras, &poses))
    };
    let (identity, _) = loss_from(Start::Identity);
    let (loss, (angle, baseline)) = loss_from(Start::Cameras(InitialCameras::Poses(poses.clone())));
    assert!(angle < 1e-5 && baseline < 1e-9 && loss < 0.1 * identity, "{angle} {baseline} {loss} {identity}");
    let (loss, (angle, baseline)) = loss_from(Start::Cameras(InitialCameras::Rotations(rotations)));
    assert!(angle < 1e-5 && baseline < 0.05 && loss < 0.1 * identity, "{angle} {baseline} {loss} {identity}");
}

/// Differences of the loss against the derivatives, through the tree, the sizes and the priors.
#[test]
fn derivatives_match_differences() {
    let (problem, _) = problem(3);
    let options = AlignmentOptions {
        focal_prior: 0.7,
        principal_prior: 3.0,
        precision: Precision::Double,
        start: Start::Cameras(InitialCameras::Poses(truth(3))),
        ..AlignmentOptions::default()
    };
    let mut aligner = Aligner::new(&problem, &options).expect("fits");
    let mut parameters = aligner.start(&problem).expect("positive sizes");
    for (i, p) in parameters.images.iter_mut().enumerate() {
        p.log_size += 0.05 * i as f64;
        p.log_focal += 0.03 * (i as f64 - 1.0);
        p.center[0] += 0.01;
        p.quaternion = p.quaternion.map(|q| 1.3 * q);
    }
    for stage in [Stage::Coarse, Stage::Fine] {
        let gradient = aligner.evaluate(stage, &parameters).expect("fits").gradient;
        let values = if stage == Stage::Coarse { 8 } else { 11 };
        let largest = gradient.images.iter().flat_map(|g| g.to_array()).fold(0.0f64, |m, v| m.max(v.abs()));
        for image in 0..3 {
            for k in 0..values {
                let mut loss = |h: f64| {
                    let mut moved = parameters.clone();
                    let mut array = moved.images[image].to_array();
                    array[k] += h;
                    moved.images[image] = ImageParameters::from_array(array);
                    aligner.evaluate(stage, &moved).expect("fits").loss
                };
                let want = (loss(1e-6) - loss(-1e-6)) / 2e-6;
                let got = gradient.images[image].to_array()[k];
                assert!((got - want).abs() < 1e-5 * largest, "{stage:?} {image} {k}: {got}, want {want}");
            }
        }
        for k in [0, 17, 100] {
            let mut loss = |h: f64| {
                let mut moved = parameters.clone();
                moved.depths[k] += h;
                aligner.evaluate(stage, &moved).expect("fits").loss
            };
            let want = (loss(1e-6) - loss(-1e-6)) / 2e-6;
            let frozen = stage == Stage::Coarse;
            let got = if frozen { want } else { gradient.depths[k] };
            assert!((got - want).abs() < 1e-5 * largest, "{stage:?} depth {k}: {got}, want {want}");
        }
    }
}

/// Two walls hardly tell the focal length; what they leave open the priors decide.
#[test]
fn shared_intrinsics_stay_shared_and_priors_hold() {
    let (problem, _) = problem(3);
    let options = AlignmentOptions {
        shared_intrinsics: true,
        focal_prior: 100.0,
        principal_prior: 100.0,
        ..AlignmentOptions::default()
    };
    let cameras = align(&problem, &options).expect("aligned").images.cameras;
    assert!(cameras.iter().all(|c| c.intrinsics == cameras[0].intrinsics));
    assert!((cameras[0].intrinsics.focal_px / FOCAL - 1.0).abs() < 0.05, "{:?}", cameras[0].intrinsics);
}

#[test]
fn bad_input_is_refused() {
    let (good, views) = problem(3);
    let text = |change: &dyn Fn(&mut AlignmentProblem), options: AlignmentOptions| {
        let mut problem = good.clone();
        change(&mut problem);
        align(&problem, &options).expect_err("refused").to_string()
    };
    let usual = AlignmentOptions::default;
    assert!(text(&|p| p.images.truncate(1), usual()).contains("`images` must be at least 2, got 1"));
    assert!(text(&|p| p.images[0].base_focal_px = 0.0, usual()).contains("`base_focal_px` must be positive"));
    assert!(
        text(&|p| p.images[1].anchor_depths.clear(), usual()).contains("`anchor_depths` must be at least 1")
    );
    assert!(
        text(&|p| p.images[1].anchor_depths[3] = f32::NAN, usual())
            .contains("`anchor_depths` must be finite")
    );
    assert!(
        text(&|p| p.images[2].mean_confidence = -1.0, usual()).contains("`mean_confidence` must be positive")
    );
    assert!(text(&|p| p.pairs[0].images = [1, 1], usual()).contains("`pairs` must be pairs of different"));
    assert!(text(&|p| p.pairs[0].images = [2, 1], usual()).contains("`pairs` must be each pair once"));
    assert!(text(&|p| p.pairs[0].anchors[0][0] = 48, usual()).contains("`anchors` must be below 48, got 48"));
    let spanning = AlignmentOptions { tree: TreeChoice::MaximumSpanning, ..usual() };
    assert!(text(&|p| p.pairs.truncate(1), spanning).contains("none that reaches image 2"));
    let short = AlignmentOptions { start: Start::Parameters(Parameters::default()), ..usual() };
    assert!(text(&|_| {}, short).contains("`parameters` must be 3 images with 144 anchors, got 0 and 0"));
    let few = Start::Cameras(InitialCameras::Poses(truth(2)));
    assert!(
        text(&|_| {}, AlignmentOptions { start: few, ..usual() })
            .contains("`start` must be 3 cameras, got 2")
    );
    let pair = |pixels: [&[[u32; 2]]; 2]| {
        condense_pair([0, 1], [&views[0], &views[1]], pixels, &[1.0]).expect_err("refused").to_string()
    };
    assert!(pair([&[[64, 0]], &[[0, 0]]]).contains("`pixels` must be inside 64 x 48, got (64, 0)"));
    assert!(pair([&[[0, 0]], &[]]).contains("`pixels` must be 1 per image, got 0"));
    let mut dark = views[0].clone();
    let anchor = dark.anchor_pixel(5);
    dark.relative_depth[anchor] = -0.5;
    let error = condense_image(&dark, PRINCIPAL).expect_err("refused").to_string();
    assert!(error.contains("`relative_depth` must be positive at anchors, got -0.5"));
}

/// The GPU that `STEROPES_DEVICE` names, else the first of this machine.
#[expect(clippy::print_stderr, reason = "whoever runs the tests should know what was not tested")]
fn gpu() -> Option<Device> {
    let device = match std::env::var("STEROPES_DEVICE") {
        Ok(selector) => Device::select(&selector).expect("the device that STEROPES_DEVICE names"),
        Err(_) if Device::gpus().is_empty() => {
            eprintln!("no GPU on this machine, not even a program: the alignment on a GPU is not tested");
            return None;
        }
        Err(_) => Device::select("gpu:0").expect("the first GPU opens"),
    };
    device.gpu().is_some().then_some(device)
}

/// A problem whose last pair is weak and has targets.
fn problem_with_targets(images: usize) -> (AlignmentProblem, AlignmentOptions) {
    let (mut problem, views) = problem(images);
    let poses = truth(images);
    let [view, frame] = problem.pairs.last().expect("pairs").images;
    problem.pairs.last_mut().expect("pairs").confidence.fill(1.0);
    for [view, frame] in [[view, frame], [frame, view]] {
        let points: Vec<f32> = views[view]
            .points
            .chunks_exact(3)
            .flat_map(|p| {
                let own = Point3::new(f64::from(p[0]), f64::from(p[1]), f64::from(p[2]));
                let seen = poses[frame].inverse_transform_point(&(poses[view] * own));
                [seen.x as f32, seen.y as f32, seen.z as f32]
            })
            .collect();
        let maps = (points.as_slice(), views[view].confidence.as_slice());
        let targets = sample_targets([view, frame], &views[view], maps, TargetSampling::Anchor);
        problem.targets.push(targets.expect("maps fit"));
    }
    let options =
        AlignmentOptions { weak_pair_confidence: 5.0, fallback_weight: 0.5, ..AlignmentOptions::default() };
    (problem, options)
}

/// Loss and derivatives on a GPU against those in f64, with all terms of the loss.
#[test]
fn derivatives_on_a_gpu_match_the_cpu() {
    let Some(device) = gpu() else { return };
    let (problem, options) = problem_with_targets(4);
    for shared_intrinsics in [false, true] {
        let on = |device: Device, precision: Precision| AlignmentOptions {
            device,
            precision,
            shared_intrinsics,
            focal_prior: 0.7,
            principal_prior: 3.0,
            start: Start::Cameras(InitialCameras::Poses(truth(4))),
            ..options.clone()
        };
        let new = |options| Aligner::new(&problem, &options).expect("fits");
        let mut host = new(on(Device::Cpu, Precision::Double));
        let mut other = new(on(device.clone(), Precision::Single));
        let mut parameters = host.start(&problem).expect("positive sizes");
        for (i, p) in parameters.images.iter_mut().enumerate() {
            p.log_size += 0.05 * i as f64;
            p.log_focal += 0.03 * (i as f64 - 1.0);
            p.center[0] += 0.01;
            p.quaternion = p.quaternion.map(|q| 1.3 * q);
        }
        for stage in [Stage::Coarse, Stage::Fine] {
            let (want, got) = (host.evaluate(stage, &parameters), other.evaluate(stage, &parameters));
            let (want, got) = (want.expect("fits"), got.expect("fits"));
            assert!((got.loss / want.loss - 1.0).abs() < 2e-6, "{stage:?}: {} and {}", got.loss, want.loss);
            let values = if stage == Stage::Coarse { 8 } else { 11 };
            for kind in [0..4, 4..7, 7..8, 8..9, 9..11].into_iter().filter(|k| k.end <= values) {
                let list = |e: &Evaluation| -> Vec<f64> {
                    e.gradient.images.iter().flat_map(|g| g.to_array()[kind.clone()].to_vec()).collect()
                };
                assert_near(&list(&got), &list(&want), 1e-4, &format!("{stage:?} {kind:?}"));
            }
            if stage == Stage::Fine {
                assert_near(&got.gradient.depths, &want.gradient.depths, 1e-4, "depths");
            }
            let poses: Vec<_> = want.images.cameras.iter().map(|c| c.world_from_camera).collect();
            let (angle, baseline) = errors(&got.images.cameras, &poses);
            assert!(angle < 1e-3 && baseline < 1e-5, "{angle} {baseline}");
        }
    }
}

fn assert_near(got: &[f64], want: &[f64], share: f64, what: &str) {
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let error = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0f64, f64::max);
    assert!(error < share * largest, "{what}: error {error:.2e} of {largest:.2e}");
}

/// A whole alignment on a GPU ends where the CPU ends.
#[test]
fn alignment_on_a_gpu_ends_where_the_cpu_ends() {
    let Some(device) = gpu() else { return };
    let (problem, options) = problem_with_targets(4);
    let cases = [
        AlignmentOptions::default(),
        AlignmentOptions {
            shared_intrinsics: true,
            optimise_principal: false,
            ..AlignmentOptions::default()
        },
        options,
    ];
    for options in cases {
        let run = |device: Device| {
            align(&problem, &AlignmentOptions { device, ..options.clone() }).expect("aligned")
        };
        let (want, got) = (run(Device::Cpu), run(device.clone()));
        for (got, want) in [(&got.coarse_losses, &want.coarse_losses), (&got.fine_losses, &want.fine_losses)]
        {
            let (got, want) = (got.last().expect("steps"), want.last().expect("steps"));
            assert!((got / want - 1.0).abs() < 1e-3, "{got} and {want}");
        }
        let poses: Vec<_> = want.images.cameras.iter().map(|c| c.world_from_camera).collect();
        let (angle, baseline) = errors(&got.images.cameras, &poses);
        assert!(angle < 0.05 && baseline < 0.01, "{angle} {baseline}");
        for camera in &got.images.cameras {
            let rotation = camera.world_from_camera.rotation;
            assert!((rotation.norm() - 1.0).abs() < 1e-12, "{rotation:?} is no rotation in f64");
        }
        let again = run(device.clone());
        assert!(again.images == got.images && again.fine_losses == got.fine_losses);
    }
}

#[test]
fn a_gpu_refuses_double_precision() {
    let Some(device) = gpu() else { return };
    let (problem, _) = problem(2);
    let options = AlignmentOptions { device, precision: Precision::Double, ..AlignmentOptions::default() };
    let error = align(&problem, &options).expect_err("refused").to_string();
    assert!(error.contains("its kernels compute in f32"), "{error}");
}
