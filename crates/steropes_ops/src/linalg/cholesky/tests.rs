use super::{cholesky, cholesky_backward, cholesky_ex, reference};
use crate::linalg::dense::testing::{
    SIZES, check_gradient, check_within, count_for, differences, done, dot, positive, precisions, product,
    random, read, same_on_any_threads, tensor, transposed, triangle_of,
};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, cpu_case, expect_error, small_bindings_case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("cholesky/oracle/every_size", every_size),
        case("cholesky/oracle/many_in_lanes", |d| against_oracle(d, &[17], 48, 1.0)),
        case("cholesky/oracle/batch_of_two_axes", |d| against_oracle(d, &[2, 3], 10, 1.0)),
        case("cholesky/oracle/no_batch", |d| against_oracle(d, &[], 6, 1.0)),
        case("cholesky/oracle/blocks", |d| against_oracle(d, &[1], 200, 1.0)),
        case("cholesky/property/large_and_small_matrices", |d| {
            [1e-6, 1e6].into_iter().try_for_each(|scale| against_oracle(d, &[9], 16, scale))
        }),
        case("cholesky/property/graded", graded),
        case("cholesky/property/hilbert", hilbert),
        case("cholesky/property/not_positive_definite", not_positive_definite),
        case("cholesky/property/not_a_number", not_a_number),
        case("cholesky/property/zero", zero),
        case("cholesky/property/empty", empty),
        small_bindings_case("cholesky/property/ex_does_not_wait", 1 << 24, ex_does_not_wait),
        cpu_case("cholesky/property/same_bits_on_any_threads", |_| threads()),
        case("cholesky/backward/differences", gradient),
        case("cholesky/backward/blocks", gradient_of_large),
        case("cholesky/backward/empty", |d| {
            let empty = Tensor::zeros::<f32>(d, &[2, 0, 0]);
            check_equal(done(cholesky_backward(&empty, &empty, false))?.shape(), &[2, 0, 0])
        }),
        case("cholesky/error/arguments", errors),
        case("cholesky/error/backward", errors_of_backward),
        small_bindings_case("cholesky/error/small_bindings", 1024, |d| {
            let a = Tensor::zeros::<f32>(d, &[5, 8, 8]);
            expect_error(cholesky(&a, false), "a stack of 1280 bytes does not fit one binding of 1024 bytes")
        }),
    ]
}

fn every_size(device: &Device) -> Verdict {
    SIZES.into_iter().try_for_each(|n| {
        against_oracle(device, &[count_for(n)], n, 1.0).map_err(|e| format!("{n} rows: {e}"))
    })
}

fn against_oracle(device: &Device, batch: &[usize], n: usize, scale: f64) -> Verdict {
    let count = batch.iter().product();
    let a: Vec<f64> = positive("cholesky/a", count, n).iter().map(|v| v * scale).collect();
    check_factors(device, batch, n, &a)
}

/// Factors of both triangles: as the oracle has them where that is well conditioned, and `L L^T` is `A` to within rounding of the
/// diagonal, element by element. What must not be read is not a number.
fn check_factors(device: &Device, batch: &[usize], n: usize, a: &[f64]) -> Verdict {
    let shape = [batch, &[n, n]].concat();
    for (dtype, eps) in precisions(device) {
        for upper in [false, true] {
            let (a, held) = tensor(device, dtype, &shape, &triangle_of(a, n, upper, f64::NAN));
            let factor = done(cholesky(&a, upper))?;
            check_equal(factor.shape(), &shape)?;
            check_equal(&[factor.dtype()], &[dtype])?;
            let factors = read(&factor)?;
            for (a, factor) in held.chunks_exact(n * n).zip(factors.chunks_exact(n * n)) {
                let lower = |x: &[f64]| if upper { transposed(x, n, n) } else { x.to_vec() };
                let (a, l) = (lower(a), lower(factor));
                check_equal(&l, &triangle_of(&l, n, false, 0.0))?;
                let diagonal: Vec<f64> = (0..n).map(|i| a[i * n + i]).collect();
                let again = triangle_of(&product(&l, &transposed(&l, n, n), [n, n, n]), n, false, 0.0);
                let want = triangle_of(&a, n, false, 0.0);
                let bound =
                    |e: usize| 2.0 * (n + 4) as f64 * eps * (diagonal[e / n] * diagonal[e % n]).sqrt();
                check_within("L L^T", &again, &want, bound)?;
                let oracle = reference::cholesky(&a, n).map_err(|order| format!("oracle: order {order}"))?;
                let largest = l.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                if eps < 1e-10 {
                    // Condition numbers here are below 1e6.
                    check_within("L", &l, &oracle, |_| 1e6 * eps * largest)?;
                }
            }
        }
    }
    Ok(())
}

/// Rows and columns scaled by 1e-10 to 1e10: elements from 1e-20 to 1e20.
fn graded(device: &Device) -> Verdict {
    for n in [3, 11, 40, 70] {
        let a = positive("cholesky/graded", 9, n);
        let scale = |i: usize| 10f64.powi((i * 7 % 21) as i32 - 10);
        let a: Vec<f64> = a.iter().enumerate().map(|(e, v)| v * scale(e / n % n) * scale(e % n)).collect();
        for (dtype, eps) in precisions(device) {
            let (t, held) = tensor(device, dtype, &[9, n, n], &a);
            let factors = read(&done(cholesky(&t, false))?)?;
            for (a, l) in held.chunks_exact(n * n).zip(factors.chunks_exact(n * n)) {
                let again = triangle_of(&product(l, &transposed(l, n, n), [n, n, n]), n, false, 0.0);
                let root = |i: usize| a[i * n + i].sqrt();
                check_within("L L^T", &again, &triangle_of(a, n, false, 0.0), |e| {
                    2.0 * (n + 4) as f64 * eps * root(e / n) * root(e % n)
                })?;
            }
        }
    }
    Ok(())
}

fn hilbert(device: &Device) -> Verdict {
    let a: Vec<f64> = (0..25).map(|e| 1.0 / (e / 5 + e % 5 + 1) as f64).collect();
    check_factors(device, &[], 5, &a)
}

/// Matrices that are not positive definite from some order on, among others that are.
fn not_positive_definite(device: &Device) -> Verdict {
    for (batch, n, bad) in [
        ([2, 3], 5, [(1, 3), (5, 1)]),
        ([3, 5], 16, [(6, 16), (14, 2)]),
        ([2, 1], 40, [(0, 33), (1, 40)]),
        ([2, 1], 130, [(0, 70), (1, 129)]),
    ] {
        let mut a = positive("cholesky/bad", batch[0] * batch[1], n);
        for (matrix, order) in bad {
            a[matrix * n * n + (order - 1) * (n + 1)] = -1.0;
        }
        for (dtype, _) in precisions(device) {
            for upper in [false, true] {
                let (t, _) = tensor(device, dtype, &[batch[0], batch[1], n, n], &a);
                let (factor, info) = done(cholesky_ex(&t, upper))?;
                check_equal(info.shape(), &batch)?;
                let mut want = vec![0; batch[0] * batch[1]];
                bad.iter().for_each(|&(matrix, order)| want[matrix] = order as i32);
                check_equal(&done(info.read::<i32>())?, &want)?;
                let good = want.iter().position(|&order| order == 0);
                if let Some(i) = good {
                    let alone = tensor(device, dtype, &[1, n, n], &a[i * n * n..][..n * n]).0;
                    let alone = read(&done(cholesky(&alone, upper))?)?;
                    check_within("beside bad ones", &read(&factor)?[i * n * n..][..n * n], &alone, |_| 1e-4)?;
                }
                let (matrix, order) = bad[0];
                let place = [matrix / batch[1], matrix % batch[1]];
                let text = format!(
                    "linalg::cholesky: matrix {place:?} of `a` is not positive definite: the leading minor of order {order} is not"
                );
                expect_error(cholesky(&t, upper), &text)?;
            }
        }
    }
    Ok(())
}

fn not_a_number(device: &Device) -> Verdict {
    for n in [4, 20, 90] {
        for value in [f64::NAN, f64::INFINITY] {
            let mut a = positive("cholesky/nan", 10, n);
            a[7 * n * n + 2 * n + 1] = value;
            let (t, _) = tensor(device, DType::F32, &[10, n, n], &a);
            let (_, info) = done(cholesky_ex(&t, false))?;
            let want: Vec<i32> = (0..10).map(|i| if i == 7 { 3 } else { 0 }).collect();
            check_equal(&done(info.read::<i32>())?, &want)?;
        }
    }
    Ok(())
}

fn zero(device: &Device) -> Verdict {
    expect_error(
        cholesky(&Tensor::zeros::<f32>(device, &[3, 3]), false),
        "matrix [] of `a` is not positive definite: the leading minor of order 1 is not",
    )
}

fn empty(device: &Device) -> Verdict {
    for (shape, batch) in [(vec![0, 3, 3], vec![0]), (vec![2, 0, 0], vec![2]), (vec![0, 0], vec![])] {
        let (factor, info) = done(cholesky_ex(&Tensor::zeros::<f32>(device, &shape), false))?;
        check_equal(factor.shape(), &shape)?;
        check_equal(info.shape(), &batch)?;
        check_equal(&done(info.read::<i32>())?, &vec![0; batch.iter().product()])?;
    }
    Ok(())
}

/// On a handle of its own, whose waits are not those of other cases.
fn ex_does_not_wait(device: &Device) -> Verdict {
    let gpu = device.gpu().expect("a case for GPUs");
    let (a, _) = tensor(device, DType::F32, &[2, 70, 70], &positive("cholesky/a", 2, 70));
    let before = gpu.waits();
    let _results = done(cholesky_ex(&a, false))?;
    check_equal(&[gpu.waits() - before], &[0])
}

fn threads() -> Verdict {
    for (count, n) in [(100, 6), (5, 70), (1, 230)] {
        let (a, _) = tensor(&Device::Cpu, DType::F32, &[count, n, n], &positive("cholesky/a", count, n));
        same_on_any_threads(|| read(&done(cholesky(&a, false))?))?;
    }
    Ok(())
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(cholesky(&zeros(&[2, 3]), false), "`a` must be [.., n, n], got [2, 3]")?;
    expect_error(cholesky(&zeros(&[4]), false), "`a` must be [.., rows, columns], got [4]")?;
    expect_error(cholesky(&Tensor::zeros::<i32>(device, &[2, 2]), false), "`a` must hold f32")?;
    if device.gpu().is_some() {
        let double = Tensor::zeros::<f64>(device, &[2, 2]);
        expect_error(cholesky(&double, false), "`a` must hold f32, got f64")?;
    }
    Ok(())
}

/// The factor of the oracle, of the symmetric matrix with this lower triangle; upper if asked.
fn oracle(a: &[f64], n: usize, upper: bool) -> Vec<f64> {
    let l = reference::cholesky(a, n).expect("positive definite");
    if upper { transposed(&l, n, n) } else { l }
}

/// A step of one element of the triangle is one of two of the symmetric matrix, so that off the diagonal half the difference is the
/// gradient. What the gradient of the factor has in the other triangle does not count.
fn gradient(device: &Device) -> Verdict {
    for n in [1, 2, 5, 9] {
        for upper in [false, true] {
            let (a, grad) = (positive("cholesky/a", 2, n), random("cholesky/grad", 2 * n * n));
            let mut want = Vec::new();
            for (a, grad) in a.chunks_exact(n * n).zip(grad.chunks_exact(n * n)) {
                let of_lower = differences(a, |a| dot(&oracle(a, n, upper), grad));
                let at =
                    |i: usize, j: usize| of_lower[i.max(j) * n + i.min(j)] * if i == j { 1.0 } else { 0.5 };
                want.extend((0..n * n).map(|e| at(e / n, e % n)));
            }
            for (dtype, eps) in precisions(device) {
                let a = tensor(device, dtype, &[2, n, n], &a).0;
                let grad = tensor(device, dtype, &[2, n, n], &triangle_of(&grad, n, upper, f64::NAN)).0;
                let factor = done(cholesky(&a, upper))?;
                check_gradient("gradient", &done(cholesky_backward(&grad, &factor, upper))?, &want, eps)?;
            }
        }
    }
    Ok(())
}

/// Along one direction, for a matrix that is factored in blocks.
fn gradient_of_large(device: &Device) -> Verdict {
    let n = 70;
    let (a, grad) = (positive("cholesky/a", 1, n), random("cholesky/grad", n * n));
    let along = positive("cholesky/along", 1, n);
    let moved = |by: f64| -> Vec<f64> { a.iter().zip(&along).map(|(a, d)| a + by * d).collect() };
    let value = |by: f64| dot(&oracle(&moved(by), n, false), &grad);
    let want = (value(1e-5) - value(-1e-5)) / 2e-5;
    for (dtype, eps) in precisions(device) {
        let (a, grad) = (tensor(device, dtype, &[n, n], &a).0, tensor(device, dtype, &[n, n], &grad).0);
        let got = read(&done(cholesky_backward(&grad, &done(cholesky(&a, false))?, false))?)?;
        let size = dot(&got, &got).sqrt() * dot(&along, &along).sqrt();
        check_within("along", &[dot(&got, &along)], &[want], |_| (100.0 * eps + 1e-8) * size)?;
    }
    Ok(())
}

fn errors_of_backward(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(
        cholesky_backward(&zeros(&[2, 2]), &zeros(&[3, 3]), false),
        "`grad` must be [3, 3], got [2, 2]",
    )?;
    expect_error(cholesky_backward(&zeros(&[2, 3]), &zeros(&[2, 3]), false), "`factor` must be [.., n, n]")?;
    let whole = Tensor::zeros::<i32>(device, &[3, 3]);
    expect_error(cholesky_backward(&whole, &zeros(&[3, 3]), false), "`grad` must hold f32")
}
