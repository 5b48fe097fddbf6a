use super::{copy, copy_rows};
use half::{bf16, f16};
use std::ops::Range;
use steropes_tensor::{DType, Device, Element, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{Case, Verdict, case, check_equal, expect_error, f16_case, f16_tensor, floats};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("copy/oracle/every_dtype", every_dtype),
        case("copy/oracle/no_axes", |d| same(d, &[], |v| v)),
        case("copy/oracle/several_tasks", |d| same(d, &[97, 1013], |v| v)),
        case("copy/oracle/full_workgroups", |d| same(d, &[3, 8192], |v| v)),
        case("copy/property/memory_is_its_own", memory_is_its_own),
        case("copy/property/nothing", |d| same(d, &[2, 0], |v| v)),
        case("copy/rows/every_unit", rows_of_every_unit),
        f16_case("copy/rows/f16", |d| rows(d, DType::F16, &[7, 3, 5], 2..5)),
        case("copy/rows/none", |d| rows(d, DType::F32, &[7, 3], 4..4)),
        case("copy/error/too_few_rows", too_few_rows),
        case("copy/error/rows_dtype", rows_dtype),
    ]
}

fn same<T: Element + PartialEq + std::fmt::Debug>(
    device: &Device,
    shape: &[usize],
    convert: impl Fn(f32) -> T,
) -> Verdict {
    let values: Vec<T> = normal("copy/x", shape.iter().product()).into_iter().map(convert).collect();
    let x = Tensor::new(device, shape, values.clone()).expect("a test's shape fits its values");
    let y = copy(&x).map_err(|e| e.to_string())?;
    check_equal(y.shape(), shape)?;
    check_equal(&y.read::<T>().map_err(|e| e.to_string())?, &values)
}

fn every_dtype(device: &Device) -> Verdict {
    let shape = [3, 5, 7];
    same(device, &shape, |v| v)?;
    same(device, &shape, f16::from_f32)?;
    same(device, &shape, bf16::from_f32)?;
    same(device, &shape, |v| (v * 1e12) as i64)?;
    same(device, &shape, |v| (v * 1e6) as i32)?;
    same(device, &shape, |v| (v * 1e6) as i32 as u32)?;
    same(device, &shape, |v| (v * 100.0) as i32 as u8)
}

/// Rows of 4, 8 and 16 bytes, from places that no binding begins at, and enough for several tasks.
fn rows_of_every_unit(device: &Device) -> Verdict {
    for shape in [vec![9, 1], vec![9, 2], vec![9, 3, 4], vec![5, 97, 1013], vec![11]] {
        for range in [0..1, 1..5, 3..4] {
            rows(device, DType::F32, &shape, range.clone())
                .map_err(|e| format!("{shape:?} {range:?}: {e}"))?;
        }
    }
    Ok(())
}

fn rows(device: &Device, dtype: DType, shape: &[usize], range: Range<usize>) -> Verdict {
    let values = normal("copy/x", shape.iter().product());
    let x = match dtype {
        DType::F16 => f16_tensor(device, shape, &values).0,
        _ => Tensor::new(device, shape, values).expect("a test's shape fits its values"),
    };
    let row = shape[1..].iter().product::<usize>();
    let want = floats(&x)?[range.start * row..range.end * row].to_vec();
    let got = copy_rows(&x, range.clone()).map_err(|e| e.to_string())?;
    check_equal(got.shape(), &[&[range.len()], &shape[1..]].concat())?;
    check_equal(&floats(&got)?, &want)
}

fn too_few_rows(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[3, 4]);
    expect_error(copy_rows(&x, 2..4), "`x` must be [rows, ..] with the rows 2..4, got [3, 4]")?;
    let x = Tensor::zeros::<f32>(device, &[]);
    expect_error(copy_rows(&x, 0..1), "`x` must be [rows, ..] with the rows 0..1, got []")
}

fn rows_dtype(device: &Device) -> Verdict {
    let x = Tensor::zeros::<u32>(device, &[3, 4]);
    expect_error(copy_rows(&x, 0..1), "`x` must hold f32")
}

fn memory_is_its_own(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[9], normal("copy/x", 9)).expect("nine values");
    let y = copy(&x).map_err(|e| e.to_string())?;
    check_equal(&[x.is_unshared(), y.is_unshared()], &[true, true])
}
