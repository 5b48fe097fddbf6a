use super::{DenseView, clean_pointcloud, reference};
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

fn oracle(count: usize, width: usize, height: usize) -> Verdict {
    let s = scene(count, width, height);
    let got = clean_pointcloud(&views(&s), 0.01, 0.5).map_err(|e| e.to_string())?;
    let want = reference::clean_pointcloud(&views(&s), 0.01, 0.5);
    for (got, want) in got.iter().zip(&want) {
        check_equal(got, want)?;
    }
    let lowered = want.iter().flatten().filter(|c| **c == 0.5).count();
    if count > 1 && lowered == 0 {
        Err("no point was lowered, the case shows nothing".into())
    } else {
        Ok(())
    }
}

/// A point in front of a surface of higher confidence is lowered; behind it, or if it is the surer one, it stays.
fn single_points() -> Verdict {
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
    let clean = |views: &[DenseView<'_>]| clean_pointcloud(views, 0.001, 0.0).map_err(|e| e.to_string());
    check_equal(&clean(&[near.clone(), far])?.concat(), &[0.0, 3.0])?;
    check_equal(&clean(&[near, far_unsure])?.concat(), &[2.0, 1.0])
}

fn refusals() -> Verdict {
    let s = scene(2, 4, 3);
    let broken = |change: fn(&mut DenseView<'_>)| {
        let mut views = views(&s);
        change(&mut views[1]);
        clean_pointcloud(&views, 0.001, 0.0)
    };
    expect_error(broken(|v| v.depth = &v.depth[1..]), "`depth` must be [12], got [11]")?;
    expect_error(broken(|v| v.points = &v.points[1..]), "`points` must be [36], got [35]")?;
    expect_error(broken(|v| v.confidence = &v.confidence[1..]), "`confidence` must be [12], got [11]")?;
    expect_error(clean_pointcloud(&views(&s), 1.0, 0.0), "`tolerance` must be at least 0 and below 1, got 1")
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("clean_pointcloud/oracle/odd_sizes", |_| oracle(4, 23, 17)),
        case("clean_pointcloud/oracle/one_view", |_| oracle(1, 5, 3)),
        case("clean_pointcloud/oracle/image_rows", |_| oracle(3, 96, 64)),
        case("clean_pointcloud/property/single_points", |_| single_points()),
        case("clean_pointcloud/error/arguments", |_| refusals()),
    ]
}
