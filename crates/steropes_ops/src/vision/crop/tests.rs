use super::super::{bytes, normal};
use super::{crop, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("crop/oracle/one_pixel", |d| against_oracle(d, [1, 1, 1, 1], 1, 1)),
        case("crop/oracle/odd_sizes", |d| against_oracle(d, [3, 7, 11, 5], 4, 9)),
        case("crop/oracle/rows_only", |d| against_oracle(d, [2, 7, 5, 3], 6, 5)),
        case("crop/oracle/small_dpt_p4", |d| against_oracle(d, [1, 20, 26, 64], 18, 24)),
        f16_case("crop/f16/odd_sizes", |d| f16_against_oracle(d, [3, 7, 11, 5], 4, 9)),
        f16_case("crop/f16/small_dpt_p4", |d| f16_against_oracle(d, [1, 20, 26, 64], 18, 24)),
        case("crop/property/in_two_steps", in_two_steps),
        case("crop/property/nothing_left", nothing_left),
        gpu_case("crop/property/longer_than_a_binding", longer_than_a_binding),
        case("crop/error/rank", |d| {
            expect_error(crop(&normal(d, "x", &[4, 4, 1]), 2, 2), "`x` must be [batch")
        }),
        case("crop/error/too_low", |d| {
            expect_error(crop(&normal(d, "x", &[1, 4, 4, 1]), 5, 4), "at least 5, at least 4")
        }),
        case("crop/error/too_narrow", |d| {
            expect_error(crop(&normal(d, "x", &[1, 4, 4, 1]), 4, 5), "at least 4, at least 5")
        }),
        case("crop/error/dtype", |d| expect_error(crop(&bytes(d, &[1, 4, 4, 1]), 4, 4), "`x` must hold f32")),
    ]
}

fn against_oracle(device: &Device, shape: [usize; 4], height: usize, width: usize) -> Verdict {
    let x = normal(device, "crop/x", &shape);
    let y = crop(&x, height, width).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[shape[0], height, width, shape[3]])?;
    let want = reference::crop(&x.read().map_err(|e| e.to_string())?, shape, height, width);
    check_close(&y.read::<f32>().map_err(|e| e.to_string())?, &want, Tolerance::Exact)
}

fn f16_against_oracle(device: &Device, shape: [usize; 4], height: usize, width: usize) -> Verdict {
    let values = normal(device, "crop/x", &shape).read::<f32>().unwrap();
    let (x, rounded) = f16_tensor(device, &shape, &values);
    let y = crop(&x, height, width).map_err(|e| e.to_string())?;
    check_close(&floats(&y)?, &reference::crop(&rounded, shape, height, width), Tolerance::Exact)
}

fn in_two_steps(device: &Device) -> Verdict {
    let x = normal(device, "crop/steps", &[2, 9, 8, 3]);
    let once = crop(&x, 5, 4).map_err(|e| e.to_string())?;
    let twice = crop(&x, 7, 6).and_then(|y| crop(&y, 5, 4)).map_err(|e| e.to_string())?;
    check_equal(&once.read::<f32>().unwrap(), &twice.read::<f32>().unwrap())
}

fn nothing_left(device: &Device) -> Verdict {
    let y = crop(&normal(device, "crop/nothing", &[2, 3, 4, 5]), 0, 4).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[2, 0, 4, 5])
}

/// Images that are all the same, so that every part of a tensor that is split must come out as the first.
fn longer_than_a_binding(device: &Device) -> Verdict {
    let limit = device.gpu().expect("a GPU case").capabilities().max_binding_bytes;
    if limit > 1 << 28 {
        return Ok(()); // Too much memory for a test; devices with small bindings show the same code.
    }
    let image = normal(device, "crop/x", &[1, 7, 11, 5]).read::<f32>().unwrap();
    let count = limit as usize / (4 * image.len()) + 3;
    let x = Tensor::new(device, &[count, 7, 11, 5], image.repeat(count)).expect("it fits the device");
    let y = crop(&x, 4, 9).map_err(|e| e.to_string())?.read::<f32>().map_err(|e| e.to_string())?;
    let want: Vec<f32> = reference::crop(&image, [1, 7, 11, 5], 4, 9).iter().map(|&v| v as f32).collect();
    match y.chunks_exact(want.len()).position(|image| image != want) {
        None => Ok(()),
        Some(i) => Err(format!("image {i} of {count} differs from the first")),
    }
}
