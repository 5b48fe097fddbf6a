use super::{MatchedPoints, points_from_matches, reference, triangulate};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("triangulation/oracle/one_point", |d| against_oracle(d, [1, 2, 1], 0.0)),
        case("triangulation/oracle/odd_sizes", |d| against_oracle(d, [3, 5, 37], 0.0)),
        case("triangulation/oracle/half_a_pixel_of_noise", |d| against_oracle(d, [2, 3, 301], 0.5)),
        case("triangulation/oracle/model_size", |d| against_oracle(d, [1, 2, 512 * 384], 0.3)),
        case("triangulation/oracle/matches_odd_sizes", |d| matches_against_oracle(d, [2, 4, 7, 13])),
        case("triangulation/oracle/matches_one", |d| matches_against_oracle(d, [1, 1, 1, 1])),
        case("triangulation/oracle/matches_model_size", |d| matches_against_oracle(d, [1, 3, 96, 128])),
        // Some rows of one view at a time, and some items at a time.
        small_bindings_case("triangulation/oracle/small_bindings", 1024, |d| {
            against_oracle(d, [3, 5, 37], 0.0)
        }),
        small_bindings_case("triangulation/oracle/bindings_of_items", 4096, |d| {
            against_oracle(d, [3, 5, 37], 0.0)
        }),
        small_bindings_case("triangulation/oracle/matches_small_bindings", 2048, |d| {
            matches_against_oracle(d, [2, 4, 7, 13])
        }),
        small_bindings_case("triangulation/oracle/matches_bindings_of_items", 8192, |d| {
            matches_against_oracle(d, [2, 4, 7, 13])
        }),
        small_bindings_case("triangulation/property/small_bindings_without_cameras", 1024, |d| {
            let none =
                Scene { shape: [2, 0, 150], pixels: Vec::new(), projections: Vec::new(), truth: Vec::new() };
            check_close(&none.run(d)?, &[f64::NAN; 900], Tolerance::Exact)
        }),
        case("triangulation/property/exact_pixels_give_the_point", exact_pixels),
        case("triangulation/property/rays_that_do_not_meet", rays_that_do_not_meet),
        case("triangulation/property/rows_of_very_different_size", rows_of_different_size),
        case("triangulation/property/matches_without_a_point", matches_without_a_point),
        case("triangulation/property/a_pixel_that_is_not_finite", not_finite),
        case("triangulation/property/behind_the_cameras", behind_the_cameras),
        case("triangulation/property/too_few_views", too_few_views),
        case("triangulation/property/no_points", no_points),
        case("triangulation/error/arguments", errors),
        case("triangulation/error/matches", errors_of_matches),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn read(t: &Tensor) -> Result<Vec<f32>, String> {
    t.read().map_err(|e| e.to_string())
}

const FOCAL: f32 = 60.0;

/// Rows of the pose of camera `c` of batch item `b`: on an arc around the scene, looking at its middle.
fn pose(b: usize, c: usize) -> Vec<f32> {
    let (sin, cos) = (0.25 * c as f32 + 0.1 * b as f32 - 0.4).sin_cos();
    vec![cos, 0.0, sin, 0.02 * c as f32, 0.0, 1.0, 0.0, 0.05, -sin, 0.0, cos, 4.0]
}

const INTRINSICS: [f32; 9] = [FOCAL, 0.0, 32.0, 0.0, FOCAL, 24.0, 0.0, 0.0, 1.0];

/// The intrinsics times a pose, in f64.
fn projection(pose: &[f32]) -> Vec<f64> {
    let at = |r: usize, c: usize| f64::from(pose[4 * r + c]);
    let k = |r: usize, i: usize| f64::from(INTRINSICS[3 * r + i]);
    (0..12).map(|e| (0..3).map(|i| k(e / 4, i) * at(i, e % 4)).sum()).collect()
}

/// Where a projection sees a point.
fn pixel(p: &[f64], x: &[f32]) -> [f64; 2] {
    let row = |r: usize| (0..3).map(|c| p[4 * r + c] * f64::from(x[c])).sum::<f64>() + p[4 * r + 3];
    [row(0) / row(2), row(1) / row(2)]
}

/// Points around the origin, seen by cameras four units away, with noise in pixels.
struct Scene {
    shape: [usize; 3],
    pixels: Vec<f32>,
    /// As given to the op, rounded to f32.
    projections: Vec<f32>,
    truth: Vec<f32>,
}

fn scene(shape: [usize; 3], noise: f32) -> Scene {
    let [batch, cameras, points] = shape;
    let truth = uniform("triangulation/points", batch * points * 3);
    let random = normal("triangulation/noise", batch * cameras * points * 2);
    let (mut pixels, mut projections) = (Vec::new(), Vec::new());
    for b in 0..batch {
        for c in 0..cameras {
            let p = projection(&pose(b, c));
            projections.extend(p.iter().map(|&v| v as f32));
            for i in 0..points {
                for place in pixel(&p, &truth[3 * (b * points + i)..]) {
                    pixels.push(place as f32 + noise * random[pixels.len()]);
                }
            }
        }
    }
    Scene { shape, pixels, projections, truth }
}

impl Scene {
    fn run(&self, device: &Device) -> Result<Vec<f32>, String> {
        let [batch, cameras, points] = self.shape;
        let pixels = tensor(device, &[batch, cameras, points, 2], self.pixels.clone());
        let projections = tensor(device, &[batch, cameras, 3, 4], self.projections.clone());
        let found = triangulate(&pixels, &projections).map_err(|e| e.to_string())?;
        check_equal(found.shape(), &[batch, points, 3])?;
        read(&found)
    }
}

/// Within `1e-6 condition max(1, |X|)` of the oracle.
fn check_point(got: &[f32], want: &reference::Solution) -> Verdict {
    let size = want.point.iter().map(|v| v * v).sum::<f64>().sqrt().max(1.0);
    check_close(got, &want.point, Tolerance::Absolute(1e-6 * want.condition * size))
}

fn against_oracle(device: &Device, shape: [usize; 3], noise: f32) -> Verdict {
    let s = scene(shape, noise);
    let got = s.run(device)?;
    let [batch, cameras, points] = shape;
    for i in 0..batch * points {
        let (b, p) = (i / points, i % points);
        let seen = |c: usize| {
            let at = 2 * ((b * cameras + c) * points + p);
            [s.pixels[at], s.pixels[at + 1]]
        };
        let pixels: Vec<[f32; 2]> = (0..cameras).map(seen).collect();
        let projections: Vec<Vec<f64>> = s.projections[12 * b * cameras..][..12 * cameras]
            .chunks(12)
            .map(|p| p.iter().map(|&v| f64::from(v)).collect())
            .collect();
        let want = reference::triangulate(&pixels, &projections).ok_or("a singular case shows nothing")?;
        check_point(&got[3 * i..3 * i + 3], &want).map_err(|e| format!("point {i}: {e}"))?;
    }
    Ok(())
}

/// Matches of a grid of pixels with `views` images; some without a confidence, some not finite.
struct Matches {
    shape: [usize; 4],
    values: Vec<f32>,
}

fn matches([batch, views, height, width]: [usize; 4]) -> Matches {
    let pixels = height * width;
    let s = scene([batch, views + 1, pixels], 0.2);
    let confidence = uniform("triangulation/confidence", batch * views * pixels);
    let mut values = Vec::new();
    for i in 0..batch * views * pixels {
        let (b, v, p) = (i / pixels / views, i / pixels % views, i % pixels);
        let at = |camera: usize| 2 * ((b * (views + 1) + camera) * pixels + p);
        values.extend([s.pixels[at(0)], s.pixels[at(0) + 1], s.pixels[at(v + 1)], s.pixels[at(v + 1) + 1]]);
        values.push(if pixels > 2 && p == 1 { 0.0 } else { 2.0 + confidence[i] });
        match i % 11 {
            3 => values[5 * i] = f32::NAN,
            5 => values[5 * i + 3] = f32::INFINITY,
            7 => values[5 * i + 4] = f32::NAN,
            _ => {}
        }
    }
    Matches { shape: [batch, views, height, width], values }
}

impl Matches {
    fn run(&self, device: &Device, min_valid_share: f64) -> Result<MatchedPoints, String> {
        let [batch, views, height, width] = self.shape;
        let each = |f: &dyn Fn(usize, usize) -> Vec<f32>| {
            (0..batch).flat_map(|b| (0..=views).flat_map(move |c| f(b, c))).collect::<Vec<_>>()
        };
        let intrinsics = tensor(device, &[batch, views + 1, 3, 3], each(&|_, _| INTRINSICS.to_vec()));
        let poses = tensor(device, &[batch, views + 1, 3, 4], each(&pose));
        let matches = tensor(device, &[batch, views, height, width, 5], self.values.clone());
        let found =
            points_from_matches(&intrinsics, &poses, &matches, min_valid_share).map_err(|e| e.to_string())?;
        check_equal(found.points.shape(), &[batch, height, width, 3])?;
        check_equal(found.depth.shape(), &[batch, height, width])?;
        check_equal(found.confidence.shape(), &[batch, height, width])?;
        // The op leaves its arguments alone.
        let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        check_equal(&bits(&read(&matches)?), &bits(&self.values))?;
        Ok(found)
    }
}

fn matches_against_oracle(device: &Device, shape: [usize; 4]) -> Verdict {
    let m = matches(shape);
    let [batch, views, height, width] = shape;
    let found = m.run(device, 0.5)?;
    let (points, depth, confidence) = (read(&found.points)?, read(&found.depth)?, read(&found.confidence)?);
    let pixels = height * width;
    let mut empty = 0;
    for i in 0..batch * pixels {
        let (b, p) = (i / pixels, i % pixels);
        let (mut sum, mut total, mut valid, mut condition) = ([0.0; 3], 0.0, 0, 1.0f64);
        for v in 0..views {
            let one = &m.values[5 * ((b * views + v) * pixels + p)..][..5];
            if one.iter().all(|x| x.is_finite()) {
                let cameras = [projection(&pose(b, 0)), projection(&pose(b, v + 1))];
                let x = reference::triangulate(&[[one[0], one[1]], [one[2], one[3]]], &cameras)
                    .ok_or("a singular case shows nothing")?;
                sum = [0, 1, 2].map(|c| sum[c] + f64::from(one[4]) * x.point[c]);
                total += f64::from(one[4]);
                valid += 1;
                condition = condition.max(x.condition);
            }
        }
        let enough = valid > views / 2;
        empty += usize::from(!enough);
        let mean = sum.map(|s| if enough { s / if total <= 1e-5 { 1.0 } else { total } } else { f64::NAN });
        let row = &pose(b, 0)[8..12];
        let z = (0..3).map(|c| f64::from(row[c]) * mean[c]).sum::<f64>() + f64::from(row[3]);
        let bound = Tolerance::Absolute(1e-6 * condition * 4.0);
        let at = |e: String| format!("pixel {i}: {e}");
        check_close(&points[3 * i..3 * i + 3], &mean, bound).map_err(at)?;
        check_close(&depth[i..=i], &[z], bound).map_err(at)?;
        check_close(&confidence[i..=i], &[total], Tolerance::Ulps(4)).map_err(at)?;
    }
    if pixels > 50 && (empty == 0 || 2 * empty > batch * pixels) {
        return Err(format!("{empty} of {} pixels are empty: the case shows little", batch * pixels));
    }
    Ok(())
}

fn exact_pixels(device: &Device) -> Verdict {
    for cameras in [2, 3, 8] {
        let s = scene([1, cameras, 50], 0.0);
        let truth: Vec<f64> = s.truth.iter().map(|&v| f64::from(v)).collect();
        check_close(&s.run(device)?, &truth, Tolerance::Absolute(2e-5))?;
    }
    Ok(())
}

/// Two cameras with these projections that see one point at these pixels.
fn two_cameras(device: &Device, projections: [[f32; 12]; 2], pixels: [f32; 4]) -> Result<Vec<f32>, String> {
    Scene { shape: [1, 2, 1], pixels: pixels.to_vec(), projections: projections.concat(), truth: Vec::new() }
        .run(device)
}

/// A camera without rotation at a place.
fn at([x, y, z]: [f32; 3]) -> [f32; 12] {
    [FOCAL, 0.0, 32.0, -FOCAL * x - 32.0 * z, 0.0, FOCAL, 24.0, -FOCAL * y - 24.0 * z, 0.0, 0.0, 1.0, -z]
}

fn rays_that_do_not_meet(device: &Device) -> Verdict {
    let here = at([0.0; 3]);
    let (sin, cos) = 0.2f32.sin_cos();
    let turned: Vec<f64> = projection(&[cos, 0.0, sin, 0.0, 0.0, 1.0, 0.0, 0.0, -sin, 0.0, cos, 0.0]);
    let [u, v] = pixel(&turned, &[0.3, -0.2, 4.0]).map(|c| c as f32);
    let turned: [f32; 12] = std::array::from_fn(|i| turned[i] as f32);
    for (what, projections, pixels) in [
        ("the same camera", [here, here], [10.0, 12.0, 10.0, 12.0]),
        ("the same place, turned", [here, turned], [36.5, 21.0, u, v]),
        ("parallel rays", [here, at([1.0, 0.0, 0.0])], [20.0, 20.0, 20.0, 20.0]),
        ("the line through the cameras", [here, at([0.0, 0.0, 1.0])], [32.0, 24.0, 32.0, 24.0]),
    ] {
        let got = two_cameras(device, projections, pixels)?;
        if !got.iter().all(|v| v.is_nan()) {
            return Err(format!("{what}: {got:?}"));
        }
    }
    let one =
        Scene { shape: [1, 1, 1], pixels: vec![3.0, 4.0], projections: here.to_vec(), truth: Vec::new() };
    let none = Scene { shape: [1, 0, 1], pixels: Vec::new(), projections: Vec::new(), truth: Vec::new() };
    check_close(&[one.run(device)?, none.run(device)?].concat(), &[f64::NAN; 6], Tolerance::Exact)?;
    // A baseline of a thousandth of the depth is enough.
    let got = two_cameras(device, [here, at([4e-3, 0.0, 0.0])], [36.5, 21.0, 36.44, 21.0])?;
    check_close(&got, &[0.3, -0.2, 4.0], Tolerance::Absolute(1e-2))
}

/// A focal length so large that the other equations are below 2^-18 of it; exact in f32.
const STEEP: f32 = (1 << 24) as f32;

/// Rays that meet, but not by the contract: the largest element of the factor is the second.
fn rows_of_different_size(device: &Device) -> Verdict {
    let cameras = [at([0.0; 3]), at([1.0, 0.0, 0.0])];
    let got = two_cameras(device, cameras, [36.5, 21.0, 21.5, 21.0])?;
    check_close(&got, &[0.3, -0.2, 4.0], Tolerance::Absolute(2e-5))?;
    let steep = cameras.map(|mut p| {
        p[4..8].iter_mut().for_each(|v| *v *= STEEP);
        p
    });
    let got = two_cameras(device, steep, [36.5, 21.0 * STEEP, 21.5, 21.0 * STEEP])?;
    check_close(&got, &[f64::NAN; 3], Tolerance::Exact)
}

/// One view from the place of the reference and one from beside it; a sum of confidences up to 1e-5 divides nothing.
fn matches_without_a_point(device: &Device) -> Verdict {
    let run = |steep: f32| {
        let (here, beside) = ([36.5, 21.0 * steep], [21.5, 21.0 * steep]);
        let one = |to: [f32; 2], weight: f32| [here[0], here[1], to[0], to[1], weight];
        let views = [
            [one(here, 2.0), one(here, 2.0), one([f32::NAN; 2], 2.0)],
            [one(beside, 3.0), one(here, 3.0), one(beside, 8e-6)],
        ];
        let matches = tensor(device, &[1, 2, 1, 3, 5], views.as_flattened().as_flattened().to_vec());
        let mut intrinsics = [INTRINSICS; 3];
        intrinsics.iter_mut().for_each(|k| k[3..6].iter_mut().for_each(|v| *v *= steep));
        let intrinsics = tensor(device, &[1, 3, 3, 3], intrinsics.concat());
        let pose = |x: f32| [1.0, 0.0, 0.0, x, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        let poses = tensor(device, &[1, 3, 3, 4], [pose(0.0), pose(0.0), pose(-1.0)].concat());
        let found = points_from_matches(&intrinsics, &poses, &matches, 0.0).map_err(|e| e.to_string())?;
        Ok::<_, String>((read(&found.points)?, read(&found.depth)?, read(&found.confidence)?))
    };
    let (points, depth, confidence) = run(1.0)?;
    check_equal(&confidence, &[3.0, 0.0, 8e-6])?;
    check_close(&points[..6], &[0.3, -0.2, 4.0, f64::NAN, f64::NAN, f64::NAN], Tolerance::Absolute(2e-5))?;
    check_close(&depth[..2], &[4.0, f64::NAN], Tolerance::Absolute(2e-5))?;
    check_close(&points[6..], &[2.4e-6, -1.6e-6, 3.2e-5], Tolerance::Absolute(1e-9))?;
    check_close(&depth[2..], &[3.2e-5], Tolerance::Absolute(1e-9))?;
    let (points, depth, confidence) = run(STEEP)?;
    check_equal(&confidence, &[0.0; 3])?;
    check_close(&[points, depth].concat(), &[f64::NAN; 12], Tolerance::Exact)
}

fn not_finite(device: &Device) -> Verdict {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        // The third of three cameras, and in the other item the first two of them.
        let mut s = scene([2, 3, 4], 0.0);
        let at = |b: usize, c: usize| 2 * ((b * 3 + c) * 4);
        s.pixels[at(0, 2)] = bad;
        s.pixels[at(1, 0) + 1] = bad;
        s.pixels[at(1, 1)] = bad;
        let got = s.run(device)?;
        let mut want: Vec<f64> = s.truth.iter().map(|&v| f64::from(v)).collect();
        want[12..15].fill(f64::NAN);
        check_close(&got, &want, Tolerance::Absolute(2e-5)).map_err(|e| format!("{bad}: {e}"))?;
    }
    Ok(())
}

fn behind_the_cameras(device: &Device) -> Verdict {
    let (x, y, z) = (0.3f32, -0.2f32, -4.0f32);
    let pixels =
        [FOCAL * x / z + 32.0, FOCAL * y / z + 24.0, FOCAL * (x - 1.0) / z + 32.0, FOCAL * y / z + 24.0];
    let got = two_cameras(device, [at([0.0; 3]), at([1.0, 0.0, 0.0])], pixels)?;
    check_close(&got, &[f64::from(x), f64::from(y), f64::from(z)], Tolerance::Absolute(3e-5))
}

/// Four views, of which some have no match: NaN from `floor(0.3 views) = 1` valid view down.
fn too_few_views(device: &Device) -> Verdict {
    let mut m = matches([1, 4, 1, 5]);
    for (p, missing) in [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0)] {
        for v in 0..4 {
            let one = &mut m.values[5 * (v * 5 + p)..][..5];
            one.copy_from_slice(&[30.0, 20.0, 28.0, 20.5, 1.5]);
            if v < missing {
                one[2] = f32::NAN;
            }
        }
    }
    let found = m.run(device, 0.3)?;
    let (points, depth) = (read(&found.points)?, read(&found.depth)?);
    let nan = |v: &[f32]| v.iter().map(|v| v.is_nan()).collect::<Vec<_>>();
    check_equal(&nan(&depth), &[true, true, false, false, false])?;
    check_equal(&nan(&points), &[[true; 6].as_slice(), &[false; 9]].concat())?;
    // The confidence is that of the valid views, also where they are too few.
    check_equal(&read(&found.confidence)?, &[0.0, 1.5, 3.0, 4.5, 6.0])?;
    let all = read(&m.run(device, 0.0)?.depth)?;
    check_equal(&nan(&all), &[true, false, false, false, false])
}

fn no_points(device: &Device) -> Verdict {
    let s = Scene { shape: [2, 2, 0], pixels: Vec::new(), projections: vec![1.0; 48], truth: Vec::new() };
    check_equal(&s.run(device)?, &[])?;
    let none = Matches { shape: [1, 2, 0, 4], values: Vec::new() }.run(device, 0.3)?;
    check_equal(&read(&none.points)?, &[])
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (pixels, projections) = (zeros(&[2, 3, 5, 2]), zeros(&[2, 3, 3, 4]));
    let expected = "`pixels` must be [batch, cameras, points, 2], got";
    for shape in [&[2usize, 3, 5][..], &[2, 3, 5, 3], &[1, 2, 3, 5, 2]] {
        expect_error(triangulate(&zeros(shape), &projections), &format!("{expected} {shape:?}"))?;
    }
    for shape in [[1usize, 3, 3, 4], [2, 2, 3, 4], [2, 3, 4, 4]] {
        let part = format!("`projections` must be [2, 3, 3, 4], got {shape:?}");
        expect_error(triangulate(&pixels, &zeros(&shape)), &part)?;
    }
    let whole = Tensor::zeros::<i32>(device, &[2, 3, 5, 2]);
    expect_error(triangulate(&whole, &projections), "`pixels` must hold f32, got i32")?;
    let whole = Tensor::zeros::<i32>(device, &[2, 3, 3, 4]);
    expect_error(triangulate(&pixels, &whole), "`projections` must hold f32, got i32")
}

fn errors_of_matches(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let whole = |shape: &[usize]| Tensor::zeros::<u32>(device, shape);
    let (k, poses, m) = (zeros(&[1, 3, 3, 3]), zeros(&[1, 3, 3, 4]), zeros(&[1, 2, 4, 5, 5]));
    let run = |k: &Tensor, poses: &Tensor, m: &Tensor| points_from_matches(k, poses, m, 0.3);
    let part = "`matches` must be [batch, views, height, width, 5], got [1, 2, 4, 5]";
    expect_error(run(&k, &poses, &zeros(&[1, 2, 4, 5])), part)?;
    let part = "`intrinsics` must be [1, 3, 3, 3], got [1, 2, 3, 3]";
    expect_error(run(&zeros(&[1, 2, 3, 3]), &poses, &m), part)?;
    let part = "`camera_from_world` must be [1, 3, 3, 4], got [1, 3, 4, 4]";
    expect_error(run(&k, &zeros(&[1, 3, 4, 4]), &m), part)?;
    expect_error(run(&whole(&[1, 3, 3, 3]), &poses, &m), "`intrinsics` must hold f32, got u32")?;
    expect_error(run(&k, &whole(&[1, 3, 3, 4]), &m), "`camera_from_world` must hold f32, got u32")?;
    expect_error(run(&k, &poses, &whole(&[1, 2, 4, 5, 5])), "`matches` must hold f32, got u32")?;
    for bad in [1.0, -0.1, f64::NAN] {
        let part = "`min_valid_share` must be at least 0 and below 1, got";
        expect_error(points_from_matches(&k, &poses, &m, bad), part)?;
    }
    if let Some(gpu) = device.gpu() {
        let small = Device::Gpu(gpu.with_bindings_of(512));
        let zeros = |shape: &[usize]| Tensor::zeros::<f32>(&small, shape);
        let (k, poses, m) = (zeros(&[1, 21, 3, 3]), zeros(&[1, 21, 3, 4]), zeros(&[1, 20, 1, 1, 5]));
        expect_error(run(&k, &poses, &m), "a row of 1008 bytes does not fit one binding")?;
    }
    Ok(())
}
