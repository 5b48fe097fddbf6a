use super::super::project::project;
use super::{reference, unproject};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::uniform;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("unproject/oracle/one_pixel", |d| against_oracle(d, [1, 1, 1])),
        case("unproject/oracle/odd_sizes", |d| against_oracle(d, [3, 17, 23])),
        case("unproject/oracle/model_size", |d| against_oracle(d, [2, 384, 512])),
        small_bindings_case("unproject/oracle/small_bindings", 1024, |d| {
            against_oracle(d, [3, 17, 23])?;
            // More cameras than fit.
            against_oracle(d, [90, 1, 2])
        }),
        case("unproject/property/project_gives_the_pixel", project_gives_the_pixel),
        case("unproject/property/depths_that_are_none", depths_that_are_none),
        case("unproject/property/no_pixels", no_pixels),
        case("unproject/error/arguments", errors),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

/// Depths from 1 to 5.
fn depths(count: usize) -> Vec<f32> {
    uniform("unproject/depth", count).into_iter().map(|v| 3.0 + 2.0 * v).collect()
}

/// Another camera for each item of the batch.
fn intrinsics([batch, height, width]: [usize; 3]) -> Vec<f32> {
    let (w, h) = (width as f32, height as f32);
    (0..batch)
        .flat_map(|b| [0.9 * w + b as f32, 1.1 * w - 0.3 * b as f32, 0.5 * w + 0.1 * b as f32, 0.45 * h])
        .collect()
}

fn run(depth: &Tensor, intrinsics: &Tensor) -> Result<Vec<f32>, String> {
    let points = unproject(depth, intrinsics).map_err(|e| e.to_string())?;
    check_equal(points.shape(), &[depth.shape(), &[3]].concat())?;
    points.read().map_err(|e| e.to_string())
}

fn against_oracle(device: &Device, shape: [usize; 3]) -> Verdict {
    let (depth, k) = (depths(shape.iter().product()), intrinsics(shape));
    let want = reference::unproject(&depth, &k, [shape[1], shape[2]]);
    let got = run(&tensor(device, &shape, depth), &tensor(device, &[shape[0], 4], k))?;
    check_equal(&[got.len()], &[want.len()])?;
    for i in (0..got.len()).step_by(3) {
        let size = want[i..i + 3].iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let bound = Tolerance::Ulps(4).bound(size, size);
        check_close(&got[i..i + 3], &want[i..i + 3], Tolerance::Absolute(bound))
            .map_err(|e| format!("pixel {}: {e}", i / 3))?;
    }
    Ok(())
}

fn project_gives_the_pixel(device: &Device) -> Verdict {
    let shape = [2, 19, 31];
    let k = tensor(device, &[2, 4], intrinsics(shape));
    let points = unproject(&tensor(device, &shape, depths(2 * 19 * 31)), &k).map_err(|e| e.to_string())?;
    let pixels = project(&points, &k).map_err(|e| e.to_string())?.read::<f32>().map_err(|e| e.to_string())?;
    let want: Vec<f64> = (0..2 * 19 * 31).flat_map(|i| [(i % 31) as f64, (i / 31 % 19) as f64]).collect();
    check_close(&pixels, &want, Tolerance::Absolute(2e-5))
}

/// The depth stands in the point as it is; nothing else is affected.
fn depths_that_are_none(device: &Device) -> Verdict {
    let mut depth = depths(12);
    (depth[1], depth[5], depth[7]) = (0.0, f32::NAN, -2.0);
    let k = intrinsics([1, 3, 4]);
    let want = reference::unproject(&depth, &k, [3, 4]);
    let got = run(&tensor(device, &[1, 3, 4], depth), &tensor(device, &[1, 4], k))?;
    check_close(&got, &want, Tolerance::Absolute(2e-6))
}

fn no_pixels(device: &Device) -> Verdict {
    for shape in [[0, 4, 5], [2, 0, 5], [2, 4, 0]] {
        let k = Tensor::zeros::<f32>(device, &[shape[0], 4]);
        check_equal(&run(&Tensor::zeros::<f32>(device, &shape), &k)?, &[])?;
    }
    Ok(())
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let whole = |shape: &[usize]| Tensor::zeros::<i32>(device, shape);
    let (depth, k) = (zeros(&[2, 4, 5]), zeros(&[2, 4]));
    let part = "`depth` must be [batch, height, width], got [4, 5]";
    expect_error(unproject(&zeros(&[4, 5]), &k), part)?;
    for shape in [&[1usize, 4][..], &[2, 3], &[8]] {
        let part = format!("`intrinsics` must be [2, 4], got {shape:?}");
        expect_error(unproject(&depth, &zeros(shape)), &part)?;
    }
    expect_error(unproject(&whole(&[2, 4, 5]), &k), "`depth` must hold f32, got i32")?;
    expect_error(unproject(&depth, &whole(&[2, 4])), "`intrinsics` must hold f32, got i32")?;
    if device.gpu().is_some() {
        let there = Tensor::zeros::<f32>(&Device::Cpu, &[2, 4]);
        expect_error(unproject(&depth, &there), "`intrinsics` must be on")?;
    }
    Ok(())
}
