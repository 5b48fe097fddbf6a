use super::{index_select, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Verdict, case, check_equal, cpu_case, expect_error, f16_case, f16_tensor, floats, gpu_case,
    small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("index_select/oracle/one_value", |d| against_oracle(d, &[1], 0, 1)),
        case("index_select/oracle/first_axis", |d| against_oracle(d, &[7, 5], 0, 9)),
        case("index_select/oracle/middle_axis", |d| against_oracle(d, &[3, 7, 5], 1, 4)),
        case("index_select/oracle/last_axis", |d| against_oracle(d, &[3, 7, 11], 2, 20)),
        case("index_select/oracle/five_axes", |d| against_oracle(d, &[2, 3, 4, 2, 3], 2, 5)),
        case("index_select/oracle/tokens", |d| against_oracle(d, &[100, 1024], 0, 33)),
        small_bindings_case("index_select/oracle/ranges", 2048, |d| against_oracle(d, &[50, 40], 0, 70)),
        f16_case("index_select/f16/odd_sizes", |d| {
            let (x, held) = f16_tensor(d, &[3, 7, 5], &normal("index_select/x", 105));
            check(&x, &held, 1, 9)
        }),
        case("index_select/property/index_types", index_types),
        case("index_select/property/empty", empty),
        gpu_case("index_select/property/out_of_range_is_no_number", out_of_range),
        cpu_case("index_select/error/out_of_range", refused),
        case("index_select/error/shapes", shapes),
        case("index_select/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn numbers(count: usize, extent: usize) -> Vec<i64> {
    let spread = uniform("index_select/index", count);
    spread.iter().map(|v| ((f64::from(*v) * 0.5 + 0.5) * extent as f64) as i64).collect()
}

fn check(x: &Tensor, held: &[f32], axis: usize, count: usize) -> Verdict {
    let shape = x.shape();
    let index = numbers(count, shape[axis]);
    let extents = [shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product()];
    let want = reference::index_select(held, extents, &index);
    let index = Tensor::new(&x.device(), &[count], index).map_err(text)?;
    let got = index_select(x, axis, &index).map_err(text)?;
    let mut expected = shape.to_vec();
    expected[axis] = count;
    check_equal(got.shape(), &expected)?;
    check_equal(&[got.dtype()], &[x.dtype()])?;
    check_equal(&floats(&got)?, &want)
}

fn against_oracle(device: &Device, shape: &[usize], axis: usize, count: usize) -> Verdict {
    let x = normal("index_select/x", shape.iter().product());
    check(&Tensor::new(device, shape, x.clone()).map_err(text)?, &x, axis, count)
}

fn index_types(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[4], vec![0f32, 1.0, 2.0, 3.0]).map_err(text)?;
    let index = [
        Tensor::new(device, &[3], vec![3i64, 0, 3]),
        Tensor::new(device, &[3], vec![3i32, 0, 3]),
        Tensor::new(device, &[3], vec![3u32, 0, 3]),
    ];
    for index in index {
        check_equal(&floats(&index_select(&x, 0, &index.map_err(text)?).map_err(text)?)?, &[3.0, 0.0, 3.0])?;
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[3, 4]);
    let none = Tensor::zeros::<i64>(device, &[0]);
    check_equal(index_select(&x, 1, &none).map_err(text)?.shape(), &[3, 0])?;
    let nothing = Tensor::zeros::<f32>(device, &[0, 4]);
    check_equal(index_select(&nothing, 0, &none).map_err(text)?.shape(), &[0, 4])?;
    let index = Tensor::new(device, &[2], vec![0i64, 3]).map_err(text)?;
    check_equal(index_select(&nothing, 1, &index).map_err(text)?.shape(), &[0, 2])
}

fn out_of_range(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[2, 2], vec![1f32, 2.0, 3.0, 4.0]).map_err(text)?;
    let index = Tensor::new(device, &[4], vec![1i64, 2, -1, 1 << 32]).map_err(text)?;
    let got = floats(&index_select(&x, 0, &index).map_err(text)?)?;
    check_equal(&got[..2], &[3.0, 4.0])?;
    check_equal(&got[2..].iter().map(|v| v.is_nan()).collect::<Vec<bool>>(), &[true; 6])
}

fn refused(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    for (number, said) in [(3i64, "below 3, got 3 at place 1"), (-1, "below 3, got -1 at place 1")] {
        let index = Tensor::new(device, &[3], vec![0, number, 9]).map_err(text)?;
        expect_error(index_select(&x, 1, &index), said)?;
    }
    Ok(())
}

fn shapes(device: &Device) -> Verdict {
    let (x, index) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<i64>(device, &[2, 1]));
    expect_error(index_select(&x, 0, &index), "`index` must be [count], got [2, 1]")?;
    let index = Tensor::zeros::<i64>(device, &[2]);
    expect_error(index_select(&x, 2, &index), "`axis` must be below the rank 2, got 2")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, index) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<f32>(device, &[2]));
    expect_error(index_select(&x, 0, &index), "`index` must hold i32, u32 or i64, got f32")?;
    let (x, index) = (Tensor::zeros::<u8>(device, &[2]), Tensor::zeros::<i64>(device, &[2]));
    expect_error(index_select(&x, 0, &index), "`x` must hold f32")
}
