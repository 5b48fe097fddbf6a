use super::{inv, inv_backward, inv_ex, reference, solve, solve_backward, solve_ex};
use crate::linalg::dense::testing::{
    SIZES, check_gradient, check_within, count_for, differences, done, dot, magnitudes, precisions, product,
    random, read, same_on_any_threads, tensor,
};
use crate::linalg::stack::Broadcast;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, cpu_case, expect_error, small_bindings_case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("solve/oracle/every_size", every_size),
        case("solve/oracle/many_right_sides", |d| against_oracle(d, &[2], &[2], [20, 70])),
        case("solve/oracle/one_matrix_for_all", |d| against_oracle(d, &[], &[11], [6, 2])),
        case("solve/oracle/both_repeated", |d| against_oracle(d, &[3, 1], &[2, 1, 4], [5, 3])),
        case("solve/oracle/no_batch", |d| against_oracle(d, &[], &[], [7, 1])),
        case("solve/property/vectors", vectors),
        case("solve/property/large_and_small_matrices", large_and_small),
        case("solve/property/graded", graded),
        case("solve/property/hilbert", hilbert),
        case("solve/property/needs_exchanges", needs_exchanges),
        case("solve/property/singular", singular),
        case("solve/property/not_a_number", not_a_number),
        case("solve/property/empty", empty),
        small_bindings_case("solve/property/ex_does_not_wait", 1 << 24, ex_does_not_wait),
        cpu_case("solve/property/same_bits_on_any_threads", |_| threads()),
        case("solve/inv/every_size", inverse_every_size),
        case("solve/inv/large_and_small_matrices", |d| {
            [1e-6, 1e6].into_iter().try_for_each(|scale| inverse(d, &[9], 3, scale))
        }),
        case("solve/inv/singular", inverse_of_singular),
        case("solve/inv/empty", |d| {
            check_equal(done(inv(&Tensor::zeros::<f32>(d, &[2, 0, 0])))?.shape(), &[2, 0, 0])
        }),
        case("solve/backward/differences", gradient),
        case("solve/inv/backward", gradient_of_inverse),
        case("solve/error/arguments", errors),
        case("solve/error/backward", errors_of_backward),
    ]
}

fn every_size(device: &Device) -> Verdict {
    SIZES.into_iter().try_for_each(|n| {
        let count = [count_for(n)];
        against_oracle(device, &count, &count, [n, 1]).map_err(|e| format!("{n} equations: {e}"))
    })
}

/// Matrices far from singular.
fn general(count: usize, n: usize) -> Vec<f64> {
    let a = random("solve/a", count * n * n);
    let weight = |e: usize| if e / n % n == (e + 1) % n { 2.0 * (n as f64).sqrt() } else { 0.0 };
    a.iter().enumerate().map(|(e, v)| v + weight(e)).collect()
}

fn against_oracle(device: &Device, of_a: &[usize], of_b: &[usize], [n, k]: [usize; 2]) -> Verdict {
    let a = general(of_a.iter().product(), n);
    let b = random("solve/b", of_b.iter().product::<usize>() * n * k);
    let both = Broadcast::of("case", "b", of_a, of_b).map_err(|e| e.to_string())?;
    for (dtype, eps) in precisions(device) {
        let (a, held_a) = tensor(device, dtype, &[of_a, &[n, n]].concat(), &a);
        let (b, held_b) = tensor(device, dtype, &[of_b, &[n, k]].concat(), &b);
        let x = done(solve(&a, &b))?;
        check_equal(x.shape(), &[&both.batch[..], &[n, k]].concat())?;
        for (index, x) in read(&x)?.chunks_exact(n * k).enumerate() {
            let [from_a, from_b] = both.sources(index);
            let (a, b) = (&held_a[from_a * n * n..][..n * n], &held_b[from_b * n * k..][..n * k]);
            check_residual(a, x, b, [n, k], eps)?;
            if index == 0 && n < 50 {
                let column = |m: &[f64]| m.iter().step_by(k).copied().collect::<Vec<f64>>();
                let want = reference::solve(a, n, &column(b)).ok_or("the oracle finds no solution")?;
                let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                check_within("x", &column(x), &want, |_| 100.0 * (n + 4) as f64 * eps * largest)?;
            }
        }
    }
    Ok(())
}

/// `A X` is `B` to within the rounding of an elimination.
fn check_residual(a: &[f64], x: &[f64], b: &[f64], [n, k]: [usize; 2], eps: f64) -> Verdict {
    let terms = product(&magnitudes(a), &magnitudes(x), [n, k, n]);
    let largest = terms.iter().chain(b).fold(0.0, |m: f64, v| m.max(v.abs()));
    check_within("A X", &product(a, x, [n, k, n]), b, |_| 2.0 * (n + 4) as f64 * eps * largest)
}

/// One axis, or the shape of the matrices without the last axis.
fn vectors(device: &Device) -> Verdict {
    let of = |a: &[usize], b: &[usize]| {
        let make = |shape: &[usize]| {
            let values = general(shape.iter().product::<usize>().div_ceil(9), 3);
            tensor(device, DType::F32, shape, &values[..shape.iter().product()])
        };
        let ((a, held_a), (b, held_b)) = (make(a), make(b));
        done(solve(&a, &b)).and_then(|x| Ok((x.shape().to_vec(), read(&x)?, held_a, held_b)))
    };
    let (shape, x, a, b) = of(&[2, 3, 3], &[2, 3])?;
    check_equal(&shape, &[2, 3])?;
    check_residual(&a[9..], &x[3..], &b[3..], [3, 1], 1e-6)?;
    let (shape, x, a, b) = of(&[2, 3, 3], &[3])?;
    check_equal(&shape, &[2, 3])?;
    check_residual(&a[9..], &x[3..], &b, [3, 1], 1e-6)?;
    let (shape, x, a, b) = of(&[3, 3], &[3])?;
    check_equal(&shape, &[3])?;
    check_residual(&a, &x, &b, [3, 1], 1e-6)?;
    // As PyTorch: a matrix, whose rows are as many as the equations.
    let (shape, x, a, b) = of(&[4, 3, 3], &[3, 2])?;
    check_equal(&shape, &[4, 3, 2])?;
    check_residual(&a[27..], &x[18..], &b, [3, 2], 1e-6)
}

fn large_and_small(device: &Device) -> Verdict {
    for scale in [1e-6, 1e6] {
        for n in [2, 5, 16, 40] {
            let a: Vec<f64> = general(9, n).iter().map(|v| v * scale).collect();
            let b = random("solve/b", 9 * n);
            for (dtype, eps) in precisions(device) {
                let ((a, held_a), (b, held_b)) =
                    (tensor(device, dtype, &[9, n, n], &a), tensor(device, dtype, &[9, n], &b));
                let x = read(&done(solve(&a, &b))?)?;
                for i in 0..9 {
                    let (a, x, b) = (&held_a[i * n * n..][..n * n], &x[i * n..][..n], &held_b[i * n..][..n]);
                    check_residual(a, x, b, [n, 1], eps)?;
                }
            }
        }
    }
    Ok(())
}

/// Columns scaled by 1e-20 to 1e20: elements of the solution are scaled by the reciprocals, and nothing else changes.
fn graded(device: &Device) -> Verdict {
    for n in [4, 12, 30, 70] {
        let a = general(9, n);
        let scale = |j: usize| 10f64.powi((j * 7 % 41) as i32 - 20);
        let scaled: Vec<f64> = a.iter().enumerate().map(|(e, v)| v * scale(e % n)).collect();
        let b = random("solve/b", 9 * n);
        for (dtype, eps) in precisions(device) {
            let ((a, held_a), (b, held_b)) =
                (tensor(device, dtype, &[9, n, n], &scaled), tensor(device, dtype, &[9, n, 1], &b));
            let x = read(&done(solve(&a, &b))?)?;
            for i in 0..9 {
                let (a, x, b) = (&held_a[i * n * n..][..n * n], &x[i * n..][..n], &held_b[i * n..][..n]);
                check_residual(a, x, b, [n, 1], eps)?;
            }
        }
    }
    Ok(())
}

fn hilbert(device: &Device) -> Verdict {
    for n in [3, 6] {
        let a: Vec<f64> = (0..n * n).map(|e| 1.0 / (e / n + e % n + 1) as f64).collect();
        for (dtype, eps) in precisions(device) {
            let ((a, held_a), (b, held_b)) =
                (tensor(device, dtype, &[n, n], &a), tensor(device, dtype, &[n, 1], &random("solve/b", n)));
            check_residual(&held_a, &read(&done(solve(&a, &b))?)?, &held_b, [n, 1], eps)?;
        }
    }
    Ok(())
}

fn needs_exchanges(device: &Device) -> Verdict {
    let (a, _) = tensor(device, DType::F32, &[2, 2], &[0.0, 1.0, 1.0, 0.0]);
    let (b, _) = tensor(device, DType::F32, &[2], &[3.0, 5.0]);
    check_equal(&read(&done(solve(&a, &b))?)?, &[5.0, 3.0])?;
    // Without exchanges the second equation is lost in rounding.
    let (a, _) = tensor(device, DType::F32, &[2, 2], &[1e-9, 1.0, 1.0, 1.0]);
    let (b, _) = tensor(device, DType::F32, &[2], &[1.0, 2.0]);
    check_within("x", &read(&done(solve(&a, &b))?)?, &[1.0, 1.0], |_| 1e-6)
}

fn singular(device: &Device) -> Verdict {
    for (n, pivot) in [(1, 1), (3, 2), (12, 12), (40, 5), (90, 70)] {
        let mut a = general(10, n);
        (0..n).for_each(|i| a[(7 * n + i) * n + pivot - 1] = 0.0);
        let (a, _) = tensor(device, DType::F32, &[2, 5, n, n], &a);
        let (b, _) = tensor(device, DType::F32, &[2, 5, n, 1], &random("solve/b", 10 * n));
        let (x, info) = done(solve_ex(&a, &b))?;
        check_equal(info.shape(), &[2, 5])?;
        let want: Vec<i32> = (0..10).map(|i| if i == 7 { pivot as i32 } else { 0 }).collect();
        check_equal(&done(info.read::<i32>())?, &want)?;
        let wrong =
            read(&x)?.iter().enumerate().find(|(e, v)| e / n != 7 && !v.is_finite()).map(|(e, _)| e / n);
        if let Some(matrix) = wrong {
            return Err(format!("{n} equations: matrix {matrix} has no solution"));
        }
        let text = format!("linalg::solve: matrix [1, 2] of `a` is singular: pivot {pivot} is zero");
        expect_error(solve(&a, &b), &text)?;
    }
    Ok(())
}

fn not_a_number(device: &Device) -> Verdict {
    for n in [3, 12, 30, 80] {
        let mut a = general(9, n);
        a[6 * n * n + 1] = f64::NAN;
        let (a, _) = tensor(device, DType::F32, &[9, n, n], &a);
        let (b, _) = tensor(device, DType::F32, &[9, n], &random("solve/b", 9 * n));
        let x = read(&done(solve(&a, &b))?)?;
        if let Some(e) = (0..x.len()).find(|&e| x[e].is_nan() != (e / n == 6)) {
            return Err(format!("{n} equations: element {} of solution {} is {}", e % n, e / n, x[e]));
        }
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    let of = |a: &[usize], b: &[usize]| {
        let x = done(solve(&Tensor::zeros::<f32>(device, a), &Tensor::zeros::<f32>(device, b)))?;
        Ok::<_, String>(x.shape().to_vec())
    };
    check_equal(&of(&[0, 3, 3], &[0, 3, 2])?, &[0, 3, 2])?;
    check_equal(&of(&[0, 3, 3], &[3])?, &[0, 3])?;
    check_equal(&of(&[2, 0, 0], &[2, 0])?, &[2, 0])?;
    check_equal(&of(&[0, 0], &[0, 4])?, &[0, 4])
}

/// On a handle of its own, whose waits are not those of other cases.
fn ex_does_not_wait(device: &Device) -> Verdict {
    let gpu = device.gpu().expect("a case for GPUs");
    let (a, _) = tensor(device, DType::F32, &[2, 70, 70], &general(2, 70));
    let before = gpu.waits();
    let _results = (done(solve_ex(&a, &a))?, done(inv_ex(&a))?);
    check_equal(&[gpu.waits() - before], &[0])
}

fn threads() -> Verdict {
    for (count, n) in [(100, 6), (5, 70), (1, 150)] {
        let (a, _) = tensor(&Device::Cpu, DType::F32, &[count, n, n], &general(count, n));
        same_on_any_threads(|| read(&done(inv(&a))?))?;
    }
    Ok(())
}

fn inverse_every_size(device: &Device) -> Verdict {
    SIZES
        .into_iter()
        .filter(|&n| n < 70)
        .try_for_each(|n| inverse(device, &[count_for(n)], n, 1.0).map_err(|e| format!("{n} rows: {e}")))?;
    inverse(device, &[], 5, 1.0)?;
    inverse(device, &[2, 2], 90, 1.0)
}

fn inverse(device: &Device, batch: &[usize], n: usize, scale: f64) -> Verdict {
    let a: Vec<f64> = general(batch.iter().product(), n).iter().map(|v| v * scale).collect();
    let identity: Vec<f64> = (0..n * n).map(|e| f64::from(u8::from(e % (n + 1) == 0))).collect();
    for (dtype, eps) in precisions(device) {
        let (a, held) = tensor(device, dtype, &[batch, &[n, n]].concat(), &a);
        let inverse = done(inv(&a))?;
        check_equal(inverse.shape(), a.shape())?;
        for (a, x) in held.chunks_exact(n * n).zip(read(&inverse)?.chunks_exact(n * n)) {
            check_residual(a, x, &identity, [n, n], eps)?;
        }
    }
    Ok(())
}

fn inverse_of_singular(device: &Device) -> Verdict {
    let (a, _) = tensor(device, DType::F32, &[2, 2, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 4.0]);
    expect_error(inv(&a), "linalg::inv: matrix [1] of `a` is singular: pivot 2 is zero")?;
    let (x, info) = done(inv_ex(&a))?;
    check_equal(&done(info.read::<i32>())?, &[0, 2])?;
    check_equal(&read(&x)?[..4], &[1.0, 0.0, 0.0, 1.0])
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(solve(&zeros(&[2, 3]), &zeros(&[2])), "`a` must be [.., n, n], got [2, 3]")?;
    expect_error(solve(&zeros(&[3, 3]), &zeros(&[2, 2])), "`b` must be [.., 3, k], got [2, 2]")?;
    expect_error(solve(&zeros(&[3, 3]), &zeros(&[])), "`b` must be [.., rows, columns], got []")?;
    expect_error(solve(&zeros(&[2, 3, 3]), &zeros(&[3, 3, 1])), "of a batch that goes with [2], got [3]")?;
    expect_error(inv(&zeros(&[2, 3])), "linalg::inv: `a` must be [.., n, n], got [2, 3]")?;
    expect_error(solve(&zeros(&[3, 3]), &Tensor::zeros::<i32>(device, &[3])), "`b` must hold f32")
}

fn oracle(a: &[f64], b: &[f64], [n, k]: [usize; 2]) -> Vec<f64> {
    let column = |c: usize| b.iter().skip(c).step_by(k).copied().collect::<Vec<f64>>();
    let x: Vec<f64> = (0..k).flat_map(|c| reference::solve(a, n, &column(c)).expect("a solution")).collect();
    (0..n * k).map(|e| x[e % k * n + e / k]).collect()
}

fn gradient(device: &Device) -> Verdict {
    for ([n, k], vectors) in [([1, 1], false), ([4, 3], false), ([9, 1], true), ([17, 2], false)] {
        let (a, b, grad) = (general(1, n), random("solve/b", n * k), random("solve/grad", n * k));
        let want_a = differences(&a, |a| dot(&oracle(a, &b, [n, k]), &grad));
        let want_b = differences(&b, |b| dot(&oracle(&a, b, [n, k]), &grad));
        let shape: &[usize] = if vectors { &[n] } else { &[n, k] };
        for (dtype, eps) in precisions(device) {
            let a = tensor(device, dtype, &[n, n], &a).0;
            let (b, grad) = (tensor(device, dtype, shape, &b).0, tensor(device, dtype, shape, &grad).0);
            let x = done(solve(&a, &b))?;
            let (of_a, of_b) = done(solve_backward(&grad, &a, &x))?;
            check_equal(of_b.shape(), shape)?;
            check_gradient("gradient of a", &of_a, &want_a, eps)?;
            check_gradient("gradient of b", &of_b, &want_b, eps)?;
        }
    }
    Ok(())
}

fn gradient_of_inverse(device: &Device) -> Verdict {
    for n in [1, 3, 10] {
        let (a, grad) = (general(1, n), random("solve/grad", n * n));
        let identity: Vec<f64> = (0..n * n).map(|e| f64::from(u8::from(e % (n + 1) == 0))).collect();
        let want = differences(&a, |a| dot(&oracle(a, &identity, [n, n]), &grad));
        for (dtype, eps) in precisions(device) {
            let (a, grad) = (tensor(device, dtype, &[n, n], &a).0, tensor(device, dtype, &[n, n], &grad).0);
            check_gradient("gradient", &done(inv_backward(&grad, &done(inv(&a))?))?, &want, eps)?;
        }
    }
    Ok(())
}

fn errors_of_backward(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let of = |grad: &[usize], a: &[usize], x: &[usize]| solve_backward(&zeros(grad), &zeros(a), &zeros(x));
    expect_error(of(&[3, 2], &[3, 3], &[3, 1]), "`grad` must be [3, 1], got [3, 2]")?;
    expect_error(of(&[2, 3, 1], &[3, 3], &[2, 3, 1]), "`x` must be [3, 1], got [2, 3, 1]")?;
    expect_error(of(&[3, 1], &[3, 2], &[3, 1]), "`a` must be [.., n, n], got [3, 2]")?;
    expect_error(inv_backward(&zeros(&[2, 2]), &zeros(&[3, 3])), "`grad` must be [3, 3], got [2, 2]")
}
