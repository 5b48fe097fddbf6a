use super::copy;
use half::{bf16, f16};
use steropes_tensor::{Device, Element, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{Case, Verdict, case, check_equal};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("copy/oracle/every_dtype", every_dtype),
        case("copy/oracle/no_axes", |d| same(d, &[], |v| v)),
        case("copy/oracle/several_tasks", |d| same(d, &[97, 1013], |v| v)),
        case("copy/oracle/full_workgroups", |d| same(d, &[3, 8192], |v| v)),
        case("copy/property/memory_is_its_own", memory_is_its_own),
        case("copy/property/nothing", |d| same(d, &[2, 0], |v| v)),
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

fn memory_is_its_own(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[9], normal("copy/x", 9)).expect("nine values");
    let y = copy(&x).map_err(|e| e.to_string())?;
    check_equal(&[x.is_unshared(), y.is_unshared()], &[true, true])
}
