use super::{cholesky_solve, cholesky_solve_backward, reference};
use crate::linalg::cholesky::cholesky;
use crate::linalg::dense::testing::{
    SIZES, check_gradient, check_within, count_for, differences, done, dot, positive, precisions, product,
    random, read, tensor, transposed, triangle_of,
};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, expect_error};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("cholesky_solve/oracle/every_size", |d| {
            SIZES.into_iter().try_for_each(|n| against_oracle(d, count_for(n), [n, 2], 1.0))
        }),
        case("cholesky_solve/oracle/many_right_sides", |d| against_oracle(d, 2, [33, 70], 1.0)),
        case("cholesky_solve/oracle/large_and_small_matrices", |d| {
            [1e-6, 1e6].into_iter().try_for_each(|scale| against_oracle(d, 9, [12, 3], scale))
        }),
        case("cholesky_solve/property/solves_what_was_factored", solves_what_was_factored),
        case("cholesky_solve/property/empty", empty),
        case("cholesky_solve/backward/differences", gradient),
        case("cholesky_solve/error/arguments", errors),
        case("cholesky_solve/error/backward", errors_of_backward),
    ]
}

fn against_oracle(device: &Device, count: usize, [n, k]: [usize; 2], scale: f64) -> Verdict {
    // Any triangle with a large diagonal is a factor of something.
    let l: Vec<f64> = random("cholesky_solve/l", count * n * n)
        .iter()
        .enumerate()
        .map(|(e, v)| scale * if e / n % n == e % n { 1.0 + v.abs() } else { v / n as f64 })
        .collect();
    let b = random("cholesky_solve/b", count * n * k);
    for (dtype, eps) in precisions(device) {
        for upper in [false, true] {
            let (l, held_l) = tensor(device, dtype, &[count, n, n], &triangle_of(&l, n, upper, f64::NAN));
            let (b, held_b) = tensor(device, dtype, &[count, n, k], &b);
            let x = done(cholesky_solve(&b, &l, upper))?;
            check_equal(x.shape(), &[count, n, k])?;
            for (matrix, x) in read(&x)?.chunks_exact(n * k).enumerate() {
                let l = triangle_of(&held_l[matrix * n * n..][..n * n], n, upper, 0.0);
                let l = if upper { transposed(&l, n, n) } else { l };
                let b = transposed(&held_b[matrix * n * k..][..n * k], n, k);
                for (x, b) in transposed(x, n, k).chunks_exact(n).zip(b.chunks_exact(n)) {
                    let want = reference::cholesky_solve(b, &l, n);
                    let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                    check_within("x", x, &want, |_| 100.0 * (n + 4) as f64 * eps * largest)?;
                }
            }
        }
    }
    Ok(())
}

/// One matrix for right sides of a batch, through the factor.
fn solves_what_was_factored(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        let (a, held_a) = tensor(device, dtype, &[10, 10], &positive("cholesky_solve/a", 1, 10));
        let (b, held_b) = tensor(device, dtype, &[2, 3, 10, 2], &random("cholesky_solve/b", 120));
        let x = done(cholesky_solve(&b, &done(cholesky(&a, true))?, true))?;
        check_equal(x.shape(), &[2, 3, 10, 2])?;
        for (x, b) in read(&x)?.chunks_exact(20).zip(held_b.chunks_exact(20)) {
            check_within("A x", &product(&held_a, x, [10, 2, 10]), b, |_| 1e3 * eps)?;
        }
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    check_equal(done(cholesky_solve(&zeros(&[2, 0, 3]), &zeros(&[2, 0, 0]), false))?.shape(), &[2, 0, 3])?;
    check_equal(done(cholesky_solve(&zeros(&[0, 4, 3]), &zeros(&[4, 4]), false))?.shape(), &[0, 4, 3])
}

fn errors(device: &Device) -> Verdict {
    let of = |b: &[usize], l: &[usize]| {
        cholesky_solve(&Tensor::zeros::<f32>(device, b), &Tensor::zeros::<f32>(device, l), false)
    };
    expect_error(of(&[3, 1], &[3, 2]), "`l` must be [.., n, n], got [3, 2]")?;
    expect_error(of(&[2, 1], &[3, 3]), "`b` must be [.., 3, k], got [2, 1]")?;
    expect_error(of(&[2, 3, 1], &[3, 3, 3]), "`b` must be of a batch that goes with [3], got [2]")?;
    let (b, l) = (Tensor::zeros::<u8>(device, &[3, 1]), Tensor::zeros::<f32>(device, &[3, 3]));
    expect_error(cholesky_solve(&b, &l, false), "`b` must hold f32")
}

fn gradient(device: &Device) -> Verdict {
    for [n, k] in [[1, 2], [5, 3], [9, 1]] {
        for upper in [false, true] {
            let l: Vec<f64> = random("cholesky_solve/l", n * n)
                .iter()
                .enumerate()
                .map(|(e, v)| if e / n == e % n { 1.0 + v.abs() } else { v / n as f64 })
                .collect();
            let l = triangle_of(&l, n, upper, 0.0);
            let (b, grad) = (random("cholesky_solve/b", n * k), random("cholesky_solve/grad", n * k));
            let oracle = |l: &[f64], b: &[f64]| -> Vec<f64> {
                let lower = triangle_of(&if upper { transposed(l, n, n) } else { l.to_vec() }, n, false, 0.0);
                let columns = transposed(b, n, k);
                let x: Vec<f64> =
                    columns.chunks_exact(n).flat_map(|b| reference::cholesky_solve(b, &lower, n)).collect();
                transposed(&x, k, n)
            };
            let want_l = differences(&l, |l| dot(&oracle(l, &b), &grad));
            let want_b = differences(&b, |b| dot(&oracle(&l, b), &grad));
            for (dtype, eps) in precisions(device) {
                let t = |values: &[f64], columns: usize| tensor(device, dtype, &[n, columns], values).0;
                let l = t(&triangle_of(&l, n, upper, f64::NAN), n);
                let x = done(cholesky_solve(&t(&b, k), &l, upper))?;
                let (of_b, of_l) = done(cholesky_solve_backward(&t(&grad, k), &x, &l, upper))?;
                check_gradient("gradient of l", &of_l, &want_l, eps)?;
                check_gradient("gradient of b", &of_b, &want_b, eps)?;
            }
        }
    }
    Ok(())
}

fn errors_of_backward(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let of = |grad: &[usize], x: &[usize], l: &[usize]| {
        cholesky_solve_backward(&zeros(grad), &zeros(x), &zeros(l), false)
    };
    expect_error(of(&[3, 2], &[3, 1], &[3, 3]), "`grad` must be [3, 1], got [3, 2]")?;
    expect_error(of(&[2, 3, 1], &[2, 3, 1], &[3, 3]), "`x` must be [3, 1], got [2, 3, 1]")?;
    expect_error(of(&[3, 1], &[3, 1], &[3, 2]), "`l` must be [.., n, n], got [3, 2]")
}
