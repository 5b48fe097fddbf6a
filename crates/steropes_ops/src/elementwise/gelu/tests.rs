use super::{gelu, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, expect_error, f16_case, f16_tensor, floats,
    gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("gelu/oracle/one_value", |d| against_oracle(d, &[1], 1.0)),
        case("gelu/oracle/odd_sizes", |d| against_oracle(d, &[3, 5, 7], 2.0)),
        case("gelu/oracle/several_tasks", |d| against_oracle(d, &[97, 1013], 1.0)),
        case("gelu/oracle/full_workgroups", |d| against_oracle(d, &[3, 8192], 1.0)),
        case("gelu/oracle/from_minus_8_to_8", whole_range),
        case("gelu/oracle/near_0", near_0),
        f16_case("gelu/f16/odd_sizes", |d| f16_against_oracle(d, &[3, 5, 7])),
        f16_case("gelu/f16/full_workgroups", |d| f16_against_oracle(d, &[3, 8192])),
        f16_case("gelu/f16/tiny_hidden", |d| f16_against_oracle(d, &[48, 1024])),
        case("gelu/property/large_values", large_values),
        case("gelu/property/nan_stays_nan", |d| nan_stays(d, false)),
        f16_case("gelu/f16/nan_stays_nan", |d| nan_stays(d, true)),
        case("gelu/property/shared_memory_is_not_changed", shared_memory_is_not_changed),
        case("gelu/property/nothing", |d| check_equal(&run(Tensor::zeros::<f32>(d, &[2, 0]))?, &[])),
        gpu_case("gelu/property/longer_than_a_binding", longer_than_a_binding),
        case("gelu/error/dtype", |d| {
            expect_error(gelu(Tensor::zeros::<u8>(d, &[2])), "elementwise::gelu: `x` must hold f32")
        }),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn run(x: Tensor) -> Result<Vec<f32>, String> {
    let shape = x.shape().to_vec();
    let y = gelu(x).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &shape)?;
    floats(&y)
}

/// The result in memory of its own and that over the argument, which must be the same.
fn run_both(x: Tensor) -> Result<Vec<f32>, String> {
    let apart = run(x.clone())?;
    check_equal(&run(x)?, &apart)?;
    Ok(apart)
}

fn against_oracle(device: &Device, shape: &[usize], spread: f32) -> Verdict {
    let x: Vec<f32> = normal("gelu/x", shape.iter().product()).iter().map(|v| v * spread).collect();
    let want = reference::gelu(&x);
    check_close(&run_both(tensor(device, shape, x))?, &want, Tolerance::Absolute(7e-7))
}

/// Of either sign, and of no other value.
fn nan_stays(device: &Device, half: bool) -> Verdict {
    let mut x = normal("gelu/x", 1000);
    for (i, place) in [3, 64, 501, 999].into_iter().enumerate() {
        x[place] = if i % 2 == 0 { f32::NAN } else { -f32::NAN };
    }
    let x_tensor = if half { f16_tensor(device, &[1000], &x).0 } else { tensor(device, &[1000], x.clone()) };
    let got: Vec<bool> = run_both_bits(x_tensor)?.iter().map(|y| y.is_nan()).collect();
    check_equal(&got, &x.iter().map(|x| x.is_nan()).collect::<Vec<_>>())
}

/// As [`run_both`], where some are not numbers.
fn run_both_bits(x: Tensor) -> Result<Vec<f32>, String> {
    let apart = run(x.clone())?;
    let over = run(x)?;
    let same = apart.iter().zip(&over).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
    if same { Ok(apart) } else { Err("over the argument it is another result".to_owned()) }
}

fn whole_range(device: &Device) -> Verdict {
    let x: Vec<f32> = (0..=32_000).map(|i| i as f32 / 2000.0 - 8.0).collect();
    let want = reference::gelu(&x);
    check_close(&run(tensor(device, &[x.len()], x))?, &want, Tolerance::Absolute(7e-7))
}

/// Relative to the value itself: 17 of 2^-23 are 2e-6.
fn near_0(device: &Device) -> Verdict {
    let x: Vec<f32> = (1..=1000).flat_map(|i| [i as f32 * 1e-6, i as f32 * -1e-6]).collect();
    let want = reference::gelu(&x);
    check_close(&run(tensor(device, &[x.len()], x))?, &want, Tolerance::Ulps(17))
}

fn f16_against_oracle(device: &Device, shape: &[usize]) -> Verdict {
    let (x, rounded) = f16_tensor(device, shape, &normal("gelu/x", shape.iter().product()));
    let (got, want) = (run_both(x)?, reference::gelu(&rounded));
    // The nearest f16, of what is within the bound for f32.
    let near = |(&got, &want): (&f32, &f64)| (f64::from(got) - want).abs() <= want.abs() / 2040.0 + 1e-6;
    match got.iter().zip(&want).position(|pair| !near(pair)) {
        None => Ok(()),
        Some(i) => Err(format!("element {i}: got {}, want {}", got[i], want[i])),
    }
}

fn large_values(device: &Device) -> Verdict {
    let x = vec![-1e30f32, -40.0, 0.0, 40.0, 1e30];
    let y = run(tensor(device, &[5], x))?;
    check_equal(&y[2..], &[0.0, 40.0, 1e30])?;
    check_close(&y[..2], &[0.0, 0.0], Tolerance::Absolute(1e-10))
}

fn shared_memory_is_not_changed(device: &Device) -> Verdict {
    let x = tensor(device, &[45], normal("gelu/x", 45));
    let before = x.read::<f32>().unwrap();
    run(x.clone())?;
    check_equal(&x.read::<f32>().unwrap(), &before)
}

/// Values that repeat, so that every part of a tensor that is split must come out as the first.
fn longer_than_a_binding(device: &Device) -> Verdict {
    let limit = device.gpu().expect("a GPU case").capabilities().max_binding_bytes;
    if limit > 1 << 28 {
        return Ok(()); // Too much memory for a test; devices with small bindings show the same code.
    }
    let period = normal("gelu/x", 1009);
    let count = limit as usize / 4 / 1009 + 3;
    let got = run(tensor(device, &[count, 1009], period.repeat(count)))?;
    let want = run(tensor(device, &[1009], period))?;
    match got.chunks_exact(1009).position(|part| part != want) {
        None => Ok(()),
        Some(part) => Err(format!("part {part} of {count} differs from the first")),
    }
}
