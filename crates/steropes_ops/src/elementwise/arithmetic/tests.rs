use super::{div, mul, reference, scale, sub};
use crate::OpError;
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, f16_case, f16_tensor,
    floats, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("arithmetic/oracle/one_value", |d| against_oracle(d, &[1])),
        case("arithmetic/oracle/no_axes", |d| against_oracle(d, &[])),
        case("arithmetic/oracle/odd_sizes", |d| against_oracle(d, &[3, 5, 7])),
        case("arithmetic/oracle/rows_of_packs", |d| against_oracle(d, &[5, 3, 24])),
        case("arithmetic/oracle/several_tasks", |d| against_oracle(d, &[97, 1013])),
        case("arithmetic/oracle/full_workgroups", |d| against_oracle(d, &[3, 8192])),
        case("arithmetic/oracle/wide_row", |d| against_oracle(d, &[2, 40_000])),
        cpu_case("arithmetic/f64/odd_sizes", |_| in_f64(&[3, 5, 7])),
        cpu_case("arithmetic/f64/several_tasks", |_| in_f64(&[97, 1013])),
        f16_case("arithmetic/f16/odd_sizes", |d| f16_against_oracle(d, &[3, 5, 7])),
        f16_case("arithmetic/f16/rows_of_packs", |d| f16_against_oracle(d, &[3, 5, 64])),
        small_bindings_case("arithmetic/oracle/several_ranges", 8192, |d| against_oracle(d, &[97, 36])),
        case("arithmetic/property/shared_memory_is_not_changed", shared_memory_is_not_changed),
        case("arithmetic/property/nan_and_infinity_stay", nan_and_infinity_stay),
        case("arithmetic/property/nothing", nothing),
        case("arithmetic/error/shape", shape),
        case("arithmetic/error/dtype", dtype),
        gpu_case("arithmetic/error/devices_differ", |d| {
            let (x, y) = (Tensor::zeros::<f32>(d, &[3]), Tensor::zeros::<f32>(&Device::Cpu, &[3]));
            expect_error(mul(x, &y), "`y` must be on")
        }),
    ]
}

type Op = fn(Tensor, &Tensor) -> Result<Tensor, OpError>;

/// What an op does with two values.
type Formula = fn(f64, f64) -> f64;

const OPS: [(&str, Op, Formula); 3] =
    [("mul", mul, |x, y| x * y), ("sub", sub, |x, y| x - y), ("div", div, |x, y| x / y)];

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// The shapes that the right operand may have beside `shape`.
fn right_shapes(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut shapes = vec![shape.to_vec(), vec![], vec![1]];
    shapes.extend(shape.last().map(|&width| vec![width]));
    shapes
}

fn run(op: Op, x: Tensor, y: &Tensor) -> Result<Tensor, String> {
    let shape = x.shape().to_vec();
    let result = op(x, y).map_err(|e| e.to_string())?;
    check_equal(result.shape(), &shape)?;
    Ok(result)
}

fn tolerance(device: &Device, name: &str) -> Tolerance {
    if device.gpu().is_some() && name == "div" { Tolerance::Ulps(3) } else { Tolerance::Exact }
}

fn against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let x = normal("arithmetic/x", shape.iter().product());
    let tensor = |shape: &[usize], values: &[f32]| {
        Tensor::new(device, shape, values.to_vec()).expect("a test's shape fits its values")
    };
    for right in right_shapes(shape) {
        let y = normal("arithmetic/y", right.iter().product());
        for (name, op, f) in OPS {
            let want = reference::combine(f, &wide(&x), &wide(&y));
            let (left, right) = (tensor(shape, &x), tensor(&right, &y));
            let apart = floats(&run(op, left.clone(), &right)?)?;
            check_close(&apart, &want, tolerance(device, name))
                .map_err(|e| format!("{name} {right:?}: {e}"))?;
            check_equal(&floats(&run(op, left, &right)?)?, &apart)?;
        }
    }
    let want = reference::combine(|x, y| x * y, &wide(&x), &[-0.375]);
    let left = tensor(shape, &x);
    let apart = floats(&scale(left.clone(), -0.375).map_err(|e| e.to_string())?)?;
    check_close(&apart, &want, Tolerance::Exact)?;
    check_equal(&floats(&scale(left, -0.375).map_err(|e| e.to_string())?)?, &apart)
}

fn in_f64(shape: &[usize]) -> Verdict {
    let values =
        |name, count| normal(name, count).into_iter().map(|v| f64::from(v) / 3.0).collect::<Vec<_>>();
    let tensor = |shape: &[usize], values: &[f64]| {
        Tensor::new(&Device::Cpu, shape, values.to_vec()).expect("a test's shape fits its values")
    };
    let x = values("arithmetic/x", shape.iter().product());
    for right in right_shapes(shape) {
        let y = values("arithmetic/y", right.iter().product());
        for (_, op, f) in OPS {
            let result = run(op, tensor(shape, &x), &tensor(&right, &y))?;
            let got = result.read::<f64>().map_err(|e| e.to_string())?;
            check_equal(&got, &reference::combine(f, &x, &y))?;
        }
    }
    let got = scale(tensor(shape, &x), 1.0 / 3.0).and_then(|y| Ok(y.read::<f64>()?));
    let want = reference::combine(|x, y| x * y, &x, &[1.0 / 3.0]);
    check_equal(&got.map_err(|e| e.to_string())?, &want)
}

fn f16_against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    for right in right_shapes(shape) {
        let (x, xs) = f16_tensor(device, shape, &normal("arithmetic/x", shape.iter().product()));
        // Away from zero, so that quotients stay within f16.
        let divisors: Vec<f32> = normal("arithmetic/y", right.iter().product())
            .into_iter()
            .map(|v| v + 0.5f32.copysign(v))
            .collect();
        let (y, ys) = f16_tensor(device, &right, &divisors);
        for (name, op, f) in OPS {
            let want = reference::combine(f, &wide(&xs), &wide(&ys));
            check_close(&floats(&run(op, x.clone(), &y)?)?, &want, Tolerance::OfLargest(5e-4))
                .map_err(|e| format!("{name} {right:?}: {e}"))?;
        }
        let want = reference::combine(|x, y| x * y, &wide(&xs), &[0.3]);
        let got = floats(&scale(x, 0.3).map_err(|e| e.to_string())?)?;
        check_close(&got, &want, Tolerance::OfLargest(5e-4))?;
    }
    Ok(())
}

fn shared_memory_is_not_changed(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[5, 9], normal("arithmetic/x", 45)).expect("45 values");
    let before = floats(&x)?;
    for (_, op, _) in OPS {
        run(op, x.clone(), &x)?;
    }
    scale(x.clone(), 2.0).map_err(|e| e.to_string())?;
    check_equal(&floats(&x)?, &before)
}

fn nan_and_infinity_stay(device: &Device) -> Verdict {
    let x = Tensor::new(device, &[5], vec![1.0, f32::NAN, f32::INFINITY, -2.0, 0.0]).expect("5 values");
    let y = Tensor::new(device, &[5], vec![f32::NAN, 1.0, 2.0, f32::INFINITY, 1.0]).expect("5 values");
    let product = floats(&run(mul, x, &y)?)?;
    let classes: Vec<[bool; 2]> = product.iter().map(|v| [v.is_nan(), v.is_infinite()]).collect();
    let [nan, infinite, finite] = [[true, false], [false, true], [false, false]];
    check_equal(&classes, &[nan, nan, infinite, infinite, finite])
}

fn nothing(device: &Device) -> Verdict {
    for (shape, right) in
        [(vec![2, 0], vec![2, 0]), (vec![2, 0], vec![0]), (vec![0, 3], vec![3]), (vec![0], vec![])]
    {
        let (x, y) = (Tensor::zeros::<f32>(device, &shape), Tensor::zeros::<f32>(device, &right));
        for (_, op, _) in OPS {
            check_equal(&floats(&run(op, x.clone(), &y)?)?, &[])?;
        }
        check_equal(&floats(&scale(x, 2.0).map_err(|e| e.to_string())?)?, &[])?;
    }
    Ok(())
}

fn shape(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(
        mul(zeros(&[2, 3]), &zeros(&[3, 2])),
        "elementwise::mul: `y` must be [2, 3], [3] or [], got [3, 2]",
    )?;
    expect_error(
        sub(zeros(&[2, 3]), &zeros(&[2])),
        "elementwise::sub: `y` must be [2, 3], [3] or [], got [2]",
    )?;
    expect_error(div(zeros(&[]), &zeros(&[2])), "elementwise::div: `y` must be [] or [], got [2]")
}

fn dtype(device: &Device) -> Verdict {
    let (x, whole) = (Tensor::zeros::<f32>(device, &[2]), Tensor::zeros::<u32>(device, &[2]));
    expect_error(mul(x.clone(), &whole), "`y` must hold f32")?;
    expect_error(mul(whole.clone(), &x), "`x` must hold f32")?;
    expect_error(scale(whole, 2.0), "`x` must hold f32")?;
    if device.gpu().is_none() {
        expect_error(mul(x, &Tensor::zeros::<f64>(device, &[2])), "`y` must hold f32 as the first argument")?;
    }
    Ok(())
}
