use super::{DepthMaps, Samples, View, reference, refine_depth, tsdf};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("tsdf/oracle/one_point", |d| values_against_oracle(d, &[[5, 3]], 1)),
        case("tsdf/oracle/odd_sizes", |d| values_against_oracle(d, &[[23, 17], [16, 9], [31, 20]], 333)),
        case("tsdf/oracle/model_size", |d| values_against_oracle(d, &[[512, 384], [384, 512]], 4096)),
        case("tsdf/oracle/refine_one_candidate", |d| refine_against_oracle(d, &[[5, 3], [4, 4]], 1, None)),
        case("tsdf/oracle/refine_odd_sizes", |d| {
            refine_against_oracle(d, &[[23, 17], [16, 9], [31, 20]], 37, None)
        }),
        case("tsdf/oracle/refine_random_candidates", |d| {
            refine_against_oracle(d, &[[19, 13], [20, 15]], 33, Some(11))
        }),
        case("tsdf/oracle/refine_model_size", |d| {
            refine_against_oracle(d, &[[512, 384], [96, 64]], 3, Some(5))
        }),
        small_bindings_case("tsdf/oracle/small_bindings", 1024, |d| {
            values_against_oracle(d, &[[23, 17], [16, 9], [31, 20]], 333)
        }),
        small_bindings_case("tsdf/oracle/refine_small_bindings", 1024, |d| {
            refine_against_oracle(d, &[[23, 17], [16, 9], [31, 20]], 37, None)
        }),
        // Not even the candidates of one pixel can wait together.
        small_bindings_case("tsdf/oracle/refine_tiny_bindings", 512, |d| {
            refine_against_oracle(d, &[[11, 7], [9, 6]], 37, None)?;
            refine_against_oracle(d, &[[11, 7], [9, 6]], 70, Some(11))
        }),
        gpu_case("tsdf/property/small_bindings_change_no_bit", small_bindings_change_no_bit),
        case("tsdf/property/single_values", single_values),
        case("tsdf/property/sure_and_unsure_pixels_stay_finite", sure_pixels_stay_finite),
        case("tsdf/property/unusable_pixels_say_nothing", unusable_pixels_say_nothing),
        case("tsdf/property/no_points", no_points),
        case("tsdf/property/refining_reduces_noise", refining_reduces_noise),
        case("tsdf/property/refined_depths_stay_or_are_candidates", depths_that_stay),
        case("tsdf/property/seeds", seeds),
        case("tsdf/error/views", errors_of_views),
        case("tsdf/error/tensors", errors_of_tensors),
        case("tsdf/error/numbers", errors_of_numbers),
    ]
}

/// A wavy wall seen by cameras side by side that turn towards it, with noisy depths and random confidences.
struct Scene {
    views: Vec<View>,
    truth: Vec<f32>,
    depth: Vec<f32>,
    confidence: Vec<f32>,
    threshold: f32,
}

const THRESHOLD: f32 = 0.1;

fn scene(sizes: &[[usize; 2]], noise: f32) -> Scene {
    let mut s = Scene {
        views: Vec::new(),
        truth: Vec::new(),
        depth: Vec::new(),
        confidence: Vec::new(),
        threshold: THRESHOLD,
    };
    for (i, &[width, height]) in sizes.iter().enumerate() {
        let (sin, cos) = (0.12 * i as f64).sin_cos();
        // The camera's center is at (0.4 i, 0.05 i, -0.1 i); it turns about its y axis.
        let center = [0.4 * i as f64, 0.05 * i as f64, -0.1 * i as f64];
        let rotation = [[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]];
        let row = |r: usize| {
            let shift = -(0..3).map(|c| rotation[r][c] * center[c]).sum::<f64>();
            [rotation[r][0], rotation[r][1], rotation[r][2], shift]
        };
        let view = View {
            width,
            height,
            focal_px: [0.9 * width as f64, 0.95 * width as f64],
            center_px: [0.5 * width as f64 - 0.3, 0.5 * height as f64 + 0.2],
            camera_from_world: [row(0), row(1), row(2)],
        };
        let random = normal(&format!("tsdf/depth {i}"), view.pixels());
        let confidence = uniform(&format!("tsdf/confidence {i}"), view.pixels());
        for pixel in 0..view.pixels() {
            let depth = wall_depth(&view, center, pixel);
            s.truth.push(depth as f32);
            s.depth.push((depth * (1.0 + f64::from(noise * random[pixel]))) as f32);
            s.confidence.push(3.0 + 2.0 * confidence[pixel]);
        }
        s.views.push(view);
    }
    s
}

/// Depth of the wall `z = 3 + 0.2 sin(2 x) + 0.1 y` along the ray of a pixel, by bisection.
fn wall_depth(view: &View, center: [f64; 3], pixel: usize) -> f64 {
    let r = &view.camera_from_world;
    let x = ((pixel % view.width) as f64 - view.center_px[0]) / view.focal_px[0];
    let y = ((pixel / view.width) as f64 - view.center_px[1]) / view.focal_px[1];
    let ray = [0, 1, 2].map(|c| r[0][c] * x + r[1][c] * y + r[2][c]);
    let (mut near, mut far) = (0.5, 20.0);
    for _ in 0..50 {
        let middle = 0.5 * (near + far);
        let [px, py, pz] = [0, 1, 2].map(|c| center[c] + middle * ray[c]);
        if pz < 3.0 + 0.2 * (2.0 * px).sin() + 0.1 * py { near = middle } else { far = middle }
    }
    near
}

fn list<T: steropes_tensor::Element>(device: &Device, values: &[T]) -> Tensor {
    Tensor::new(device, &[values.len()], values.to_vec()).expect("as long as it is")
}

impl Scene {
    fn oracle(&self) -> reference::Scene<'_> {
        let Self { views, depth, confidence, threshold, .. } = self;
        reference::Scene { views, depth, confidence, threshold: *threshold }
    }

    fn values(&self, device: &Device, points: &[f32]) -> Result<(Vec<f32>, Vec<u32>), String> {
        let (depth, confidence) = (list(device, &self.depth), list(device, &self.confidence));
        let maps = DepthMaps { views: &self.views, depth: &depth, confidence: &confidence };
        let points =
            Tensor::new(device, &[points.len() / 3, 3], points.to_vec()).map_err(|e| e.to_string())?;
        let (values, seen) = tsdf(&maps, &points, self.threshold).map_err(|e| e.to_string())?;
        Ok((values.read().map_err(|e| e.to_string())?, seen.read().map_err(|e| e.to_string())?))
    }

    fn refined(&self, device: &Device, samples: Samples<'_>) -> Result<Vec<f32>, String> {
        let (depth, confidence) = (list(device, &self.depth), list(device, &self.confidence));
        let maps = DepthMaps { views: &self.views, depth: &depth, confidence: &confidence };
        let refined = refine_depth(&maps, samples, self.threshold).map_err(|e| e.to_string())?;
        refined.read().map_err(|e| e.to_string())
    }

    /// Refined with given numbers, `count` per pixel.
    fn refined_with(&self, device: &Device, numbers: &[f32]) -> Result<Vec<f32>, String> {
        let shape = [self.depth.len(), numbers.len() / self.depth.len()];
        let numbers = Tensor::new(device, &shape, numbers.to_vec()).map_err(|e| e.to_string())?;
        self.refined(device, Samples::Given(&numbers))
    }
}

/// Errors far above those of f32: half a thousandth of a pixel, a hundred-thousandth of a unit.
const DISTURBANCES: [reference::Disturbance; 6] = [
    [5e-4, 0.0, 0.0],
    [-5e-4, 0.0, 0.0],
    [0.0, 5e-4, 0.0],
    [0.0, -5e-4, 0.0],
    [0.0, 0.0, 1e-5],
    [0.0, 0.0, -1e-5],
];

fn values_against_oracle(device: &Device, sizes: &[[usize; 2]], count: usize) -> Verdict {
    let s = scene(sizes, 0.02);
    let random = uniform("tsdf/points", 3 * count);
    // Around the wall, so that points are before it, near it, behind it and outside the images.
    let points: Vec<f32> = random
        .chunks_exact(3)
        .flat_map(|r| [2.0 * r[0], 1.5 * r[1], 3.0 + 0.1 * r[1] + 0.4 * r[2]])
        .collect();
    let (values, seen) = s.values(device, &points)?;
    let (mut got, mut want, mut fragile, mut hidden) = (Vec::new(), Vec::new(), 0, 0);
    for (i, p) in points.chunks_exact(3).enumerate() {
        let at = |disturbance| s.oracle().value([0, 1, 2].map(|c| f64::from(p[c])), disturbance);
        let exact = at([0.0; 3]);
        if DISTURBANCES.iter().any(|&d| at(d) != exact) {
            fragile += 1;
            continue;
        }
        check_equal(&[seen[i]], &[u32::from(exact.is_some())]).map_err(|e| format!("point {i}: {e}"))?;
        hidden += usize::from(exact.is_none());
        got.push(values[i]);
        want.push(exact.unwrap_or(0.0));
    }
    if count > 1 && (20 * fragile > count || 10 * hidden < count || 10 * hidden > 9 * count) {
        return Err(format!(
            "{fragile} points on an edge, {hidden} unseen of {count}: the case shows little"
        ));
    }
    check_close(&got, &want, Tolerance::Absolute(5e-6))
}

/// Every pixel takes the candidate that the oracle takes, where rounding does not decide; the others take a candidate.
fn refine_against_oracle(device: &Device, sizes: &[[usize; 2]], count: usize, seed: Option<u32>) -> Verdict {
    let s = scene(sizes, 0.02);
    let given = normal("tsdf/samples", if seed.is_none() { s.depth.len() * count } else { 0 });
    let got = match seed {
        Some(seed) => s.refined(device, Samples::Random { count, seed })?,
        None => s.refined_with(device, &given)?,
    };
    let random = reference::random_numbers(seed.unwrap_or(0));
    let numbers = |p: usize, i: usize| if seed.is_some() { random(p, i) } else { given[p * count + i] };
    let (mut at, mut fragile, mut moved) = (0, 0, 0);
    for (v, view) in s.views.iter().enumerate() {
        for index in 0..view.pixels() {
            let candidates = s.oracle().candidates(at, &numbers, count);
            let depth = f64::from(s.depth[at]);
            let distances = |disturbance| s.oracle().distances(v, index, &candidates, disturbance);
            let choose = |distances: &[f64]| reference::taken(distances, f64::from(THRESHOLD));
            let exact = distances([0.0; 3]);
            let taken = choose(&exact);
            let tie = taken.is_some_and(|t| (0..count).any(|i| i != t && exact[i] - exact[t] < 3e-6));
            let near = |want: f64| (f64::from(got[at]) - want).abs() <= 4e-7 * depth;
            if tie || DISTURBANCES.iter().any(|&d| choose(&distances(d)) != taken) {
                fragile += 1;
                if !near(depth) && !candidates.iter().any(|&c| near(c)) {
                    return Err(format!("pixel {at}: {} is no candidate", got[at]));
                }
            } else if !near(taken.map_or(depth, |t| candidates[t])) {
                let want = taken.map_or(depth, |t| candidates[t]);
                return Err(format!("pixel {at}: got {}, want {want}, before {depth}", got[at]));
            }
            moved += usize::from(taken.is_some());
            at += 1;
        }
    }
    if 20 * fragile > at || 2 * moved < at {
        return Err(format!("{fragile} fragile and {moved} moved of {at}: the case shows little"));
    }
    Ok(())
}

/// One pixel that sees along the z axis at depth 2.
fn one_pixel(confidence: f32) -> Scene {
    let view = View {
        width: 1,
        height: 1,
        focal_px: [1.0, 1.0],
        center_px: [0.0, 0.0],
        camera_from_world: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
    };
    Scene {
        views: vec![view],
        truth: vec![2.0],
        depth: vec![2.0],
        confidence: vec![confidence],
        threshold: THRESHOLD,
    }
}

impl Scene {
    /// The maps of both scenes.
    fn and(mut self, other: Self) -> Self {
        self.views.extend(other.views);
        self.depth.extend(other.depth);
        self.confidence.extend(other.confidence);
        self
    }

    fn at_depth(mut self, depth: f32) -> Self {
        self.depth.fill(depth);
        self
    }
}

/// In front, behind by less and by more than the threshold, beside the image, behind the camera.
fn single_values(device: &Device) -> Verdict {
    let points = [
        [0.0, 0.0, 1.5],
        [0.0, 0.0, 2.0625],
        [0.0, 0.0, 2.125],
        [1.5, 0.0, 2.0],
        [0.0, 0.0, -1.0],
        [0.0, 0.0, 0.0],
    ];
    let (values, seen) = one_pixel(1.0).values(device, &points.concat())?;
    check_equal(&seen, &[1, 1, 0, 0, 1, 0])?;
    check_close(&values, &[0.5, -0.0625, 0.0, 0.0, 3.0, 0.0], Tolerance::Absolute(1e-6))?;
    // Halves go to the even pixel 0, and what is a little more than half a pixel away is outside.
    let (_, seen) = one_pixel(1.0).values(device, &[1.0, 0.0, 2.0, 1.002, 0.0, 2.0, 0.0, -1.0, 2.0])?;
    check_equal(&seen, &[1, 0, 1])?;
    // Confidences ln 3 apart weigh 3 to 1.
    let two = one_pixel(1.0).and(one_pixel(1.0 + 3f32.ln()).at_depth(2.5));
    let (values, _) = two.values(device, &[0.0, 0.0, 1.75])?;
    check_close(&values, &[0.25 * 0.25 + 0.75 * 0.75], Tolerance::Absolute(1e-6))
}

/// `exp(95)` and more are no f32; differences of confidences count, however large the confidences are.
fn sure_pixels_stay_finite(device: &Device) -> Verdict {
    for base in [95.0, 1000.0, -200.0] {
        let two = one_pixel(base).and(one_pixel(base - 1.0).at_depth(2.5));
        let (values, seen) = two.values(device, &[0.0, 0.0, 1.75])?;
        check_equal(&seen, &[1])?;
        let share = 1.0 / (1.0 + (-1f64).exp());
        check_close(&values, &[0.25 * share + 0.75 * (1.0 - share)], Tolerance::Absolute(1e-6))?;
    }
    // Where only the unsure map sees a point, it counts in full.
    let two = one_pixel(500.0).and(one_pixel(1.0).at_depth(2.5));
    let (values, seen) = two.values(device, &[0.0, 0.0, 2.25])?;
    check_equal(&seen, &[1])?;
    check_close(&values, &[0.25], Tolerance::Absolute(1e-6))?;
    // The sure map after the unsure one and before it.
    for (first, second, want) in [(1.0, 500.0, 0.75), (500.0, 1.0, 0.25)] {
        let two = one_pixel(first).and(one_pixel(second).at_depth(2.5));
        let (values, seen) = two.values(device, &[0.0, 0.0, 1.75])?;
        check_equal(&seen, &[1])?;
        check_close(&values, &[want], Tolerance::Absolute(1e-6))?;
    }
    let mut s = scene(&[[12, 9], [11, 10]], 0.02);
    for c in &mut s.confidence {
        *c *= 40.0;
    }
    let refined = s.refined(device, Samples::Random { count: 50, seed: 3 })?;
    match refined.iter().find(|d| !(d.is_finite() && **d > 0.0)) {
        None => Ok(()),
        Some(bad) => Err(format!("a depth became {bad}")),
    }
}

fn unusable_pixels_say_nothing(device: &Device) -> Verdict {
    let point = [0.0, 0.0, 1.75];
    for (depth, confidence) in [
        (f32::NAN, 1.0),
        (f32::INFINITY, 1.0),
        (0.0, 1.0),
        (-2.0, 1.0),
        (2.0, f32::NAN),
        (2.0, f32::INFINITY),
        (2.0, f32::NEG_INFINITY),
    ] {
        let bad = one_pixel(confidence).at_depth(depth);
        let (values, seen) = bad.values(device, &point)?;
        check_equal(&values, &[0.0])?;
        check_equal(&seen, &[0])?;
        let (values, seen) =
            one_pixel(confidence).at_depth(depth).and(one_pixel(2.0)).values(device, &point)?;
        check_equal(&seen, &[1])?;
        check_close(&values, &[0.25], Tolerance::Absolute(1e-6))?;
    }
    Ok(())
}

fn no_points(device: &Device) -> Verdict {
    let (values, seen) = one_pixel(1.0).values(device, &[])?;
    check_equal(&values, &[])?;
    check_equal(&seen, &[])
}

fn refining_reduces_noise(device: &Device) -> Verdict {
    let s = scene(&[[24, 18]; 4], 0.03);
    let refined = s.refined(device, Samples::Random { count: 100, seed: 1 })?;
    let median = |depth: &[f32]| {
        let mut errors: Vec<f32> = depth.iter().zip(&s.truth).map(|(d, t)| (d / t - 1.0).abs()).collect();
        errors.sort_by(f32::total_cmp);
        errors[errors.len() / 2]
    };
    let (before, after) = (median(&s.depth), median(&refined));
    if after < 0.9 * before { Ok(()) } else { Err(format!("median error {before} before, {after} after")) }
}

fn depths_that_stay(device: &Device) -> Verdict {
    // A candidate one threshold in front says only that: the depth stays. One on the surface is taken.
    let exact = |numbers: &[f32]| one_pixel(1.0).refined_with(device, numbers);
    check_equal(&exact(&[1.0])?, &[2.0])?;
    check_close(&exact(&[1.5, 1.25, 0.5])?, &[2.025], Tolerance::Absolute(1e-6))?;
    // Of equal ones the first; both are the same depth, so nothing moves.
    check_close(&exact(&[0.5, 0.5])?, &[1.95], Tolerance::Absolute(1e-6))?;
    // More than one threshold behind: unseen.
    check_equal(&exact(&[2.5])?, &[2.0])?;
    check_close(&exact(&[2.5, 1.75])?, &[2.075], Tolerance::Absolute(1e-6))?;
    // Never a depth below zero, however near it is.
    let near = one_pixel(1.0).at_depth(0.04);
    check_equal(&near.refined_with(device, &[0.0])?, &[0.04])?;
    check_close(&near.refined_with(device, &[0.0, 0.8])?, &[0.02], Tolerance::Absolute(1e-6))?;
    // A depth that is none stays, bit for bit.
    for depth in [f32::NAN, f32::INFINITY, 0.0, -1.0] {
        let s = one_pixel(1.0).at_depth(depth).and(one_pixel(1.0));
        let got = s.refined_with(device, &[1.0, 1.0])?;
        check_equal(&[got[0].to_bits()], &[depth.to_bits()])?;
    }
    // Exactly one threshold in front, in numbers that f32 holds.
    let mut exact = one_pixel(1.0);
    exact.threshold = 0.5;
    check_equal(&exact.refined_with(device, &[0.0])?, &[2.0])?;
    // A quarter in front and a quarter behind are equally far: the first is taken, wherever it stands.
    check_equal(&exact.refined_with(device, &[0.5, 1.5])?, &[1.75])?;
    check_equal(&exact.refined_with(device, &[1.5, 0.5])?, &[2.25])?;
    check_equal(&exact.refined_with(device, &[0.0, 0.25, 1.5, 0.0, 0.0, 0.0, 0.5, 1.5, 0.0])?, &[2.25])?;
    check_equal(&exact.refined_with(device, &[0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 1.5])?, &[1.75])
}

fn seeds(device: &Device) -> Verdict {
    let s = scene(&[[12, 9], [11, 10]], 0.02);
    let with = |seed| s.refined(device, Samples::Random { count: 20, seed });
    let bits = |depth: Vec<f32>| depth.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let first = bits(with(1)?);
    check_equal(&bits(with(1)?), &first)?;
    if bits(with(2)?) == first { Err("another seed gave the same depths".into()) } else { Ok(()) }
}

fn refuse(device: &Device, change: impl Fn(&mut View), part: &str) -> Verdict {
    let mut s = one_pixel(1.0);
    change(&mut s.views[0]);
    let (depth, confidence) = (list(device, &s.depth), list(device, &s.confidence));
    let maps = DepthMaps { views: &s.views, depth: &depth, confidence: &confidence };
    let points = Tensor::zeros::<f32>(device, &[1, 3]);
    expect_error(tsdf(&maps, &points, THRESHOLD), part)?;
    expect_error(refine_depth(&maps, Samples::Random { count: 1, seed: 0 }, THRESHOLD), part)
}

/// Averages that wait between launches are those of one launch.
fn small_bindings_change_no_bit(device: &Device) -> Verdict {
    let s = scene(&[[12, 9], [11, 10], [3, 2]], 0.02);
    let points = uniform("tsdf/points", 300).into_iter().map(|r| 1.0 + 2.0 * r).collect::<Vec<_>>();
    let small = Device::Gpu(device.gpu().expect("a case for GPUs").with_bindings_of(512));
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let random = Samples::Random { count: 30, seed: 5 };
    check_equal(&bits(s.refined(&small, random)?), &bits(s.refined(device, random)?))?;
    let [one, many] = [device, &small].map(|d| s.values(d, &points));
    let ((values, seen), (want, want_seen)) = (many?, one?);
    check_equal(&seen, &want_seen)?;
    check_equal(&bits(values), &bits(want))
}

fn errors_of_views(device: &Device) -> Verdict {
    refuse(device, |v| v.width = 0, "`width` must be at least 1, got 0")?;
    refuse(device, |v| v.height = 0, "`height` must be at least 1, got 0")?;
    refuse(
        device,
        |v| v.height = 1 << 31,
        "`views` must be at least one, with fewer than 2^31 pixels in all",
    )?;
    refuse(device, |v| v.height = 2, "`depth` must be [2], got [1]")?;
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refuse(device, |v| v.focal_px[1] = bad, "`focal_px` must be positive and finite, got")?;
    }
    refuse(device, |v| v.center_px[0] = f64::NAN, "`center_px` must be finite, got NaN")?;
    let part = "`camera_from_world` must be a rotation and a finite shift, got";
    refuse(device, |v| v.camera_from_world[0][0] = 1.1, part)?;
    refuse(device, |v| v.camera_from_world[0][0] = -1.0, part)?;
    refuse(device, |v| v.camera_from_world[2][3] = f64::INFINITY, part)?;
    refuse(device, |v| v.camera_from_world[1][2] = f64::NAN, part)
}

fn errors_of_tensors(device: &Device) -> Verdict {
    let s = one_pixel(1.0);
    let one = list(device, &[1.0f32]);
    let maps = DepthMaps { views: &s.views, depth: &one, confidence: &one };
    let points = Tensor::zeros::<f32>(device, &[1, 3]);
    let random = Samples::Random { count: 1, seed: 0 };
    let two = list(device, &[1.0f32, 1.0]);
    let whole = list(device, &[1i32]);
    for (name, maps, other) in [
        ("depth", DepthMaps { depth: &two, ..maps }, DepthMaps { depth: &whole, ..maps }),
        ("confidence", DepthMaps { confidence: &two, ..maps }, DepthMaps { confidence: &whole, ..maps }),
    ] {
        let shape = format!("`{name}` must be [1], got [2]");
        expect_error(tsdf(&maps, &points, THRESHOLD), &shape)?;
        expect_error(refine_depth(&maps, random, THRESHOLD), &shape)?;
        let dtype = format!("`{name}` must hold f32, got i32");
        expect_error(tsdf(&other, &points, THRESHOLD), &dtype)?;
        expect_error(refine_depth(&other, random, THRESHOLD), &dtype)?;
    }
    let flat = Tensor::zeros::<f32>(device, &[3]);
    expect_error(tsdf(&maps, &flat, THRESHOLD), "`points` must be [points, 3], got [3]")?;
    let whole = Tensor::zeros::<u32>(device, &[1, 3]);
    expect_error(tsdf(&maps, &whole, THRESHOLD), "`points` must hold f32, got u32")?;
    let refine = |samples: &Tensor| refine_depth(&maps, Samples::Given(samples), THRESHOLD);
    let expected = "`samples` must be [1, count] with a count above 0, got";
    for shape in [&[2usize, 3][..], &[1, 0], &[1], &[1, 1, 1]] {
        expect_error(refine(&Tensor::zeros::<f32>(device, shape)), &format!("{expected} {shape:?}"))?;
    }
    expect_error(refine(&Tensor::zeros::<u8>(device, &[1, 1])), "`samples` must hold f32, got u8")
}

fn errors_of_numbers(device: &Device) -> Verdict {
    let s = one_pixel(1.0);
    let one = list(device, &[1.0f32]);
    let maps = DepthMaps { views: &s.views, depth: &one, confidence: &one };
    let points = Tensor::zeros::<f32>(device, &[1, 3]);
    let random = Samples::Random { count: 1, seed: 0 };
    for bad in [0.0, -0.1, f32::NAN, f32::INFINITY] {
        let part = "`threshold` must be positive and finite, got";
        expect_error(tsdf(&maps, &points, bad), part)?;
        expect_error(refine_depth(&maps, Samples::Random { count: 1, seed: 0 }, bad), part)?;
    }
    let none = Samples::Random { count: 0, seed: 0 };
    expect_error(refine_depth(&maps, none, THRESHOLD), "`samples` must be at least 1 and below 2^31, got 0")?;
    let part = "`views` must be at least one, with fewer than 2^31 pixels in all, got 0 with 0 pixels";
    expect_error(tsdf(&DepthMaps { views: &[], ..maps }, &points, THRESHOLD), part)?;
    let Some(gpu) = device.gpu() else { return Ok(()) };
    // A row of a map, and the numbers of a pixel, have to fit a binding.
    let small = Device::Gpu(gpu.with_bindings_of(512));
    let wide = scene(&[[100, 2]], 0.0);
    let part = "a row of 100 pixels does not fit one binding";
    expect_error(wide.values(&small, &[0.0; 3]), part)?;
    expect_error(wide.refined(&small, random), part)?;
    expect_error(
        one_pixel(1.0).refined_with(&small, &[0.0; 200]),
        "a row of 800 bytes does not fit one binding",
    )
}
