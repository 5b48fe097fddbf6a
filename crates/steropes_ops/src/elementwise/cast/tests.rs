use super::cast;
use half::f16;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{Case, Needs, Verdict, case, check_equal, expect_error};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        conversion("cast/oracle/every_f16_to_f32", every_f16_to_f32),
        conversion("cast/oracle/between_all_f16", between_all_f16),
        conversion("cast/oracle/odd_sizes", odd_sizes),
        conversion("cast/oracle/several_tasks", several_tasks),
        conversion("cast/property/there_and_back", |d| there_and_back(d, [3, 37])),
        conversion("cast/property/full_workgroups", |d| there_and_back(d, [3, 8192])),
        conversion("cast/property/nothing", nothing),
        case("cast/property/same_dtype_shares_memory", same_dtype_shares_memory),
        case("cast/error/x_dtype", |d| {
            expect_error(
                cast(&Tensor::zeros::<i32>(d, &[2]), DType::F32),
                "`x` must hold f32 or f16, got i32",
            )
        }),
        case("cast/error/dtype", |d| {
            expect_error(
                cast(&Tensor::zeros::<f32>(d, &[2]), DType::U8),
                "`dtype` must be f32 or f16, got u8",
            )
        }),
    ]
}

/// A case for the CPU and for GPUs with f16.
fn conversion(name: &'static str, run: fn(&Device) -> Verdict) -> Case {
    case(name, move |d| if d.gpu().is_none() || Needs::F16.met_by(d) { run(d) } else { Ok(()) })
}

/// The bits of the nearest f16, by the exact distance to every candidate.
fn nearest(x: f32) -> u16 {
    if x.is_nan() {
        return 0x7e00;
    }
    let size = f64::from(x).abs();
    // The largest finite value is followed by 65536, which stands for infinity.
    let value = |h: u16| if h == 0x7c00 { 65536.0 } else { f16::from_bits(h).to_f64() };
    let above = (0..15).rev().fold(0u16, |h, bit| {
        let next = h | 1 << bit;
        if next <= 0x7c00 && value(next) <= size { next } else { h }
    });
    let (low, high) = (above, (above + 1).min(0x7c00));
    let (down, up) = (size - value(low), value(high) - size);
    let chosen = if up < down || (up == down && low % 2 == 1) { high } else { low };
    chosen | if x.is_sign_negative() { 0x8000 } else { 0 }
}

fn halves(device: &Device, x: &[f32]) -> Result<Vec<u16>, String> {
    let tensor = Tensor::new(device, &[x.len()], x.to_vec()).expect("one axis");
    let y = cast(&tensor, DType::F16).map_err(|e| e.to_string())?;
    let bits = |h: f16| if h.is_nan() { 0x7e00 } else { h.to_bits() };
    Ok(y.read::<f16>().map_err(|e| e.to_string())?.into_iter().map(bits).collect())
}

fn every_f16_to_f32(device: &Device) -> Verdict {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let x = Tensor::new(device, &[65536], all.clone()).expect("one axis");
    let y = cast(&x, DType::F32).map_err(|e| e.to_string())?.read::<f32>().map_err(|e| e.to_string())?;
    let exact = |h: f16| -> f32 {
        let (exponent, fraction) = (i32::from(h.to_bits() >> 10 & 31), f64::from(h.to_bits() & 1023));
        let size = match exponent {
            0 => fraction * 2f64.powi(-24),
            31 if fraction == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
        };
        if h.to_bits() >> 15 == 1 { -size as f32 } else { size as f32 }
    };
    for (h, got) in all.into_iter().zip(y) {
        let want = exact(h);
        if got.to_bits() != want.to_bits() && !(got.is_nan() && want.is_nan()) {
            return Err(format!("{:#06x}: got {got}, want {want}", h.to_bits()));
        }
    }
    Ok(())
}

/// Every f16, the middle to the next, and the numbers beside both.
fn between_all_f16(device: &Device) -> Verdict {
    let mut x =
        vec![f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e30, -1e-30, f32::MIN_POSITIVE, 65520.0, 65519.996];
    for h in 0..0x7c00u16 {
        let (low, high) = (f16::from_bits(h).to_f32(), f16::from_bits(h + 1).to_f32());
        let middle = if h == 0x7bff { 65520.0 } else { f32::midpoint(low, high) };
        x.extend([low, middle, middle.next_up(), middle.next_down()]);
        x.extend([-low, -middle]);
    }
    let want: Vec<u16> = x.iter().map(|&x| nearest(x)).collect();
    check_equal(&halves(device, &x)?, &want)
}

fn odd_sizes(device: &Device) -> Verdict {
    for len in [1, 2, 3, 5, 105] {
        let x = normal("cast/x", len);
        check_equal(&halves(device, &x)?, &x.iter().map(|&x| nearest(x)).collect::<Vec<_>>())?;
    }
    Ok(())
}

fn several_tasks(device: &Device) -> Verdict {
    let x = normal("cast/x", 97 * 1013);
    check_equal(&halves(device, &x)?, &x.iter().map(|&x| nearest(x)).collect::<Vec<_>>())
}

fn there_and_back(device: &Device, shape: [usize; 2]) -> Verdict {
    let len = shape.iter().product();
    let x: Vec<f32> = normal("cast/x", len).into_iter().map(|v| f16::from_f32(v).to_f32()).collect();
    let tensor = Tensor::new(device, &shape, x.clone()).expect("a test's shape fits its values");
    let back = cast(&tensor, DType::F16).and_then(|h| cast(&h, DType::F32)).map_err(|e| e.to_string())?;
    check_equal(back.shape(), &shape)?;
    check_equal(&back.read::<f32>().map_err(|e| e.to_string())?, &x)
}

fn nothing(device: &Device) -> Verdict {
    let y = cast(&Tensor::zeros::<f32>(device, &[2, 0]), DType::F16).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &[2, 0])?;
    check_equal(&[y.dtype()], &[DType::F16])
}

fn same_dtype_shares_memory(device: &Device) -> Verdict {
    let x = Tensor::zeros::<f32>(device, &[3]);
    let y = cast(&x, DType::F32).map_err(|e| e.to_string())?;
    check_equal(&[y.is_unshared()], &[false])
}
