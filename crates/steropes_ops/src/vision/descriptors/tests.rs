use super::super::{bytes, normal};
use super::{descriptors, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("descriptors/oracle/one_pixel", |d| against_oracle(d, [1, 1, 1, 1], 1)),
        case("descriptors/oracle/odd_sizes", |d| against_oracle(d, [3, 7, 5, 17], 13)),
        case("descriptors/oracle/nothing_after", |d| against_oracle(d, [2, 41, 29, 11], 11)),
        case("descriptors/oracle/mast3r", |d| against_oracle(d, [1, 96, 128, 25], 24)),
        f16_case("descriptors/f16/odd_sizes", f16_against_oracle),
        case("descriptors/property/unit_norm", unit_norm),
        case("descriptors/property/zero_gives_nan", zero_gives_nan),
        case("descriptors/error/rank", |d| {
            expect_error(descriptors(&normal(d, "raw", &[4, 4, 25]), 24), "`raw` must be [batch")
        }),
        case("descriptors/error/too_few_channels", |d| {
            expect_error(descriptors(&normal(d, "raw", &[1, 4, 4, 23]), 24), "at least 24")
        }),
        case("descriptors/error/dtype", |d| {
            expect_error(descriptors(&bytes(d, &[1, 4, 4, 25]), 24), "`raw` must hold f32")
        }),
        case("descriptors/error/dim_0", |d| {
            expect_error(descriptors(&normal(d, "raw", &[1, 4, 4, 25]), 0), "`dim` must be at least 1")
        }),
    ]
}

fn against_oracle(device: &Device, shape: [usize; 4], dim: usize) -> Verdict {
    let raw = normal(device, "descriptors/raw", &shape);
    let (unit, rest) = descriptors(&raw, dim).map_err(|e| e.to_string())?;
    check_equal(unit.shape(), &[shape[0], shape[1], shape[2], dim])?;
    check_equal(rest.shape(), &[shape[0], shape[1], shape[2], shape[3] - dim])?;
    let want = reference::descriptors(&raw.read().unwrap(), dim, shape[3]);
    check_close(&unit.read::<f32>().unwrap(), &want.0, Tolerance::Ulps(dim as u32 / 8 + 4))?;
    check_close(&rest.read::<f32>().unwrap(), &want.1, Tolerance::Exact)
}

/// The results are f32, so that only the input is rounded.
fn f16_against_oracle(device: &Device) -> Verdict {
    let (shape, dim) = ([2, 7, 19, 25], 24);
    let values = normal(device, "descriptors/raw", &shape).read::<f32>().unwrap();
    let (raw, rounded) = f16_tensor(device, &shape, &values);
    let (unit, rest) = descriptors(&raw, dim).map_err(|e| e.to_string())?;
    let want = reference::descriptors(&rounded, dim, shape[3]);
    check_close(&unit.read::<f32>().unwrap(), &want.0, Tolerance::Ulps(dim as u32 / 8 + 4))?;
    check_close(&rest.read::<f32>().unwrap(), &want.1, Tolerance::Exact)
}

fn unit_norm(device: &Device) -> Verdict {
    let raw = normal(device, "descriptors/norm", &[1, 33, 37, 26]);
    let (unit, _) = descriptors(&raw, 24).map_err(|e| e.to_string())?;
    let norms: Vec<f32> = unit
        .read::<f32>()
        .unwrap()
        .chunks(24)
        .map(|v| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt() as f32)
        .collect();
    check_close(&norms, &vec![1.0; 33 * 37], Tolerance::Ulps(4))
}

fn zero_gives_nan(device: &Device) -> Verdict {
    let raw = Tensor::new(device, &[1, 1, 2, 3], vec![0.0f32, 0.0, 7.0, 3.0, 4.0, 8.0]).unwrap();
    let (unit, rest) = descriptors(&raw, 2).map_err(|e| e.to_string())?;
    check_close(&unit.read::<f32>().unwrap(), &[f64::NAN, f64::NAN, 0.6, 0.8], Tolerance::Ulps(1))?;
    check_equal(&rest.read::<f32>().unwrap(), &[7.0, 8.0])
}
