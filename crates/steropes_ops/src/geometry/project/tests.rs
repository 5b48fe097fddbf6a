use super::{project, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("project/oracle/one_point", |d| against_oracle(d, &[1, 3])),
        case("project/oracle/odd_sizes", |d| against_oracle(d, &[3, 7, 13, 3])),
        case("project/oracle/model_size", |d| against_oracle(d, &[2, 384, 512, 3])),
        small_bindings_case("project/oracle/small_bindings", 1024, |d| {
            against_oracle(d, &[3, 7, 13, 3])?;
            // More cameras than fit.
            against_oracle(d, &[100, 2, 3])
        }),
        case("project/property/points_that_are_not_seen", points_that_are_not_seen),
        case("project/property/no_points", no_points),
        case("project/error/arguments", errors),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn run(points: &Tensor, intrinsics: &Tensor) -> Result<Vec<f32>, String> {
    let pixels = project(points, intrinsics).map_err(|e| e.to_string())?;
    let shape = points.shape();
    check_equal(pixels.shape(), &[&shape[..shape.len() - 1], &[2]].concat())?;
    pixels.read().map_err(|e| e.to_string())
}

/// Points before and behind the camera.
fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let count: usize = shape.iter().product();
    let mut points = normal("project/points", count);
    points[2] = 1.7;
    let k: Vec<f32> =
        uniform("project/intrinsics", 4 * shape[0]).into_iter().map(|v| 200.0 + 100.0 * v).collect();
    let (want, sizes) = reference::project(&points, &k, count / 3 / shape[0]);
    let got = run(&tensor(device, shape, points), &tensor(device, &[shape[0], 4], k))?;
    check_equal(&[got.len()], &[want.len()])?;
    for i in 0..got.len() {
        let bound = Tolerance::Ulps(4).bound(sizes[i], sizes[i]);
        check_close(&got[i..=i], &want[i..=i], Tolerance::Absolute(bound))
            .map_err(|e| format!("value {i}: {e}"))?;
    }
    Ok(())
}

fn points_that_are_not_seen(device: &Device) -> Verdict {
    let depths = [0.0, -0.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1.0, 1e-30];
    let points = depths.iter().flat_map(|&z| [0.25, 0.0, z]).collect();
    let k = tensor(device, &[1, 4], vec![2.0, 2.0, 3.0, 4.0]);
    let got = run(&tensor(device, &[1, 8, 3], points), &k)?;
    let unseen: Vec<bool> = got.iter().map(|v| v.is_nan()).collect();
    check_equal(&unseen, &[[true; 12].as_slice(), &[false; 4]].concat())?;
    check_close(&got[12..14], &[3.5, 4.0], Tolerance::Ulps(1))?;
    check_close(&got[14..], &[5e29, 4.0], Tolerance::OfLargest(1e-6))
}

fn no_points(device: &Device) -> Verdict {
    for batch in [0, 2] {
        let k = Tensor::zeros::<f32>(device, &[batch, 4]);
        check_equal(&run(&Tensor::zeros::<f32>(device, &[batch, 0, 3]), &k)?, &[])?;
    }
    Ok(())
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let whole = |shape: &[usize]| Tensor::zeros::<i32>(device, shape);
    let (points, k) = (zeros(&[2, 5, 3]), zeros(&[2, 4]));
    for shape in [&[2usize, 5, 2][..], &[3], &[]] {
        let part = format!("`points` must be [batch, .., 3], got {shape:?}");
        expect_error(project(&zeros(shape), &k), &part)?;
    }
    for shape in [&[1usize, 4][..], &[2, 3], &[8]] {
        let part = format!("`intrinsics` must be [2, 4], got {shape:?}");
        expect_error(project(&points, &zeros(shape)), &part)?;
    }
    expect_error(project(&whole(&[2, 5, 3]), &k), "`points` must hold f32, got i32")?;
    expect_error(project(&points, &whole(&[2, 4])), "`intrinsics` must hold f32, got i32")?;
    if device.gpu().is_some() {
        let there = Tensor::zeros::<f32>(&Device::Cpu, &[2, 4]);
        expect_error(project(&points, &there), "`intrinsics` must be on")?;
    }
    Ok(())
}
