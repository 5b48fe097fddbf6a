use super::{det, det_backward, reference, slogdet, slogdet_backward};
use crate::linalg::dense::testing::{
    SIZES, check_gradient, check_within, count_for, differences, done, dot, precisions, random, read,
    same_on_any_threads, tensor,
};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, cpu_case, expect_error, small_bindings_case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("det/oracle/every_size", every_size),
        case("det/oracle/no_batch", |d| against_oracle(d, &[], 3, 1.0)),
        case("det/oracle/batch_of_two_axes", |d| against_oracle(d, &[2, 5], 4, 1.0)),
        case("det/oracle/written_out", written_out),
        case("det/property/large_and_small_matrices", |d| {
            [1e-6, 1e6].into_iter().try_for_each(|scale| against_oracle(d, &[9], 6, scale))
        }),
        case("det/property/permutations", permutations),
        case("det/property/singular", singular),
        case("det/property/not_a_number", not_a_number),
        case("det/property/empty", empty),
        small_bindings_case("det/property/does_not_wait", 1 << 24, does_not_wait),
        cpu_case("det/property/same_bits_on_any_threads", |d| {
            let (a, _) = tensor(d, DType::F32, &[1, 150, 150], &random("det/a", 22500));
            same_on_any_threads(|| read(&done(slogdet(&a))?.1))
        }),
        case("det/backward/differences", gradient),
        case("det/backward/singular", gradient_of_singular),
        case("det/backward/blocks", gradient_of_large),
        case("det/error/arguments", errors),
        case("det/error/backward", errors_of_backward),
    ]
}

fn every_size(device: &Device) -> Verdict {
    SIZES.into_iter().try_for_each(|n| {
        against_oracle(device, &[count_for(n)], n, 1.0).map_err(|e| format!("{n} rows: {e}"))
    })
}

/// Both ops against the logarithms of the oracle; an error of the pivots, relative, is one of the logarithm.
fn against_oracle(device: &Device, batch: &[usize], n: usize, scale: f64) -> Verdict {
    let count: usize = batch.iter().product();
    // Not near singular: a heavy diagonal beside the main one, which makes signs of both kinds.
    let a: Vec<f64> = random("det/a", count * n * n)
        .iter()
        .enumerate()
        .map(|(e, v)| {
            let heavy = if e / n % n == (e + 1) % n { if v < &0.0 { -3.0 } else { 3.0 } } else { 0.0 };
            scale * (heavy + v / (n as f64).sqrt())
        })
        .collect();
    for (dtype, eps) in precisions(device) {
        let (a, held) = tensor(device, dtype, &[batch, &[n, n]].concat(), &a);
        let (value, (signs, logs)) = (done(det(&a))?, done(slogdet(&a))?);
        for result in [&value, &signs, &logs] {
            check_equal(result.shape(), batch)?;
        }
        let (value, signs, logs) = (read(&value)?, read(&signs)?, read(&logs)?);
        for (i, a) in held.chunks_exact(n * n).enumerate() {
            let (sign, log) = reference::slogdet(a, n);
            let relative = 20.0 * (n + 4) as f64 * eps;
            check_equal(&[signs[i]], &[sign])?;
            check_within("logarithm", &[logs[i]], &[log], |_| relative * (1.0 + log.abs() / n as f64))?;
            let want = sign * log.exp();
            let normal = if dtype == DType::F32 { 1e-37..1e38 } else { 1e-300..1e300 };
            if normal.contains(&want.abs()) {
                check_within("det", &[value[i]], &[want], |_| relative * want.abs())?;
            }
        }
    }
    Ok(())
}

/// Any matrix of few rows, also near singular ones: within the rounding of the products.
fn written_out(device: &Device) -> Verdict {
    for n in 1..=4 {
        let a = random("det/few", 40 * n * n);
        for (dtype, eps) in precisions(device) {
            let (a, held) = tensor(device, dtype, &[40, n, n], &a);
            let value = read(&done(det(&a))?)?;
            for (i, a) in held.chunks_exact(n * n).enumerate() {
                let bound = 8.0 * eps * reference::terms(a, n);
                check_within("det", &[value[i]], &[reference::expansion(a, n)], |_| bound)?;
            }
        }
    }
    Ok(())
}

fn permutations(device: &Device) -> Verdict {
    let (a, _) = tensor(device, DType::F32, &[2, 2], &[0.0, 1.0, 1.0, 0.0]);
    check_equal(&read(&done(det(&a))?)?, &[-1.0])?;
    check_equal(&read(&done(slogdet(&a))?.0)?, &[-1.0])?;
    for n in [3, 4, 5, 20, 70] {
        // Each row one further: n - 1 exchanges.
        let a: Vec<f64> = (0..n * n).map(|e| f64::from(u8::from(e % n == (e / n + 1) % n))).collect();
        let (a, _) = tensor(device, DType::F32, &[n, n], &a);
        let want = if n % 2 == 0 { -1.0 } else { 1.0 };
        check_equal(&read(&done(det(&a))?)?, &[want])?;
        let (sign, log) = done(slogdet(&a))?;
        check_equal(&read(&sign)?, &[want])?;
        check_within("logarithm", &read(&log)?, &[0.0], |_| 1e-5)?;
    }
    Ok(())
}

fn singular(device: &Device) -> Verdict {
    for n in [1, 2, 4, 6, 30, 80] {
        let mut a = random("det/singular", 9 * n * n);
        (0..n).for_each(|i| a[(5 * n + i) * n + n / 2] = 0.0);
        let (a, _) = tensor(device, DType::F32, &[9, n, n], &a);
        check_equal(&[read(&done(det(&a))?)?[5].abs()], &[0.0])?;
        let (sign, log) = done(slogdet(&a))?;
        check_equal(&[read(&sign)?[5].abs(), read(&log)?[5]], &[0.0, f64::NEG_INFINITY])?;
        if let Some(log) = read(&log)?.iter().enumerate().find(|(i, v)| *i != 5 && !v.is_finite()) {
            return Err(format!("{n} rows: logarithm {log:?}"));
        }
    }
    Ok(())
}

fn not_a_number(device: &Device) -> Verdict {
    for n in [2, 4, 6, 30, 80] {
        let mut a = random("det/nan", 9 * n * n);
        a[5 * n * n + 1] = f64::NAN;
        let (a, _) = tensor(device, DType::F32, &[9, n, n], &a);
        let (value, (sign, log)) = (read(&done(det(&a))?)?, done(slogdet(&a))?);
        let (sign, log) = (read(&sign)?, read(&log)?);
        for i in 0..9 {
            check_equal(&[value[i].is_nan(), sign[i].is_nan(), log[i].is_nan()], &[i == 5; 3])?;
        }
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    check_equal(&read(&done(det(&zeros(&[2, 0, 0])))?)?, &[1.0, 1.0])?;
    let (sign, log) = done(slogdet(&zeros(&[2, 0, 0])))?;
    check_equal(&read(&sign)?, &[1.0, 1.0])?;
    check_equal(&read(&log)?, &[0.0, 0.0])?;
    for n in [3, 7] {
        check_equal(done(det(&zeros(&[0, n, n])))?.shape(), &[0])?;
        check_equal(done(slogdet(&zeros(&[0, n, n])))?.1.shape(), &[0])?;
    }
    Ok(())
}

/// On a handle of its own, whose waits are not those of other cases.
fn does_not_wait(device: &Device) -> Verdict {
    let gpu = device.gpu().expect("a case for GPUs");
    let (a, _) = tensor(device, DType::F32, &[2, 70, 70], &random("det/a", 9800));
    let before = gpu.waits();
    let _results = (done(det(&a))?, done(slogdet(&a))?);
    check_equal(&[gpu.waits() - before], &[0])
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(det(&zeros(&[2, 3])), "linalg::det: `a` must be [.., n, n], got [2, 3]")?;
    expect_error(slogdet(&zeros(&[3])), "linalg::slogdet: `a` must be [.., rows, columns], got [3]")?;
    expect_error(det(&Tensor::zeros::<i32>(device, &[2, 2])), "`a` must hold f32")
}

fn gradient(device: &Device) -> Verdict {
    for n in [1, 2, 3, 5] {
        let grad = random("det/grad", 3);
        let a = random("det/grad/a", 3 * n * n);
        let a: Vec<f64> =
            a.iter().enumerate().map(|(e, v)| v + if e / n % n == e % n { 3.0 } else { 0.0 }).collect();
        let (mut want, mut want_log) = (Vec::new(), Vec::new());
        for (a, grad) in a.chunks_exact(n * n).zip(&grad) {
            want.extend(differences(a, |a| reference::expansion(a, n) * grad));
            want_log.extend(differences(a, |a| reference::slogdet(a, n).1 * grad));
        }
        for (dtype, eps) in precisions(device) {
            let (a, grad) = (tensor(device, dtype, &[3, n, n], &a).0, tensor(device, dtype, &[3], &grad).0);
            check_gradient("gradient", &done(det_backward(&grad, &a))?, &want, eps)?;
            check_gradient(
                "gradient of the logarithm",
                &done(slogdet_backward(&grad, &a))?,
                &want_log,
                10.0 * eps,
            )?;
        }
    }
    Ok(())
}

/// The gradient is that of a polynomial: minors with their signs.
fn gradient_of_singular(device: &Device) -> Verdict {
    for (n, rank) in [(2, 1), (3, 2), (5, 4), (4, 2), (1, 0)] {
        // Small whole numbers; rows from `rank` on are copies of the first ones, or zero.
        let mut a: Vec<f64> = random("det/rank", n * n).iter().map(|v| (v * 3.0).round()).collect();
        for e in rank * n..n * n {
            a[e] = if rank == 0 { 0.0 } else { a[e % (rank * n)] };
        }
        let want: Vec<f64> = (0..n * n)
            .map(|e| {
                let sign = if (e / n + e % n) % 2 == 0 { 2.0 } else { -2.0 };
                sign * reference::expansion(&reference::minor(&a, n, e / n, e % n), n - 1)
            })
            .collect();
        for (dtype, eps) in precisions(device) {
            let (a, grad) = (tensor(device, dtype, &[n, n], &a).0, tensor(device, dtype, &[], &[2.0]).0);
            let got = read(&done(det_backward(&grad, &a))?)?;
            check_within("gradient", &got, &want, |_| 1e4 * eps)
                .map_err(|e| format!("{n} rows of rank {rank}: {e}"))?;
        }
    }
    Ok(())
}

/// `A^T` times the gradient is the determinant times the identity, here through the logarithm.
fn gradient_of_large(device: &Device) -> Verdict {
    let n = 70;
    let a: Vec<f64> = random("det/a", n * n)
        .iter()
        .enumerate()
        .map(|(e, v)| v / 8.0 + if e / n == e % n { 3.0 } else { 0.0 })
        .collect();
    for (dtype, eps) in precisions(device) {
        let ((a, held), grad) = (tensor(device, dtype, &[n, n], &a), tensor(device, dtype, &[], &[0.5]).0);
        let got = read(&done(slogdet_backward(&grad, &a))?)?;
        for j in [0, 33, 69] {
            let column = |m: &[f64], c: usize| m.iter().skip(c).step_by(n).copied().collect::<Vec<f64>>();
            let entry = dot(&column(&held, j), &column(&got, (j * 3) % n));
            check_within("A^T G", &[entry], &[if j == 0 { 0.5 } else { 0.0 }], |_| 1e3 * eps)?;
        }
    }
    Ok(())
}

fn errors_of_backward(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(det_backward(&zeros(&[3]), &zeros(&[2, 3, 3])), "`grad` must be [2], got [3]")?;
    expect_error(slogdet_backward(&zeros(&[]), &zeros(&[2, 3])), "`a` must be [.., n, n], got [2, 3]")
}
