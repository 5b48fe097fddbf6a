use super::{reference, sum};
use std::ops::Range;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::{normal, uniform};
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("sum/oracle/one_value", |d| against_oracle(d, &[1], 0..1)),
        case("sum/oracle/odd_sizes", odd_sizes),
        case("sum/oracle/long_row", |d| against_oracle(d, &[2, 70_001], 1..2)),
        case("sum/oracle/everything", |d| against_oracle(d, &[37, 41, 43], 0..3)),
        case("sum/oracle/tall_columns", |d| against_oracle(d, &[20_011, 5], 0..1)),
        case("sum/oracle/wide_columns", |d| against_oracle(d, &[3, 70_001], 0..1)),
        case("sum/oracle/around_a_part", around_a_part),
        case("sum/oracle/bias_of_a_layer", |d| against_oracle(d, &[768, 1024], 0..1)),
        small_bindings_case("sum/oracle/several_ranges", 4096, |d| {
            against_oracle(d, &[50, 3, 35], 1..2)?;
            against_oracle(d, &[50, 105], 1..2)
        }),
        f16_case("sum/f16/columns_and_rows", |d| {
            f16_against_oracle(d, &[3, 300, 5], 1..2)?;
            f16_against_oracle(d, &[3, 301], 1..2)?;
            f16_against_oracle(d, &[3, 7], 0..2)
        }),
        cpu_case("sum/f64/odd_sizes", |_| in_f64()),
        case("sum/property/values_that_cancel", values_that_cancel),
        case("sum/property/no_axes_change_nothing", no_axes_change_nothing),
        case("sum/property/nan_stays_in_its_column", nan_stays_in_its_column),
        case("sum/property/nothing_is_zero", nothing_is_zero),
        cpu_case("sum/property/threads_change_nothing", |_| threads_change_nothing()),
        case("sum/error/axes", wrong_axes),
        case("sum/error/dtype", wrong_dtype),
    ]
}

/// The extents before, of and behind the axes.
fn extents(shape: &[usize], axes: &Range<usize>) -> [usize; 3] {
    [&shape[..axes.start], &shape[axes.clone()], &shape[axes.end..]].map(|part| part.iter().product())
}

fn run(x: &Tensor, axes: Range<usize>) -> Result<Tensor, String> {
    let shape = [&x.shape()[..axes.start], &x.shape()[axes.end..]].concat();
    let y = sum(x, axes).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &shape)?;
    Ok(y)
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

fn against_oracle(device: &Device, shape: &[usize], axes: Range<usize>) -> Verdict {
    // Mostly positive, so that sums are as large as their terms say.
    let x: Vec<f32> = uniform("sum/x", shape.iter().product()).iter().map(|v| v + 0.5).collect();
    let want = reference::sum(&wide(&x), extents(shape, &axes));
    let got = floats(&run(&Tensor::new(device, shape, x).expect("a test's shape"), axes)?)?;
    check_close(&got, &want, Tolerance::OfLargest(5e-7))
}

fn odd_sizes(device: &Device) -> Verdict {
    for (start, end) in [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)] {
        against_oracle(device, &[5, 7, 37], start..end).map_err(|e| format!("{start}..{end}: {e}"))?;
    }
    Ok(())
}

fn around_a_part(device: &Device) -> Verdict {
    for n in [31, 32, 33, 127, 128, 129, 4095, 4096, 4097] {
        against_oracle(device, &[3, n], 1..2).map_err(|e| format!("a row of {n}: {e}"))?;
        against_oracle(device, &[n, 3], 0..1).map_err(|e| format!("columns of {n}: {e}"))?;
    }
    Ok(())
}

fn f16_against_oracle(device: &Device, shape: &[usize], axes: Range<usize>) -> Verdict {
    let (x, xs) = f16_tensor(device, shape, &normal("sum/x", shape.iter().product()));
    let want = reference::sum(&wide(&xs), extents(shape, &axes));
    let y = run(&x, axes)?;
    check_equal(&[y.dtype()], &[x.dtype()])?;
    check_close(&floats(&y)?, &want, Tolerance::OfLargest(5e-4))
}

fn in_f64() -> Verdict {
    for (shape, axes) in [(vec![5, 7, 37], 1..2), (vec![3, 1001], 1..2), (vec![1001, 3], 0..1)] {
        let x: Vec<f64> = wide(&normal("sum/x", shape.iter().product())).iter().map(|v| v / 3.0).collect();
        let want = reference::sum(&x, extents(&shape, &axes));
        let y = run(&Tensor::new(&Device::Cpu, &shape, x).expect("a test's shape"), axes)?;
        let got = y.read::<f64>().map_err(|e| e.to_string())?;
        let worst = got.iter().zip(&want).fold(0.0f64, |m, (g, w)| m.max((g - w).abs()));
        if worst > 1e-12 {
            return Err(format!("{shape:?}: off by {worst:e}"));
        }
    }
    Ok(())
}

/// The error is relative to the terms, not to what is left of them.
fn values_that_cancel(device: &Device) -> Verdict {
    let half = normal("sum/x", 3 * 500);
    let x: Vec<f32> =
        half.chunks(500).flat_map(|r| [r.to_vec(), r.iter().map(|v| -v).collect()].concat()).collect();
    let got = floats(&run(&Tensor::new(device, &[3, 1000], x).expect("3000 values"), 1..2)?)?;
    check_close(&got, &[0.0; 3], Tolerance::Absolute(500.0 * 3.0 * f64::from(f32::EPSILON)))
}

fn no_axes_change_nothing(device: &Device) -> Verdict {
    let x = normal("sum/x", 6);
    let tensor = Tensor::new(device, &[2, 3], x.clone()).expect("6 values");
    check_equal(&floats(&run(&tensor, 1..1)?)?, &x)
}

fn nan_stays_in_its_column(device: &Device) -> Verdict {
    let (mut rows, mut columns) = (vec![1.0; 3 * 100], vec![1.0; 100 * 3]);
    (rows[150], columns[151], columns[155]) = (f32::NAN, f32::INFINITY, 2.0);
    let rows = floats(&run(&Tensor::new(device, &[3, 100], rows).expect("300 values"), 1..2)?)?;
    let columns = floats(&run(&Tensor::new(device, &[100, 3], columns).expect("300 values"), 0..1)?)?;
    check_equal(
        &[rows[0], rows[2], columns[0], columns[1], columns[2]],
        &[100.0, 100.0, 100.0, f32::INFINITY, 101.0],
    )?;
    check_equal(&[rows[1].is_nan()], &[true])
}

fn nothing_is_zero(device: &Device) -> Verdict {
    for (shape, axes, want) in
        [(vec![2, 0], 1..2, vec![0.0; 2]), (vec![0, 3], 0..1, vec![0.0; 3]), (vec![0, 3], 1..2, vec![])]
    {
        check_equal(&floats(&run(&Tensor::zeros::<f32>(device, &shape), axes)?)?, &want)?;
    }
    Ok(())
}

fn threads_change_nothing() -> Verdict {
    let x = Tensor::new(&Device::Cpu, &[2, 300_001], normal("sum/x", 600_002)).expect("as many values");
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
        pool.install(|| Ok::<_, String>([floats(&run(&x, 1..2)?)?, floats(&run(&x, 0..1)?)?].concat()))
    };
    check_equal(&on(7)?, &on(1)?)
}

fn wrong_axes(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[2, 3]);
    expect_error(sum(&x, 1..3), "`axes` must be within 0..2, got 1..3")?;
    expect_error(sum(&x, Range { start: 2, end: 1 }), "`axes` must be within 0..2, got 2..1")
}

fn wrong_dtype(device: &Device) -> Verdict {
    expect_error(sum(&Tensor::zeros::<u32>(device, &[2]), 0..1), "`x` must hold f32")
}
