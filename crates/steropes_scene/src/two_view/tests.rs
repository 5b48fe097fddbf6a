//! Scenes by formulas with known poses, and what is no scene.

use super::*;
use crate::geometry::random::SplitMix;
use nalgebra::Point3;

const SIZE: [f64; 2] = [640.0, 480.0];
const CENTER: [f64; 2] = [319.5, 239.5];
const FOCAL: f64 = 500.0;

/// The surface that the matches lie on.
#[derive(Clone, Copy, PartialEq)]
enum Surface {
    /// Depths between 3 and 9 anywhere.
    Cloud,
    /// A slanted plane.
    Plane,
    /// The plane, and the given share of the matches in front of it.
    PlaneAndThings(f64),
}

#[derive(Clone, Copy)]
struct Scene {
    surface: Surface,
    turn: [f64; 3],
    shift: [f64; 3],
    matches: usize,
    outlier_share: f64,
    noise_px: f64,
    /// Whether pixels are rounded to whole numbers.
    rounded: bool,
    focal_px: [f64; 2],
    seed: u64,
}

const BASE: Scene = Scene {
    surface: Surface::Cloud,
    turn: [0.05, 0.12, 0.03],
    shift: [1.0, 0.1, 0.2],
    matches: 1500,
    outlier_share: 0.3,
    noise_px: 0.5,
    rounded: true,
    focal_px: [FOCAL, FOCAL],
    seed: 1,
};

struct Made {
    pixels_1: Vec<[f64; 2]>,
    pixels_2: Vec<[f64; 2]>,
    confidence: Vec<f64>,
    is_true: Vec<bool>,
    rotation: UnitQuaternion<f64>,
    translation: Vector3<f64>,
}

impl Scene {
    fn made(&self) -> Made {
        let mut random = SplitMix::new(self.seed);
        let rotation = UnitQuaternion::from_scaled_axis(Vector3::from(self.turn));
        // p2 = R (p1 - c), with c the place of camera 2.
        let translation = -(rotation * Vector3::from(self.shift));
        let mut made = Made {
            pixels_1: Vec::new(),
            pixels_2: Vec::new(),
            confidence: Vec::new(),
            is_true: Vec::new(),
            rotation,
            translation,
        };
        let inside = |p: &[f64; 2]| (0..2).all(|k| p[k] > -0.5 && p[k] < SIZE[k] - 0.5);
        let mut tries = 0;
        while made.pixels_1.len() < self.matches {
            tries += 1;
            assert!(tries < 100 * self.matches, "the cameras see nothing in common");
            let pixel = [random.uniform() * SIZE[0] - 0.5, random.uniform() * SIZE[1] - 0.5];
            let other = [random.uniform() * SIZE[0] - 0.5, random.uniform() * SIZE[1] - 0.5];
            let is_true = random.uniform() >= self.outlier_share;
            let ray = Vector3::new(
                (pixel[0] - CENTER[0]) / self.focal_px[0],
                (pixel[1] - CENTER[1]) / self.focal_px[0],
                1.0,
            );
            let plane = 6.0 / (1.0 + 0.4 * ray.x - 0.3 * ray.y);
            let depth = match self.surface {
                Surface::Cloud => 3.0 + 6.0 * random.uniform(),
                Surface::PlaneAndThings(share) if random.uniform() < share => {
                    plane * (0.4 + 0.4 * random.uniform())
                }
                Surface::Plane | Surface::PlaneAndThings(_) => plane,
            };
            let p = rotation * Point3::from(ray * depth) + translation;
            let seen = [self.focal_px[1] * p.x / p.z + CENTER[0], self.focal_px[1] * p.y / p.z + CENTER[1]];
            if is_true && (p.z <= 0.1 || !inside(&seen)) {
                continue;
            }
            let mut measured = |p: [f64; 2]| {
                let noisy = p.map(|v| v + self.noise_px * random.normal());
                if self.rounded { noisy.map(f64::round) } else { noisy }
            };
            let pair = [measured(pixel), measured(if is_true { seen } else { other })];
            made.pixels_1.push(pair[0]);
            made.pixels_2.push(pair[1]);
            made.is_true.push(is_true);
            // A little better than no information about which matches are right.
            made.confidence.push(1.0 + random.uniform() + if is_true { 0.3 } else { 0.0 });
        }
        made
    }
}

impl Made {
    fn matches(&self) -> MatchedPixels<'_> {
        MatchedPixels { pixels_1: &self.pixels_1, pixels_2: &self.pixels_2, confidence: &self.confidence }
    }

    fn rotation_error_deg(&self, pose: &RelativePose) -> f64 {
        (pose.camera2_from_camera1 * self.rotation.inverse()).angle().to_degrees()
    }

    fn direction_error_deg(&self, pose: &RelativePose) -> f64 {
        pose.translation.expect("a pose with a translation").angle(&self.translation).to_degrees()
    }

    /// Share of the true matches among the inliers, and of the inliers among the true matches.
    fn precision_and_recall(&self, view: &TwoView) -> (f64, f64) {
        let both = self.is_true.iter().zip(&view.inliers).filter(|(t, i)| **t && **i).count() as f64;
        let truth = self.is_true.iter().filter(|t| **t).count() as f64;
        (both / view.inlier_count as f64, both / truth)
    }
}

fn guess(focal_px: f64, focal_sigma: f64) -> PhotoGuess {
    PhotoGuess { size_px: SIZE, center_px: CENTER, focal_px, focal_sigma }
}

fn view(made: &Made, photos: [PhotoGuess; 2], options: &TwoViewOptions) -> TwoView {
    verify(&made.matches(), &photos, options).expect("the arguments are good")
}

fn shared() -> TwoViewOptions {
    TwoViewOptions { shared_focal: true, ..TwoViewOptions::default() }
}

#[test]
fn general_scene_with_known_focals() {
    for seed in 0..5 {
        for (outlier_share, noise_px, most_turn, most_aim) in
            [(0.0, 0.5, 0.12, 0.3), (0.5, 0.5, 0.15, 0.5), (0.7, 1.0, 0.3, 1.4)]
        {
            let made = Scene { outlier_share, noise_px, seed, ..BASE }.made();
            let got = view(&made, [guess(FOCAL, 0.0); 2], &TwoViewOptions::default());
            let pose = got.pose.unwrap();
            assert_eq!(got.kind, TwoViewKind::General, "{seed} {outlier_share}");
            let (turn, aim) = (made.rotation_error_deg(&pose), made.direction_error_deg(&pose));
            assert!(turn < most_turn && aim < most_aim, "{seed} {outlier_share} {noise_px}: {turn} {aim}");
            let (precision, recall) = made.precision_and_recall(&got);
            assert!(
                precision > 0.9 && recall > 0.95,
                "{seed} {outlier_share} {noise_px}: {precision} {recall}"
            );
            assert!(got.log10_false_alarms < -50.0 && got.rms_px < 1.5 * noise_px.max(0.5));
            assert_eq!(got.focal_px.map(f64::round), [FOCAL; 2]);
        }
    }
}

#[test]
fn the_triangulation_angle_and_the_matrices_are_those_of_the_scene() {
    let made = Scene { noise_px: 0.0, rounded: false, outlier_share: 0.0, ..BASE }.made();
    let got = view(&made, [guess(FOCAL, 0.0); 2], &TwoViewOptions::default());
    let f = got.fundamental.unwrap();
    for (a, b) in made.pixels_1.iter().zip(&made.pixels_2) {
        let (a, b) = (Vector3::new(a[0], a[1], 1.0), Vector3::new(b[0], b[1], 1.0));
        let line = f * a;
        assert!(b.dot(&line).abs() / line.xy().norm() < 1e-3);
    }
    // Baseline 1.02, depths 3 to 9, mostly seen from the side.
    let angle = got.median_angle_rad.to_degrees();
    assert!((7.0..13.0).contains(&angle), "{angle}");
    assert_eq!(got.inlier_count, made.pixels_1.len());
}

#[test]
fn wide_baseline_and_forward_motion() {
    let wide = Scene { turn: [0.0, 0.7, 0.1], shift: [4.5, 0.3, 1.5], ..BASE };
    let forward = Scene { turn: [0.02, 0.05, 0.0], shift: [0.05, 0.0, 1.2], ..BASE };
    for scene in [wide, forward] {
        let made = scene.made();
        let got = view(&made, [guess(FOCAL, 0.05); 2], &shared());
        let pose = got.pose.unwrap();
        assert_eq!(got.kind, TwoViewKind::General);
        let (turn, aim) = (made.rotation_error_deg(&pose), made.direction_error_deg(&pose));
        assert!(turn < 0.3 && aim < 1.0, "{turn} {aim}");
    }
}

#[test]
fn a_wrong_focal_guess_is_corrected() {
    let truth = Scene { turn: [0.05, 0.45, 0.08], shift: [2.5, 0.4, 0.8], ..BASE };
    for (factor, sigma, bound) in [(1.1, 0.08, 0.04), (0.9, 0.08, 0.04), (1.4, 0.15, 0.06), (0.7, 0.15, 0.06)]
    {
        let made = Scene { outlier_share: 0.5, ..truth }.made();
        let got = view(&made, [guess(FOCAL * factor, sigma); 2], &shared());
        let error = (got.focal_px[0] / FOCAL).ln().abs();
        let turn = made.rotation_error_deg(&got.pose.unwrap());
        assert!(error < bound && turn < 0.6, "{factor}: focal {:?}, turn {turn}", got.focal_px);
        assert_eq!(got.focal_px[0], got.focal_px[1]);
        assert!(
            got.focal_sigma[0] < 0.5 * sigma && error < 5.0 * got.focal_sigma[0],
            "{:?}",
            got.focal_sigma
        );
    }
}

#[test]
fn different_focals_per_photo() {
    let scene = Scene { focal_px: [450.0, 800.0], turn: [0.05, 0.35, 0.08], shift: [2.0, 0.4, 0.8], ..BASE };
    let made = scene.made();
    let photos = [guess(450.0 * 1.05, 0.08), guess(800.0 * 0.95, 0.08)];
    let got = view(&made, photos, &TwoViewOptions::default());
    let pose = got.pose.unwrap();
    assert_eq!(got.kind, TwoViewKind::General);
    let (turn, aim) = (made.rotation_error_deg(&pose), made.direction_error_deg(&pose));
    assert!(turn < 1.0 && aim < 3.0, "{turn} {aim} {:?}", got.focal_px);
}

#[test]
fn a_plane_is_called_a_plane() {
    for seed in 0..5 {
        let made = Scene { surface: Surface::Plane, outlier_share: 0.5, seed, ..BASE }.made();
        let got = view(&made, [guess(FOCAL, 0.03); 2], &TwoViewOptions::default());
        assert_eq!(got.kind, TwoViewKind::Planar, "{seed}");
        let poses = [got.pose.unwrap(), got.alternative.unwrap_or(got.pose.unwrap())];
        let turn = poses.iter().map(|p| made.rotation_error_deg(p)).fold(f64::MAX, f64::min);
        let aim = poses.iter().map(|p| made.direction_error_deg(p)).fold(f64::MAX, f64::min);
        assert!(turn < 0.5 && aim < 3.0, "{seed}: {turn} {aim}");
        let (precision, recall) = made.precision_and_recall(&got);
        assert!(precision > 0.95 && recall > 0.95, "{precision} {recall}");
        assert_eq!(got.focal_sigma, [0.03; 2]);
    }
}

#[test]
fn few_things_before_a_plane_settle_the_pose() {
    for seed in 0..5 {
        let made = Scene { surface: Surface::PlaneAndThings(0.1), seed, ..BASE }.made();
        let got = view(&made, [guess(FOCAL, 0.0); 2], &TwoViewOptions::default());
        assert_eq!(got.kind, TwoViewKind::General, "{seed}");
        let pose = got.pose.unwrap();
        let (turn, aim) = (made.rotation_error_deg(&pose), made.direction_error_deg(&pose));
        assert!(turn < 0.5 && aim < 2.5, "{seed}: {turn} {aim}");
    }
}

#[test]
fn turning_in_place_has_no_translation() {
    for seed in 0..5 {
        for noise_px in [0.3, 1.0] {
            let made = Scene { shift: [0.0; 3], outlier_share: 0.5, noise_px, seed, ..BASE }.made();
            let got = view(&made, [guess(FOCAL, 0.0); 2], &TwoViewOptions::default());
            assert_eq!(got.kind, TwoViewKind::PureRotation, "{seed}");
            let pose = got.pose.unwrap();
            assert!(pose.translation.is_none() && got.fundamental.is_none());
            assert!(made.rotation_error_deg(&pose) < 0.1);
        }
    }
}

#[test]
fn a_turn_shows_the_focal_length() {
    let made = Scene { shift: [0.0; 3], turn: [0.1, -0.4, 0.05], ..BASE }.made();
    let got = view(&made, [guess(FOCAL * 0.9, 0.1); 2], &shared());
    assert_eq!(got.kind, TwoViewKind::PureRotation);
    assert!((got.focal_px[0] / FOCAL).ln().abs() < 0.02, "{:?}", got.focal_px);
    assert!(made.rotation_error_deg(&got.pose.unwrap()) < 0.4);
}

#[test]
fn small_steps_are_seen() {
    // 2 degrees at the middle depth, parallax of about 10 px between near and far.
    let made = Scene { turn: [0.0, 0.035, 0.0], shift: [0.2, 0.0, 0.0], ..BASE }.made();
    let got = view(&made, [guess(FOCAL, 0.05); 2], &shared());
    assert_eq!(got.kind, TwoViewKind::General);
    let pose = got.pose.unwrap();
    let (turn, aim) = (made.rotation_error_deg(&pose), made.direction_error_deg(&pose));
    assert!(turn < 0.3 && aim < 8.0, "{turn} {aim}");
}

#[test]
fn the_same_photo_twice_is_no_motion() {
    let made = Scene { outlier_share: 0.0, ..BASE }.made();
    let same = MatchedPixels { pixels_2: &made.pixels_1, ..made.matches() };
    let got = verify(&same, &[guess(FOCAL, 0.05); 2], &TwoViewOptions::default()).unwrap();
    assert_eq!(got.kind, TwoViewKind::PureRotation);
    assert!(got.pose.unwrap().camera2_from_camera1.angle() < 1e-6);
    assert_eq!(got.inlier_count, made.pixels_1.len());
    assert!(got.median_angle_rad < 1e-6 && got.rms_px < 1e-6);
}

#[test]
fn random_matches_are_chance() {
    let mut wrong = 0;
    for seed in 0..200 {
        let made = Scene { outlier_share: 1.0, matches: 600, seed, ..BASE }.made();
        let options = TwoViewOptions { seed, max_iterations: 400, ..TwoViewOptions::default() };
        let got = view(&made, [guess(FOCAL, 0.1); 2], &options);
        wrong += usize::from(got.kind != TwoViewKind::Failed(Failure::NotSignificant));
        assert!(got.pose.is_some() != matches!(got.kind, TwoViewKind::Failed(_)));
    }
    assert!(wrong <= 1, "{wrong} of 200");
}

#[test]
fn few_true_matches_among_many_random_ones() {
    // 12 % of 1500: far below what five random matches explain by chance, so either outcome must be honest.
    let mut found = 0;
    for seed in 0..5 {
        let made = Scene { outlier_share: 0.8, seed, ..BASE }.made();
        let options = TwoViewOptions { max_iterations: 20_000, ..TwoViewOptions::default() };
        let got = view(&made, [guess(FOCAL, 0.0); 2], &options);
        if let Some(pose) = got.pose {
            assert!(made.rotation_error_deg(&pose) < 0.5, "{seed}");
            found += 1;
        }
    }
    assert!(found >= 4, "{found}");
}

#[test]
fn matches_in_one_place_prove_nothing() {
    let mut random = SplitMix::new(9);
    let mut near =
        |x: f64| -> Vec<[f64; 2]> { (0..500).map(|_| [0; 2].map(|_| x + 6.0 * random.uniform())).collect() };
    let (pixels_1, pixels_2) = (near(101.0), near(202.0));
    let confidence = vec![1.0; 500];
    let matches = MatchedPixels { pixels_1: &pixels_1, pixels_2: &pixels_2, confidence: &confidence };
    let got = verify(&matches, &[guess(FOCAL, 0.1); 2], &TwoViewOptions::default()).unwrap();
    assert!(matches!(got.kind, TwoViewKind::Failed(_)));
    assert!(got.independent_matches < 3.0);
    let one = MatchedPixels { pixels_1: &[[5.0, 6.0]; 500], pixels_2: &[[9.0, 8.0]; 500], ..matches };
    let got = verify(&one, &[guess(FOCAL, 0.1); 2], &TwoViewOptions::default()).unwrap();
    assert!(matches!(got.kind, TwoViewKind::Failed(_)));
}

#[test]
fn duplicates_neither_help_nor_hurt() {
    let made = Scene { matches: 300, outlier_share: 0.4, ..BASE }.made();
    let repeat = |v: &[[f64; 2]]| [v, v, v].concat();
    let (pixels_1, pixels_2) = (repeat(&made.pixels_1), repeat(&made.pixels_2));
    let confidence = made.confidence.repeat(3);
    let tripled = MatchedPixels { pixels_1: &pixels_1, pixels_2: &pixels_2, confidence: &confidence };
    let photos = [guess(FOCAL, 0.0); 2];
    let once = view(&made, photos, &TwoViewOptions::default());
    let thrice = verify(&tripled, &photos, &TwoViewOptions::default()).unwrap();
    assert!((once.independent_matches - thrice.independent_matches).abs() < 1e-6);
    assert!((once.log10_false_alarms / thrice.log10_false_alarms - 1.0).abs() < 0.1);
    assert!(made.rotation_error_deg(&thrice.pose.unwrap()) < 0.2);
}

#[test]
fn few_matches_fail_without_an_error() {
    let made = BASE.made();
    for n in [0, 1, 7] {
        let few = MatchedPixels {
            pixels_1: &made.pixels_1[..n],
            pixels_2: &made.pixels_2[..n],
            confidence: &made.confidence[..n],
        };
        let got = verify(&few, &[guess(FOCAL, 0.1); 2], &TwoViewOptions::default()).unwrap();
        assert_eq!(got.kind, TwoViewKind::Failed(Failure::TooFewMatches));
        assert_eq!((got.inliers.len(), got.inlier_count, got.pose), (n, 0, None));
    }
}

#[test]
fn same_arguments_same_bits() {
    let made = Scene { outlier_share: 0.6, ..BASE }.made();
    let run = |seed| view(&made, [guess(FOCAL, 0.1); 2], &TwoViewOptions { seed, ..shared() });
    assert_eq!(run(7), run(7));
    let elsewhere = std::thread::scope(|s| s.spawn(|| run(7)).join().unwrap());
    assert_eq!(run(7), elsewhere);
    // Another seed ends at the same optimum.
    let (a, b) = (run(7).pose.unwrap(), run(8).pose.unwrap());
    assert!((a.camera2_from_camera1.inverse() * b.camera2_from_camera1).angle().to_degrees() < 0.1);
}

#[test]
fn errors_name_the_argument() {
    let made = Scene { matches: 20, ..BASE }.made();
    let good = [guess(FOCAL, 0.1); 2];
    let expect =
        |matches: MatchedPixels<'_>, photos: [PhotoGuess; 2], options: TwoViewOptions, part: &str| {
            let message = verify(&matches, &photos, &options).unwrap_err().to_string();
            assert!(message.starts_with("two_view: `") && message.contains(part), "{message}");
        };
    let options = TwoViewOptions::default();
    let m = made.matches();
    expect(
        MatchedPixels { pixels_2: &made.pixels_2[..3], ..m },
        good,
        options,
        "`pixels_2` must be of length 20, got 3",
    );
    expect(MatchedPixels { confidence: &[], ..m }, good, options, "`confidence` must be of length 20");
    expect(
        MatchedPixels { pixels_1: &[[f64::NAN, 0.0]; 20], ..m },
        good,
        options,
        "`pixels_1` must be finite",
    );
    expect(
        MatchedPixels { pixels_2: &[[0.0, f64::INFINITY]; 20], ..m },
        good,
        options,
        "`pixels_2` must be finite",
    );
    expect(MatchedPixels { confidence: &[-1.0; 20], ..m }, good, options, "`confidence`");
    expect(m, [guess(0.0, 0.1), good[1]], options, "`focal_px` must be positive");
    expect(m, [guess(FOCAL, f64::NAN), good[1]], options, "`focal_sigma`");
    expect(m, [PhotoGuess { size_px: [0.0, 4.0], ..good[0] }, good[1]], options, "`size_px`");
    expect(m, [PhotoGuess { center_px: [f64::NAN, 4.0], ..good[0] }, good[1]], options, "`center_px`");
    expect(m, good, TwoViewOptions { max_error_px: 0.0, ..options }, "`max_error_px`");
}
