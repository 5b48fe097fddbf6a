use super::{DenseView, clean_pointcloud, reference};
use steropes_tensor::Device;
use steropes_testkit::{Case, Verdict, case, check_equal, expect_error, inputs};

/// Images of a wavy wall from cameras side by side, with random confidences and scattered depths.
struct Scene {
    width: usize,
    height: usize,
    depth: Vec<Vec<f32>>,
    points: Vec<Vec<f32>>,
    confidence: Vec<Vec<f32>>,
}

const FOCAL: f64 = 20.0;

fn scene(views: usize, width: usize, height: usize) -> Scene {
    let mut s = Scene { width, height, depth: Vec::new(), points: Vec::new(), confidence: Vec::new() };
    for i in 0..views {
        let noise = inputs::uniform(&format!("view {i}"), 2 * width * height);
        let (mut depth, mut points) = (Vec::new(), Vec::new());
        for pixel in 0..width * height {
            let (x, y) = ((pixel % width) as f32, (pixel / width) as f32);
            let z = 3.0 + 0.4 * (0.3 * x).sin() + 0.3 * noise[2 * pixel];
            depth.push(z);
            points.push((x - width as f32 / 2.0) / FOCAL as f32 * z + 0.2 * i as f32);
            points.extend([(y - height as f32 / 2.0) / FOCAL as f32 * z, z]);
        }
        s.depth.push(depth);
        s.points.push(points);
        s.confidence.push((0..width * height).map(|p| 2.0 + noise[2 * p + 1]).collect());
    }
    s
}

fn views(s: &Scene) -> Vec<DenseView<'_>> {
    let view = |i: usize| DenseView {
        width: s.width,
        height: s.height,
        focal_center_px: [FOCAL, s.width as f64 / 2.0, s.height as f64 / 2.0],
        camera_from_world: [[1.0, 0.0, 0.0, -0.2 * i as f64], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        depth: &s.depth[i],
        points: &s.points[i],
        confidence: &s.confidence[i],
    };
    (0..s.depth.len()).map(view).collect()
}

fn oracle(device: &Device, s: &Scene) -> Verdict {
    compare(device, &views(s), s.depth.len() > 1)
}

fn compare(device: &Device, views: &[DenseView<'_>], some: bool) -> Verdict {
    let got = clean_pointcloud(views, 0.01, 0.5, device).map_err(|e| e.to_string())?.concat();
    let (want, fragile) = reference::clean_pointcloud(views, 0.01, 0.5);
    let (want, fragile) = (want.concat(), fragile.concat());
    let on_gpu = device.gpu().is_some();
    let sure = |values: &[f32]| -> Vec<f32> {
        values.iter().zip(&fragile).filter(|(_, f)| !(on_gpu && **f)).map(|(v, _)| *v).collect()
    };
    check_equal(&sure(&got), &sure(&want))?;
    let near = fragile.iter().filter(|f| **f).count();
    if near * 200 > want.len() {
        return Err(format!("{near} of {} points are near a boundary", want.len()));
    }
    let lowered = want.iter().filter(|c| **c == 0.5).count();
    if some && lowered == 0 {
        return Err("no point was lowered, the case shows nothing".into());
    }
    Ok(())
}

/// A world whose origin is far from all cameras, which look at it from around, each with its own size and focal length.
fn far_from_origin(device: &Device) -> Verdict {
    let shift = [7000.0, -3000.0, 5000.0];
    let sizes = [[31usize, 22usize], [24, 26], [40, 17]];
    let lists: Vec<_> = sizes.iter().enumerate().map(|(i, size)| turned_image(i, *size, shift)).collect();
    let views: Vec<_> = sizes
        .iter()
        .zip(&lists)
        .map(|(&[width, height], (focal_center_px, camera_from_world, [depth, points, confidence]))| {
            let (focal_center_px, camera_from_world) = (*focal_center_px, *camera_from_world);
            DenseView { width, height, focal_center_px, camera_from_world, depth, points, confidence }
        })
        .collect();
    compare(device, &views, true)
}

/// Focal length and centre, camera, and depth, points and confidence of an image from a camera that is turned around `center`.
fn turned_image(
    i: usize,
    [width, height]: [usize; 2],
    center: [f64; 3],
) -> ([f64; 3], [[f64; 4]; 3], [Vec<f32>; 3]) {
    let (sin, cos) = (0.15 * (i as f64 - 1.0)).sin_cos();
    let focal = [25.0 + 3.0 * i as f64, width as f64 / 2.0 - 0.3, height as f64 / 2.0 + 0.2];
    let noise = inputs::uniform(&format!("far {i}"), 2 * width * height);
    let (mut depth, mut points) = (Vec::new(), Vec::new());
    for pixel in 0..width * height {
        let z = 3.0 + 0.3 * f64::from(noise[2 * pixel]);
        let x = ((pixel % width) as f64 - focal[1]) / focal[0] * z;
        let y = ((pixel / width) as f64 - focal[2]) / focal[0] * z;
        depth.push(z as f32);
        let turned = [cos * x - sin * (z - 3.0), y, sin * x + cos * (z - 3.0)];
        points.extend((0..3).map(|k| (turned[k] + center[k]) as f32));
    }
    let confidence = (0..width * height).map(|p| 2.0 + noise[2 * p + 1]).collect();
    let rotation = [[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]];
    let camera = std::array::from_fn(|r| {
        let [a, b, c] = rotation[r];
        let forward = if r == 2 { 3.0 } else { 0.0 };
        [a, b, c, forward - (a * center[0] + b * center[1] + c * center[2])]
    });
    (focal, camera, [depth, points, confidence])
}

/// Numbers that are none, infinite or behind the camera hide nothing and stay; an infinite depth hides.
fn odd_numbers(device: &Device) -> Verdict {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    // Confidence of the point itself, point, depth and confidence of the other image, and what becomes of it.
    for (own, point, depth, sure, want) in [
        (2.0, [0.0, 0.0, 1.0], 2.0, 3.0, 0.5),
        (2.0, [0.0, 0.0, 1.0], inf, 3.0, 0.5),
        (2.0, [0.0, 0.0, 1.0], 2.0, inf, 0.5),
        (-2.0, [0.0, 0.0, 1.0], 2.0, 3.0, -2.0),
        (2.0, [0.0, 0.0, 1.0], 2.0, 2.0, 2.0),
        (2.0, [0.0, 0.0, 1.0], nan, 3.0, 2.0),
        (2.0, [0.0, 0.0, 1.0], 2.0, nan, 2.0),
        (nan, [0.0, 0.0, 1.0], 2.0, 3.0, nan),
        (2.0, [nan, 0.0, 1.0], 2.0, 3.0, 2.0),
        (2.0, [0.0, inf, 1.0], 2.0, 3.0, 2.0),
        (2.0, [0.0, 0.0, nan], 2.0, 3.0, 2.0),
        (2.0, [0.0, 0.0, inf], 2.0, 3.0, 2.0),
        (2.0, [0.0, 0.0, -1.0], 2.0, 3.0, 2.0),
        (2.0, [0.0, 0.0, 0.0], 2.0, 3.0, 2.0),
        (2.0, [0.0, 0.0, 1.99], 2.0, 3.0, 2.0),
        (2.0, [0.0, 0.0, 1.97], 2.0, 3.0, 0.5),
        (2.0, [0.6, 0.0, 1.0], 2.0, 3.0, 2.0),
        (2.0, [-0.4, 0.4, 1.0], 2.0, 3.0, 0.5),
        (2.0, [0.0, -0.6, 1.0], 2.0, 3.0, 2.0),
        (2.0, [1e9, 0.0, 1.0], 2.0, 3.0, 2.0),
    ] {
        let view = |points, depth, confidence| DenseView {
            width: 1,
            height: 1,
            focal_center_px: [1.0, 0.0, 0.0],
            camera_from_world: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
            depth,
            points,
            confidence,
        };
        // The other image's own point hides behind nothing.
        let (depths, confidences) = ([1.0, depth], [own, sure]);
        let views = [
            view(&point, &depths[..1], &confidences[..1]),
            view(&[0.0, 0.0, -9.0], &depths[1..], &confidences[1..]),
        ];
        let got = clean_pointcloud(&views, 0.01, 0.5, device).map_err(|e| e.to_string())?;
        if got[0][0] != want && !(got[0][0].is_nan() && want.is_nan()) {
            return Err(format!(
                "{own} at {point:?} before {depth} of {sure}: {}, expected {want}",
                got[0][0]
            ));
        }
    }
    Ok(())
}

/// Points that lie before the surface of their own image stay, wherever they are in it.
fn own_surface(device: &Device) -> Verdict {
    let view = DenseView {
        width: 2,
        height: 1,
        focal_center_px: [1.0, 0.0, 0.0],
        camera_from_world: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        depth: &[2.0, 9.0],
        points: &[1.0, 0.0, 1.0, 0.0, 0.0, -1.0],
        confidence: &[2.0, 3.0],
    };
    let got = clean_pointcloud(&[view], 0.01, 0.5, device).map_err(|e| e.to_string())?;
    check_equal(&got.concat(), &[2.0, 3.0])
}

/// A confidence of NaN for bad points lowers none.
fn nothing_to_lower(device: &Device) -> Verdict {
    let s = scene(3, 6, 5);
    let got = clean_pointcloud(&views(&s), 0.01, f32::NAN, device).map_err(|e| e.to_string())?;
    check_equal(&got, &s.confidence)?;
    let empty = clean_pointcloud(&[], 0.01, 0.5, device).map_err(|e| e.to_string())?;
    check_equal(&empty, &[])?;
    let nothing = DenseView { width: 0, depth: &[], points: &[], confidence: &[], ..views(&s)[0].clone() };
    let got = clean_pointcloud(&[nothing], 0.01, 0.5, device).map_err(|e| e.to_string())?;
    check_equal(&got, &[vec![]])
}

/// A point in front of a surface of higher confidence is lowered; behind it, or if it is the surer one, it stays.
fn single_points(device: &Device) -> Verdict {
    let view = |depth: &'static [f32], points: &'static [f32], confidence: &'static [f32]| DenseView {
        width: 1,
        height: 1,
        focal_center_px: [1.0, 0.0, 0.0],
        camera_from_world: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
        depth,
        points,
        confidence,
    };
    let near = view(&[1.0], &[0.0, 0.0, 1.0], &[2.0]);
    let far = view(&[2.0], &[0.0, 0.0, 2.0], &[3.0]);
    let far_unsure = view(&[2.0], &[0.0, 0.0, 2.0], &[1.0]);
    let clean =
        |views: &[DenseView<'_>]| clean_pointcloud(views, 0.001, 0.0, device).map_err(|e| e.to_string());
    check_equal(&clean(&[near.clone(), far])?.concat(), &[0.0, 3.0])?;
    check_equal(&clean(&[near, far_unsure])?.concat(), &[2.0, 1.0])
}

fn refusals(device: &Device) -> Verdict {
    let s = scene(2, 4, 3);
    let broken = |change: fn(&mut DenseView<'_>)| {
        let mut views = views(&s);
        change(&mut views[1]);
        clean_pointcloud(&views, 0.001, 0.0, device)
    };
    expect_error(broken(|v| v.depth = &v.depth[1..]), "`depth` must be [12], got [11]")?;
    expect_error(broken(|v| v.points = &v.points[1..]), "`points` must be [36], got [35]")?;
    expect_error(broken(|v| v.confidence = &v.confidence[1..]), "`confidence` must be [12], got [11]")?;
    expect_error(
        clean_pointcloud(&views(&s), 1.0, 0.0, device),
        "`tolerance` must be at least 0 and below 1, got 1",
    )
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("clean_pointcloud/oracle/odd_sizes", |d| oracle(d, &scene(4, 23, 17))),
        case("clean_pointcloud/oracle/one_view", |d| oracle(d, &scene(1, 5, 3))),
        case("clean_pointcloud/oracle/image_rows", |d| oracle(d, &scene(3, 96, 64))),
        case("clean_pointcloud/oracle/far_from_origin", far_from_origin),
        case("clean_pointcloud/property/single_points", single_points),
        case("clean_pointcloud/property/odd_numbers", odd_numbers),
        case("clean_pointcloud/property/own_surface", own_surface),
        case("clean_pointcloud/property/nothing_to_lower", nothing_to_lower),
        case("clean_pointcloud/error/arguments", refusals),
    ]
}
