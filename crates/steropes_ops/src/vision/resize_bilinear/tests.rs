use super::super::{bytes, normal};
use super::{reference, resize_bilinear};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("resize_bilinear/oracle/one_pixel", |d| against_oracle(d, [1, 1, 1, 1], [3, 2])),
        case("resize_bilinear/oracle/to_one_pixel", |d| against_oracle(d, [2, 5, 7, 3], [1, 1])),
        case("resize_bilinear/oracle/to_the_corners", |d| against_oracle(d, [2, 5, 7, 3], [2, 2])),
        case("resize_bilinear/oracle/vectors_to_the_corners", |d| against_oracle(d, [2, 5, 7, 8], [2, 2])),
        case("resize_bilinear/oracle/odd_sizes", |d| against_oracle(d, [3, 7, 5, 19], [13, 11])),
        case("resize_bilinear/oracle/smaller", |d| against_oracle(d, [2, 13, 11, 6], [5, 7])),
        case("resize_bilinear/oracle/dune", |d| against_oracle(d, [1, 8, 16, 33], [14, 28])),
        case("resize_bilinear/oracle/mast3r_up2", |d| against_oracle(d, [1, 24, 32, 256], [48, 64])),
        f16_case("resize_bilinear/f16/to_the_corners", |d| f16_against_oracle(d, [2, 5, 7, 3], [2, 2])),
        f16_case("resize_bilinear/f16/vectors_to_the_corners", |d| {
            f16_against_oracle(d, [2, 5, 7, 8], [2, 2])
        }),
        f16_case("resize_bilinear/f16/odd_sizes", |d| f16_against_oracle(d, [3, 7, 5, 19], [13, 11])),
        f16_case("resize_bilinear/f16/small_up2", |d| f16_against_oracle(d, [2, 9, 12, 64], [18, 24])),
        gpu_case("resize_bilinear/property/longer_than_a_binding", longer_than_a_binding),
        gpu_case("resize_bilinear/error/places_beyond_32_bits", |d| {
            expect_error(
                resize_bilinear(&normal(d, "x", &[1, 2, 70_000, 1]), 2, 70_000),
                "do not fit 32 bits",
            )
        }),
        case("resize_bilinear/property/constant_stays", constant_stays),
        case("resize_bilinear/property/samples_coincide", samples_coincide),
        case("resize_bilinear/property/same_size_is_identity", same_size_is_identity),
        case("resize_bilinear/error/rank", |d| {
            expect_error(resize_bilinear(&normal(d, "x", &[4, 4, 1]), 8, 8), "`x` must be [batch")
        }),
        case("resize_bilinear/error/empty", |d| {
            expect_error(resize_bilinear(&normal(d, "x", &[1, 0, 4, 1]), 8, 8), "no extent 0")
        }),
        case("resize_bilinear/error/dtype", |d| {
            expect_error(resize_bilinear(&bytes(d, &[1, 4, 4, 1]), 8, 8), "`x` must hold f32")
        }),
        case("resize_bilinear/error/out_height_0", |d| {
            expect_error(
                resize_bilinear(&normal(d, "x", &[1, 4, 4, 1]), 0, 8),
                "`out_height` must be at least 1",
            )
        }),
        case("resize_bilinear/error/out_width_0", |d| {
            expect_error(
                resize_bilinear(&normal(d, "x", &[1, 4, 4, 1]), 8, 0),
                "`out_width` must be at least 1",
            )
        }),
    ]
}

fn against_oracle(device: &Device, shape: [usize; 4], out: [usize; 2]) -> Verdict {
    let x = normal(device, "resize_bilinear/x", &shape);
    let y = resize_bilinear(&x, out[0], out[1]).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[shape[0], out[0], out[1], shape[3]])?;
    let want = reference::resize_bilinear(&x.read().unwrap(), shape, out);
    check_close(&y.read::<f32>().unwrap(), &want, Tolerance::Sum { depth: 4 })
}

fn f16_against_oracle(device: &Device, shape: [usize; 4], out: [usize; 2]) -> Verdict {
    let values = normal(device, "resize_bilinear/x", &shape).read::<f32>().unwrap();
    let (x, rounded) = f16_tensor(device, &shape, &values);
    let y = resize_bilinear(&x, out[0], out[1]).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[shape[0], out[0], out[1], shape[3]])?;
    check_close(&floats(&y)?, &reference::resize_bilinear(&rounded, shape, out), Tolerance::OfLargest(5e-4))
}

/// Two images that are one repeated, in a result that must be split: both come out as the one alone.
fn longer_than_a_binding(device: &Device) -> Verdict {
    let limit = device.gpu().expect("a GPU case").capabilities().max_binding_bytes;
    if limit > 1 << 28 {
        return Ok(()); // Too much memory for a test; devices with small bindings show the same code.
    }
    let image = normal(device, "resize_bilinear/long", &[1, 7, 9, 4]).read::<f32>().unwrap();
    // More than half a binding for each image.
    let out = [limit as usize / 2 / (16 * 1021) + 3, 1021];
    let run = |batch: usize| {
        let x = Tensor::new(device, &[batch, 7, 9, 4], image.repeat(batch)).expect("images of one size");
        let y = resize_bilinear(&x, out[0], out[1]).map_err(|e| e.to_string())?;
        y.read::<f32>().map_err(|e| e.to_string())
    };
    let (one, two) = (run(1)?, run(2)?);
    match two.iter().zip(one.iter().chain(&one)).position(|(a, b)| a.to_bits() != b.to_bits()) {
        None => Ok(()),
        Some(i) => Err(format!("value {i} is {}", two[i])),
    }
}

fn constant_stays(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[1, 6, 7, 3], [0.1f32, -2.3, 1e8].repeat(42)).unwrap();
    let y = resize_bilinear(&x, 17, 23).map_err(|e| e.to_string())?;
    check_equal(&y.read::<f32>().unwrap(), &[0.1f32, -2.3, 1e8].repeat(17 * 23))
}

/// From 4 x 5 to 10 x 13 every third sample lies on a source sample.
fn samples_coincide(device: &Device) -> Verdict {
    let x = normal(device, "resize_bilinear/coincide", &[1, 4, 5, 2]);
    let y = resize_bilinear(&x, 10, 13).and_then(|y| resize_bilinear(&y, 4, 5)).map_err(|e| e.to_string())?;
    check_equal(&y.read::<f32>().unwrap(), &x.read::<f32>().unwrap())
}

fn same_size_is_identity(device: &Device) -> Verdict {
    let x = normal(device, "resize_bilinear/identity", &[2, 7, 9, 5]);
    let y = resize_bilinear(&x, 7, 9).map_err(|e| e.to_string())?;
    check_equal(&y.read::<f32>().unwrap(), &x.read::<f32>().unwrap())
}
