use super::{pixel_grid, reference};
use steropes_tensor::Device;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("pixel_grid/oracle/one_pixel", |d| against_oracle(d, [1, 1], [0, 0])),
        case("pixel_grid/oracle/odd_sizes", |d| against_oracle(d, [23, 17], [-7, 3])),
        case("pixel_grid/oracle/model_size", |d| against_oracle(d, [512, 384], [0, 0])),
        case("pixel_grid/oracle/largest_numbers", |d| {
            against_oracle(d, [5, 3], [(1 << 24) - 5, -((1 << 24) - 3)])
        }),
        small_bindings_case("pixel_grid/oracle/small_bindings", 1024, |d| {
            against_oracle(d, [23, 17], [-7, 3])
        }),
        case("pixel_grid/property/no_pixels", |d| {
            against_oracle(d, [0, 4], [1, 1])?;
            against_oracle(d, [4, 0], [1, 1])
        }),
        case("pixel_grid/error/arguments", errors),
    ]
}

fn against_oracle(device: &Device, [width, height]: [usize; 2], origin: [i32; 2]) -> Verdict {
    let grid = pixel_grid(device, width, height, origin).map_err(|e| e.to_string())?;
    check_equal(grid.shape(), &[height, width, 2])?;
    let got = grid.read::<f32>().map_err(|e| e.to_string())?;
    check_close(&got, &reference::pixel_grid(width, height, origin), Tolerance::Exact)
}

fn errors(device: &Device) -> Verdict {
    let part = "`width` must be at most 2^24 together with the origin 1, got 16777216";
    expect_error(pixel_grid(device, 1 << 24, 1, [1, 0]), part)?;
    let part = "`height` must be at most 2^24 together with the origin -2147483648, got 1";
    expect_error(pixel_grid(device, 1, 1, [0, i32::MIN]), part)
}
