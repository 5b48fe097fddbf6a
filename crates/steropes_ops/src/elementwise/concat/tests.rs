use super::{concat, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{Case, Verdict, case, check_equal, expect_error, f16_case, f16_tensor, floats};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("concat/oracle/one_value_each", |d| against_oracle(d, &[], 1, 1)),
        case("concat/oracle/odd_sizes", |d| against_oracle(d, &[3, 7], 5, 11)),
        case("concat/oracle/several_tasks", |d| against_oracle(d, &[1009], 37, 64)),
        case("concat/oracle/mast3r_descriptor_input", |d| against_oracle(d, &[1, 768], 1024, 768)),
        case("concat/oracle/row_longer_than_a_task", |d| against_oracle(d, &[3], 40_001, 5)),
        f16_case("concat/f16/odd_sizes", |d| f16_against_oracle(d, [21, 5, 11])),
        f16_case("concat/f16/even_sizes", |d| f16_against_oracle(d, [21, 6, 10])),
        f16_case("concat/f16/tiny_descriptor_input", |d| f16_against_oracle(d, [43, 256, 192])),
        case("concat/property/nothing_beside_x_is_x", nothing_beside_x_is_x),
        case("concat/property/no_rows", no_rows),
        case("concat/error/x_without_axes", x_without_axes),
        case("concat/error/y_without_axes", y_without_axes),
        case("concat/error/rows", rows),
        case("concat/error/x_dtype", x_dtype),
        case("concat/error/y_dtype", y_dtype),
    ]
}

fn random(device: &Device, name: &str, shape: &[usize]) -> Tensor {
    Tensor::new(device, shape, normal(name, shape.iter().product())).expect("a test's shape fits its values")
}

fn against_oracle(device: &Device, rows: &[usize], m: usize, n: usize) -> Verdict {
    let x = random(device, "concat/x", &[rows, &[m]].concat());
    let y = random(device, "concat/y", &[rows, &[n]].concat());
    let got = concat(&x, &y).map_err(|e| e.to_string())?;
    check_equal(got.shape(), &[rows, &[m + n]].concat())?;
    let (x, y) = (x.read::<f32>().unwrap(), y.read::<f32>().unwrap());
    let want = reference::concat(&x, &y, rows.iter().product());
    check_equal(&got.read::<f32>().map_err(|e| e.to_string())?, &want)
}

fn f16_against_oracle(device: &Device, [rows, m, n]: [usize; 3]) -> Verdict {
    let (x, xs) = f16_tensor(device, &[rows, m], &normal("concat/x", rows * m));
    let (y, ys) = f16_tensor(device, &[rows, n], &normal("concat/y", rows * n));
    let got = concat(&x, &y).map_err(|e| e.to_string())?;
    check_equal(got.shape(), &[rows, m + n])?;
    check_equal(&floats(&got)?, &reference::concat(&xs, &ys, rows))
}

fn nothing_beside_x_is_x(device: &Device) -> Verdict {
    let x = random(device, "concat/x", &[4, 6]);
    let empty = Tensor::zeros::<f32>(device, &[4, 0]);
    for both in [concat(&x, &empty), concat(&empty, &x)] {
        let both = both.map_err(|e| e.to_string())?;
        check_equal(both.shape(), &[4, 6])?;
        check_equal(&both.read::<f32>().unwrap(), &x.read::<f32>().unwrap())?;
    }
    Ok(())
}

fn no_rows(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 0, 3]);
    check_equal(concat(&x, &x).map_err(|e| e.to_string())?.shape(), &[2, 0, 6])
}

fn x_without_axes(device: &Device) -> Verdict {
    let (x, y) = (Tensor::zeros::<f32>(device, &[]), Tensor::zeros::<f32>(device, &[1]));
    expect_error(concat(&x, &y), "`x` must be [.., columns], got []")
}

fn y_without_axes(device: &Device) -> Verdict {
    let (x, y) = (Tensor::zeros::<f32>(device, &[1]), Tensor::zeros::<f32>(device, &[]));
    expect_error(concat(&x, &y), "`y` must be [columns], got []")
}

fn rows(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3, 4]);
    for shape in [&[3, 2, 4][..], &[6, 4], &[2, 4]] {
        expect_error(concat(&x, &Tensor::zeros::<f32>(device, shape)), "`y` must be [2, 3, columns], got")?;
    }
    Ok(())
}

fn x_dtype(device: &Device) -> Verdict {
    let (x, y) = (Tensor::zeros::<i32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[2, 3]));
    expect_error(concat(&x, &y), "`x` must hold f32")
}

fn y_dtype(device: &Device) -> Verdict {
    let (x, y) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<u32>(device, &[2, 3]));
    expect_error(concat(&x, &y), "`y` must hold f32")
}
