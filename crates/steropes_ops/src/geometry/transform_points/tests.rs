use super::{reference, transform_points};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("transform_points/oracle/one_point", |d| against_oracle(d, &[1, 3])),
        case("transform_points/oracle/odd_sizes", |d| against_oracle(d, &[3, 7, 13, 3])),
        case("transform_points/oracle/model_size", |d| against_oracle(d, &[2, 384, 512, 3])),
        small_bindings_case("transform_points/oracle/small_bindings", 1024, |d| {
            against_oracle(d, &[3, 7, 13, 3])?;
            // More transforms than fit.
            against_oracle(d, &[50, 3])
        }),
        case("transform_points/property/there_and_back", there_and_back),
        case("transform_points/property/nan_stays_in_its_point", nan_stays),
        case("transform_points/property/no_points", no_points),
        case("transform_points/error/arguments", errors),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn run(points: &Tensor, transforms: &Tensor) -> Result<Vec<f32>, String> {
    let moved = transform_points(points, transforms).map_err(|e| e.to_string())?;
    check_equal(moved.shape(), points.shape())?;
    moved.read().map_err(|e| e.to_string())
}

fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let points = normal("transform_points/points", shape.iter().product());
    let transforms = uniform("transform_points/transforms", 12 * shape[0]);
    let (want, sizes) = reference::transform_points(&points, &transforms);
    let points = tensor(device, shape, points);
    let got = run(&points, &tensor(device, &[shape[0], 3, 4], transforms))?;
    check_equal(&[got.len()], &[want.len()])?;
    for i in 0..got.len() {
        let bound = Tolerance::Sum { depth: 4 }.bound(0.0, sizes[i]);
        check_close(&got[i..=i], &want[i..=i], Tolerance::Absolute(bound))
            .map_err(|e| format!("value {i}: {e}"))?;
    }
    Ok(())
}

/// A similarity and its inverse.
fn there_and_back(device: &Device) -> Verdict {
    let (sin, cos, scale) = (0.6f32, 0.8f32, 2.5f32);
    let there = [cos, 0.0, sin, 1.0, 0.0, 1.0, 0.0, -2.0, -sin, 0.0, cos, 3.0].map(|v| v * scale);
    // R^T p / s - R^T t.
    let back = [cos, 0.0, -sin, 0.0, 0.0, 1.0, 0.0, 0.0, sin, 0.0, cos, 0.0].map(|v| v / scale);
    let mut back = back;
    (back[3], back[7], back[11]) = (-cos + 3.0 * sin, 2.0, -sin - 3.0 * cos);
    let points = normal("transform_points/points", 60);
    let moved =
        run(&tensor(device, &[1, 20, 3], points.clone()), &tensor(device, &[1, 3, 4], there.to_vec()))?;
    let again = run(&tensor(device, &[1, 20, 3], moved), &tensor(device, &[1, 3, 4], back.to_vec()))?;
    let want: Vec<f64> = points.iter().map(|&v| f64::from(v)).collect();
    check_close(&again, &want, Tolerance::Absolute(5e-6))
}

fn nan_stays(device: &Device) -> Verdict {
    let mut points = normal("transform_points/points", 2 * 5 * 3);
    points[4 * 3 + 1] = f32::NAN;
    let transforms = tensor(device, &[2, 3, 4], uniform("transform_points/transforms", 24));
    let got = run(&tensor(device, &[2, 5, 3], points), &transforms)?;
    match (0..got.len()).find(|&i| got[i].is_nan() != (i / 3 == 4)) {
        None => Ok(()),
        Some(i) => Err(format!("value {i} is {}", got[i])),
    }
}

fn no_points(device: &Device) -> Verdict {
    for batch in [0, 2] {
        let transforms = Tensor::zeros::<f32>(device, &[batch, 3, 4]);
        check_equal(&run(&Tensor::zeros::<f32>(device, &[batch, 0, 3]), &transforms)?, &[])?;
    }
    Ok(())
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let whole = |shape: &[usize]| Tensor::zeros::<i32>(device, shape);
    let (points, transforms) = (zeros(&[2, 5, 3]), zeros(&[2, 3, 4]));
    for shape in [&[2usize, 5, 4][..], &[3], &[]] {
        let part = format!("`points` must be [batch, .., 3], got {shape:?}");
        expect_error(transform_points(&zeros(shape), &transforms), &part)?;
    }
    for shape in [&[1usize, 3, 4][..], &[2, 4, 4], &[2, 12]] {
        let part = format!("`transforms` must be [2, 3, 4], got {shape:?}");
        expect_error(transform_points(&points, &zeros(shape)), &part)?;
    }
    expect_error(transform_points(&whole(&[2, 5, 3]), &transforms), "`points` must hold f32, got i32")?;
    expect_error(transform_points(&points, &whole(&[2, 3, 4])), "`transforms` must hold f32, got i32")?;
    if device.gpu().is_some() {
        let there = Tensor::zeros::<f32>(&Device::Cpu, &[2, 3, 4]);
        expect_error(transform_points(&points, &there), "`transforms` must be on")?;
    }
    Ok(())
}
