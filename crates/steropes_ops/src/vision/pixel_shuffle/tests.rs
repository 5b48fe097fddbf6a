use super::super::{bytes, normal};
use super::{pixel_shuffle, reference};
use steropes_tensor::Device;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("pixel_shuffle/oracle/one_value", |d| against_oracle(d, [1, 1, 1, 1], 1)),
        case("pixel_shuffle/oracle/odd_sizes", |d| against_oracle(d, [2, 3, 5, 7 * 9], 3)),
        case("pixel_shuffle/oracle/part_of_a_workgroup", |d| against_oracle(d, [1, 3, 5, 4 * 9], 3)),
        case("pixel_shuffle/oracle/one_channel", |d| against_oracle(d, [2, 5, 3, 49], 7)),
        case("pixel_shuffle/oracle/wide_patch", |d| against_oracle(d, [1, 2, 2, 37 * 361], 19)),
        case("pixel_shuffle/oracle/four_channels", |d| against_oracle(d, [1, 3, 2, 4 * 256], 16)),
        case("pixel_shuffle/oracle/mast3r", |d| against_oracle(d, [1, 3, 4, 25 * 256], 16)),
        case("pixel_shuffle/oracle/dune", |d| against_oracle(d, [1, 3, 2, 25 * 196], 14)),
        f16_case("pixel_shuffle/f16/odd_sizes", |d| f16_against_oracle(d, [2, 3, 5, 7 * 9], 3)),
        f16_case("pixel_shuffle/f16/mast3r", |d| f16_against_oracle(d, [1, 3, 4, 25 * 256], 16)),
        case("pixel_shuffle/property/patch_1_is_identity", patch_1_is_identity),
        case("pixel_shuffle/error/patch_0", |d| {
            expect_error(pixel_shuffle(&normal(d, "x", &[1, 2, 2, 4]), 0), "`patch` must be between 1")
        }),
        case("pixel_shuffle/error/patch_overflows", |d| {
            expect_error(
                pixel_shuffle(&normal(d, "x", &[1, 2, 2, 4]), usize::MAX),
                "`patch` must be between 1",
            )
        }),
        case("pixel_shuffle/error/rank", |d| {
            expect_error(pixel_shuffle(&normal(d, "x", &[2, 2, 4]), 2), "`x` must be [batch")
        }),
        case("pixel_shuffle/error/no_multiple", |d| {
            expect_error(pixel_shuffle(&normal(d, "x", &[1, 2, 2, 6]), 2), "a multiple of 4")
        }),
        case("pixel_shuffle/error/dtype", |d| {
            expect_error(pixel_shuffle(&bytes(d, &[1, 2, 2, 4]), 2), "`x` must hold f32")
        }),
    ]
}

fn against_oracle(device: &Device, shape: [usize; 4], patch: usize) -> Verdict {
    let x = normal(device, "pixel_shuffle/x", &shape);
    let y = pixel_shuffle(&x, patch).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[shape[0], patch * shape[1], patch * shape[2], shape[3] / (patch * patch)])?;
    let want = reference::pixel_shuffle(&x.read().unwrap(), shape, patch);
    check_close(&y.read::<f32>().unwrap(), &want, Tolerance::Exact)
}

fn f16_against_oracle(device: &Device, shape: [usize; 4], patch: usize) -> Verdict {
    let values = normal(device, "pixel_shuffle/x", &shape).read::<f32>().unwrap();
    let (x, rounded) = f16_tensor(device, &shape, &values);
    let y = pixel_shuffle(&x, patch).map_err(|e| e.to_string())?;
    check_close(&floats(&y)?, &reference::pixel_shuffle(&rounded, shape, patch), Tolerance::Exact)
}

fn patch_1_is_identity(device: &Device) -> Verdict {
    let x = normal(device, "pixel_shuffle/identity", &[2, 3, 5, 6]);
    let y = pixel_shuffle(&x, 1).map_err(|e| e.to_string())?;
    check_equal(&y.read::<f32>().unwrap(), &x.read::<f32>().unwrap())
}
