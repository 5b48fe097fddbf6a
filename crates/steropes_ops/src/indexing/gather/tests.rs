use super::{gather, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Verdict, case, check_equal, cpu_case, expect_error, f16_case, f16_tensor, floats, gpu_case,
    small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("gather/oracle/one_value", |d| against_oracle(d, &[1], &[1], 0)),
        case("gather/oracle/one_axis", |d| against_oracle(d, &[100], &[333], 0)),
        case("gather/oracle/first_axis", |d| against_oracle(d, &[7, 5], &[9, 5], 0)),
        case("gather/oracle/shorter_index", |d| against_oracle(d, &[7, 5, 6], &[4, 8, 3], 1)),
        case("gather/oracle/last_axis", |d| against_oracle(d, &[3, 7, 11], &[3, 7, 2], 2)),
        case("gather/oracle/four_axes", |d| against_oracle(d, &[3, 4, 5, 6], &[2, 3, 9, 5], 2)),
        case("gather/oracle/axes_that_lie_alike", |d| {
            against_oracle(d, &[2, 3, 2, 3, 2], &[2, 3, 4, 3, 2], 2)
        }),
        case("gather/oracle/only_leading_axis_shorter", |d| {
            against_oracle(d, &[4, 3, 5, 2], &[2, 3, 5, 7], 3)
        }),
        small_bindings_case("gather/oracle/ranges", 2048, |d| against_oracle(d, &[40, 50], &[60, 45], 0)),
        f16_case("gather/f16/odd_sizes", |d| {
            let (x, held) = f16_tensor(d, &[3, 7, 5], &normal("gather/x", 105));
            check(&x, &held, &[2, 9, 5], 1)
        }),
        case("gather/property/empty", empty),
        gpu_case("gather/property/out_of_range_is_no_number", out_of_range),
        gpu_case("gather/error/too_many_axes", too_many_axes),
        cpu_case("gather/error/out_of_range", refused),
        case("gather/error/shapes", shapes),
        case("gather/error/dtypes", dtypes),
    ]
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn check(x: &Tensor, held: &[f32], shape: &[usize], axis: usize) -> Verdict {
    let extent = x.shape()[axis] as f64;
    let spread = uniform("gather/index", shape.iter().product());
    let index: Vec<i64> = spread.iter().map(|v| ((f64::from(*v) * 0.5 + 0.5) * extent) as i64).collect();
    let want: Vec<f32> =
        reference::offsets(x.shape(), shape, axis, &index).into_iter().map(|at| held[at]).collect();
    let short: Vec<i32> = index.iter().map(|&i| i as i32).collect();
    for index in [Tensor::new(&x.device(), shape, index), Tensor::new(&x.device(), shape, short)] {
        let got = gather(x, axis, &index.map_err(text)?).map_err(text)?;
        check_equal(got.shape(), shape)?;
        check_equal(&[got.dtype()], &[x.dtype()])?;
        check_equal(&floats(&got)?, &want)?;
    }
    Ok(())
}

fn against_oracle(device: &Device, x_shape: &[usize], shape: &[usize], axis: usize) -> Verdict {
    let x = normal("gather/x", x_shape.iter().product());
    check(&Tensor::new(device, x_shape, x.clone()).map_err(text)?, &x, shape, axis)
}

fn empty(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[3, 4]);
    for shape in [[0, 4], [3, 0]] {
        let index = Tensor::zeros::<i64>(device, &shape);
        check_equal(gather(&x, 0, &index).map_err(text)?.shape(), &shape)?;
    }
    let nothing = Tensor::zeros::<f32>(device, &[0, 4]);
    check_equal(gather(&nothing, 0, &Tensor::zeros::<i64>(device, &[0, 2])).map_err(text)?.shape(), &[0, 2])
}

fn out_of_range(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[2, 2], vec![1f32, 2.0, 3.0, 4.0]).map_err(text)?;
    let index = Tensor::new(device, &[2, 2], vec![1i64, 2, -1, 0]).map_err(text)?;
    let got = floats(&gather(&x, 0, &index).map_err(text)?)?;
    check_equal(&[got[0], got[3]], &[3.0, 2.0])?;
    check_equal(&[got[1].is_nan(), got[2].is_nan()], &[true; 2])?;
    let nothing = Tensor::zeros::<f32>(device, &[0, 2]);
    check_equal(&[floats(&gather(&nothing, 0, &index).map_err(text)?)?.iter().all(|v| v.is_nan())], &[true])
}

fn too_many_axes(device: &Device) -> Verdict {
    let (x, index) = (Tensor::zeros::<f32>(device, &[3; 5]), Tensor::zeros::<i64>(device, &[2; 5]));
    expect_error(gather(&x, 4, &index), "5 runs of axes around the index, not more than 4")
}

fn refused(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let index = Tensor::new(device, &[1, 3], vec![0i64, 1, 2]).map_err(text)?;
    expect_error(gather(&x, 0, &index), "`index` must be numbers from 0 to below 2, got 2 at place 2")
}

fn shapes(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    let said = "`index` must be at most [2, 3] along all axes but axis 0";
    expect_error(gather(&x, 0, &Tensor::zeros::<i64>(device, &[2])), said)?;
    expect_error(gather(&x, 0, &Tensor::zeros::<i64>(device, &[2, 4])), said)?;
    expect_error(gather(&x, 2, &Tensor::zeros::<i64>(device, &[2, 3])), "`axis` must be below the rank 2")
}

fn dtypes(device: &Device) -> Verdict {
    let (x, index) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<u8>(device, &[2]));
    expect_error(gather(&x, 0, &index), "`index` must hold i32, u32 or i64, got u8")?;
    let (x, index) = (Tensor::zeros::<i32>(device, &[2]), Tensor::zeros::<i64>(device, &[2]));
    expect_error(gather(&x, 0, &index), "`x` must hold f32")
}
