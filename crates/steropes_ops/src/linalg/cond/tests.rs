use super::{CondNorm, cond, reference};
use crate::linalg::dense::testing::{
    check_within, done, precisions, random, read, same_on_any_threads, tensor,
};
use crate::linalg::solve::inv;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{
    Case, Verdict, case, check_equal, cpu_case, expect_error, gpu_case, small_bindings_case,
};

/// Those that need square matrices.
const SQUARE: [CondNorm; 6] =
    [CondNorm::One, CondNorm::MinusOne, CondNorm::Inf, CondNorm::MinusInf, CondNorm::Fro, CondNorm::Nuc];

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("cond/oracle/shapes", against_oracle),
        case("cond/oracle/large", large),
        case("cond/oracle/batches", batches),
        case("cond/property/singular", singular),
        case("cond/property/scale", scale),
        case("cond/property/no_elements", no_elements),
        case("cond/property/not_finite", not_finite),
        cpu_case("cond/property/threads", threads),
        cpu_case("cond/error/not_finite", refused_on_cpu),
        gpu_case("cond/property/not_finite_values", not_finite_values),
        small_bindings_case("cond/property/many_bindings", 1024, many_bindings),
        small_bindings_case("cond/error/bindings", 1024, too_long),
        case("cond/property/names", names),
        case("cond/error/arguments", arguments),
    ]
}

/// The values of a condition.
fn values(a: &Tensor, p: CondNorm) -> Result<Vec<f64>, String> {
    read(&done(cond(a, p))?)
}

fn against_oracle(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        for [m, n] in [[1, 1], [2, 2], [3, 3], [5, 5], [16, 16], [33, 33], [40, 40], [2, 5], [12, 9]] {
            // Columns and rows of different sizes, so that norms differ.
            let mut a = random("a", m * n);
            for (e, x) in a.iter_mut().enumerate() {
                *x = (*x + if e / n == e % n { n as f64 } else { 0.0 })
                    * (1.0 + (e % n) as f64 / n as f64)
                    * (1.0 + (e / n) as f64 / m as f64);
            }
            let (x, held) = tensor(device, dtype, &[m, n], &a);
            for p in CondNorm::ALL {
                if m != n && SQUARE.contains(&p) {
                    continue;
                }
                let want = reference::cond(&held, [m, n], p);
                let conditioned = 30.0 * eps * n as f64 * want.max(1.0 / want);
                check_within(&format!("{p} of {m}x{n} {dtype:?}"), &values(&x, p)?, &[want], |_| {
                    conditioned
                })?;
            }
        }
    }
    Ok(())
}

/// More columns than invocations of a workgroup; inverses have cases of their own.
fn large(device: &Device) -> Verdict {
    for n in [140, 300] {
        let mut a = random("a", n * n);
        for (e, x) in a.iter_mut().enumerate() {
            let (i, j) = (e / n, e % n);
            *x = (*x + if i == j { n as f64 } else { 0.0 }) * (1.0 + (i + 2 * j) as f64 / n as f64);
        }
        let (x, held) = tensor(device, DType::F32, &[n, n], &a);
        let inverse = read(&done(inv(&x))?)?;
        for p in SQUARE.into_iter().filter(|&p| p != CondNorm::Nuc) {
            let want = reference::norm(&held, n, p) * reference::norm(&inverse, n, p);
            check_within(&format!("{p} of {n}"), &values(&x, p)?, &[want], |_| 3e-6 * want)?;
        }
    }
    Ok(())
}

fn batches(device: &Device) -> Verdict {
    for n in [1, 3, 20] {
        let mut a = random("a", 2 * 37 * n * n);
        for matrix in a.chunks_exact_mut(n * n) {
            matrix.iter_mut().step_by(n + 1).for_each(|x| *x += 2.0 * n as f64);
        }
        let (x, held) = tensor(device, DType::F32, &[2, 37, n, n], &a);
        for p in CondNorm::ALL {
            check_equal(done(cond(&x, p))?.shape(), &[2, 37])?;
            let want: Vec<f64> = held.chunks_exact(n * n).map(|a| reference::cond(a, [n, n], p)).collect();
            check_within(&format!("{p} of {n}x{n}"), &values(&x, p)?, &want, |i| 1e-4 * want[i])?;
        }
    }
    Ok(())
}

/// Only the matrix that is singular has an infinite condition.
fn singular(device: &Device) -> Verdict {
    for (dtype, _) in precisions(device) {
        // A row of zeros, all zeros, two equal rows.
        for none in [[3.0, 1.0, 0.0, 0.0], [0.0; 4], [1.0, 2.0, 1.0, 2.0]] {
            let (x, _) = tensor(
                device,
                dtype,
                &[3, 2, 2],
                &[&[1.0, 0.0, 0.0, 1.0], &none[..], &[2.0, 0.0, 0.0, 1.0]].concat(),
            );
            for p in CondNorm::ALL {
                let got = values(&x, p)?;
                if matches!(p, CondNorm::Two | CondNorm::MinusTwo | CondNorm::Nuc) && none[3] == 2.0 {
                    // The rounding of a singular value decides; it is large at least.
                    let large = if p == CondNorm::MinusTwo { 1.0 / got[1] } else { got[1] };
                    check_equal(&[large > 1e6], &[true])?;
                } else {
                    let want = if p == CondNorm::MinusTwo { 0.0 } else { f64::INFINITY };
                    check_equal(&got[1..2], &[want])?;
                }
                check_equal(&[got[0].is_finite(), got[2].is_finite()], &[true; 2])?;
            }
        }
    }
    Ok(())
}

/// Powers of two change nothing, even where squares would overflow or vanish.
fn scale(device: &Device) -> Verdict {
    let a: Vec<f64> =
        random("a", 25).iter().enumerate().map(|(e, x)| x + if e % 6 == 0 { 5.0 } else { 0.0 }).collect();
    for p in CondNorm::ALL {
        let at = |factor: f64| {
            let scaled: Vec<f64> = a.iter().map(|x| x * factor).collect();
            values(&tensor(device, DType::F32, &[5, 5], &scaled).0, p)
        };
        let plain = at(1.0)?;
        for exponent in [90, -90] {
            check_within(&format!("{p}, 2^{exponent}"), &at(2f64.powi(exponent))?, &plain, |_| {
                1e-5 * plain[0]
            })?;
        }
    }
    Ok(())
}

fn no_elements(device: &Device) -> Verdict {
    for p in CondNorm::ALL {
        check_equal(&values(&Tensor::zeros::<f32>(device, &[3, 0, 0]), p)?, &[0.0; 3])?;
        check_equal(&values(&Tensor::zeros::<f32>(device, &[0, 2, 2]), p)?, &[])?;
    }
    check_equal(&values(&Tensor::zeros::<f32>(device, &[2, 0, 3]), CondNorm::Two)?, &[0.0; 2])
}

fn with_nan(device: &Device) -> Tensor {
    let mut a = random("a", 3 * 16);
    a[21] = f64::NAN;
    tensor(device, DType::F32, &[3, 4, 4], &a).0
}

fn not_finite(device: &Device) -> Verdict {
    for p in SQUARE.into_iter().filter(|&p| p != CondNorm::Nuc) {
        let got: Vec<bool> = values(&with_nan(device), p)?.iter().map(|x| x.is_nan()).collect();
        check_equal(&got, &[false, true, false]).map_err(|e| format!("{p}: {e}"))?;
    }
    Ok(())
}

fn not_finite_values(device: &Device) -> Verdict {
    for p in [CondNorm::Two, CondNorm::MinusTwo, CondNorm::Nuc] {
        let got: Vec<bool> = values(&with_nan(device), p)?.iter().map(|x| x.is_nan()).collect();
        check_equal(&got, &[false, true, false]).map_err(|e| format!("{p}: {e}"))?;
    }
    Ok(())
}

fn refused_on_cpu(device: &Device) -> Verdict {
    for p in [CondNorm::Two, CondNorm::MinusTwo, CondNorm::Nuc] {
        expect_error(cond(&with_nan(device), p), "linalg::cond: matrix [1] of `a` holds NaN")?;
    }
    Ok(())
}

fn threads(device: &Device) -> Verdict {
    let (x, _) = tensor(device, DType::F32, &[900, 3, 3], &random("a", 8100));
    for p in CondNorm::ALL {
        same_on_any_threads(|| values(&x, p))?;
    }
    Ok(())
}

fn many_bindings(device: &Device) -> Verdict {
    let (x, held) = tensor(device, DType::F32, &[90, 2, 3], &random("a", 540));
    let want: Vec<f64> = held.chunks_exact(6).map(|a| reference::cond(a, [2, 3], CondNorm::Two)).collect();
    check_within("2", &values(&x, CondNorm::Two)?, &want, |i| 1e-4 * want[i])
}

fn too_long(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[90, 2, 2]);
    expect_error(cond(&a, CondNorm::One), "linalg::cond: not on")
}

fn names(_: &Device) -> Verdict {
    for p in CondNorm::ALL {
        check_equal(&[p.name().parse()], &[Ok(p)])?;
    }
    expect_error(
        "3".parse::<CondNorm>(),
        "no norm is called \"3\"; they are 2, -2, 1, -1, inf, -inf, fro, nuc",
    )
}

fn arguments(device: &Device) -> Verdict {
    for p in SQUARE {
        let wide = Tensor::zeros::<f32>(device, &[2, 3]);
        expect_error(cond(&wide, p), "linalg::cond: `a` must be [.., n, n], got [2, 3]")?;
    }
    let flat = Tensor::zeros::<f32>(device, &[2]);
    expect_error(cond(&flat, CondNorm::Two), "linalg::cond: `a` must be [.., rows, columns]")?;
    let integers = Tensor::zeros::<i32>(device, &[2, 2]);
    expect_error(cond(&integers, CondNorm::One), "linalg::cond: `a` must hold f32")
}
