use super::{Lstsq, LstsqDriver, lstsq, lstsq_backward, reference};
use crate::linalg::dense::testing::{
    check_gradient, differences, done, dot, precisions, random as normals, read, tensor as held_tensor,
};
use crate::linalg::qr::reference::{product, transposed};
use crate::linalg::qr::tests::{dtypes_of, eps, random, tensor, text, values};
use crate::linalg::stack::Broadcast;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, cpu_case, expect_error, gpu_case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("lstsq/oracle/small", |d| {
            shapes(
                d,
                &[[1, 1, 1], [5, 1, 2], [7, 3, 1], [4, 4, 3], [16, 16, 1], [33, 31, 2]],
                LstsqDriver::Gels,
            )
        }),
        case("lstsq/oracle/wide", |d| {
            shapes(d, &[[1, 5, 1], [3, 7, 2], [15, 17, 1], [32, 64, 3], [90, 130, 2]], LstsqDriver::Gels)
        }),
        case("lstsq/oracle/many_columns", |d| shapes(d, &[[6, 2, 30], [40, 5, 50]], LstsqDriver::Gels)),
        case("lstsq/oracle/large", |d| shapes(d, &[[120, 100, 3]], LstsqDriver::Gels)),
        cpu_case("lstsq/oracle/pivoted", |d| {
            shapes(
                d,
                &[[1, 1, 1], [7, 3, 2], [3, 7, 2], [33, 31, 1], [20, 40, 1], [60, 12, 3]],
                LstsqDriver::Gelsy,
            )
        }),
        case("lstsq/property/tall", tall),
        case("lstsq/property/scaled_columns", scaled_columns),
        cpu_case("lstsq/property/rank_of_products", rank_of_products),
        cpu_case("lstsq/property/rcond", rcond),
        cpu_case("lstsq/property/zero_matrix", zero_matrix),
        case("lstsq/property/vectors", vectors),
        case("lstsq/property/batches_are_repeated", batches),
        case("lstsq/property/nan_stays_in_its_matrix", nan),
        case("lstsq/property/empty", empty),
        gpu_case("lstsq/property/no_full_rank_is_nan", no_full_rank_is_nan),
        cpu_case("lstsq/error/no_full_rank", no_full_rank),
        gpu_case("lstsq/error/pivots_on_a_gpu", pivots_on_a_gpu),
        case("lstsq_backward/gradient/tall", |d| {
            gradients(d, &[[1, 1, 1], [5, 2, 3], [4, 4, 1], [9, 6, 2], [30, 3, 1]])
        }),
        case("lstsq_backward/gradient/wide", |d| gradients(d, &[[1, 4, 2], [2, 5, 3], [6, 9, 1]])),
        case("lstsq_backward/gradient/batches", repeated_gradients),
        case("lstsq_backward/property/vectors", vector_gradients),
        case("lstsq_backward/property/empty", backward_empty),
        case("lstsq_backward/error/arguments", backward_arguments),
        case("lstsq/error/shapes", wrong_shapes),
        case("lstsq/error/rcond", wrong_rcond),
        case("lstsq/error/dtypes", dtypes),
    ]
}

fn run(
    device: &Device,
    dtype: DType,
    [batch, m, n, k]: [usize; 4],
    a: &[f64],
    b: &[f64],
    driver: LstsqDriver,
) -> Result<Lstsq, String> {
    let (a, b) = (tensor(device, dtype, &[batch, m, n], a), tensor(device, dtype, &[batch, m, k], b));
    lstsq(&a, &b, None, driver).map_err(text)
}

/// Random matrices with a heavy diagonal: solutions, residuals and ranks.
fn shapes(device: &Device, shapes: &[[usize; 3]], driver: LstsqDriver) -> Verdict {
    for &[m, n, k] in shapes {
        for &dtype in dtypes_of(device) {
            for batch in [1, 3, 18] {
                if batch > 3 && m * n > 600 {
                    continue;
                }
                let mut a = random("lstsq/a", batch * m * n);
                (0..batch * m.min(n)).for_each(|i| a[i / m.min(n) * m * n + i % m.min(n) * (n + 1)] += 3.0);
                let b = random("lstsq/b", batch * m * k);
                let got = run(device, dtype, [batch, m, n, k], &a, &b, driver)?;
                let context = |e: String| format!("{dtype} {batch} of {m} x {n}, {k} columns: {e}");
                check_equal(got.solution.shape(), &[batch, n, k])?;
                let x = values(&got.solution)?;
                let residuals = got.residuals.as_ref().map(values).transpose()?;
                check_equal(&[residuals.is_some()], &[m > n]).map_err(context)?;
                for i in 0..batch {
                    let (a, b) = (&a[i * m * n..][..m * n], &b[i * m * k..][..m * k]);
                    let want = reference::lstsq(a, b, [m, n, k]);
                    near(&x[i * n * k..][..n * k], &want, 2e3 * eps(dtype)).map_err(context)?;
                    if let Some(residuals) = &residuals {
                        let left: Vec<f64> =
                            product(a, &want, [m, n, k]).iter().zip(b).map(|(x, b)| x - b).collect();
                        let squares: Vec<f64> =
                            (0..k).map(|j| (0..m).map(|i| left[i * k + j].powi(2)).sum()).collect();
                        near(&residuals[i * k..][..k], &squares, 2e3 * eps(dtype)).map_err(context)?;
                    }
                }
                let ranks = got.rank.map(|rank| rank.read::<i64>()).transpose().map_err(|e| e.to_string())?;
                match driver {
                    LstsqDriver::Gels if ranks.is_some() => return Err("a rank without pivots".to_owned()),
                    LstsqDriver::Gelsy => {
                        check_equal(&ranks.unwrap_or_default(), &vec![m.min(n) as i64; batch])?
                    }
                    LstsqDriver::Gels => {}
                }
            }
        }
    }
    Ok(())
}

fn near(got: &[f64], want: &[f64], tolerance: f64) -> Verdict {
    check_equal(&[got.len()], &[want.len()])?;
    let largest = want.iter().fold(1e-2f64, |largest, x| largest.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let fine = (got - want).abs() <= tolerance * largest;
        if !fine {
            return Err(format!("value {i} is {got}, want {want}"));
        }
    }
    Ok(())
}

/// What is left is orthogonal to the columns of A.
fn tall(device: &Device) -> Verdict {
    let [m, n, k] = [4000, 9, 2];
    for &dtype in dtypes_of(device) {
        let (a, b) = (random("lstsq/a", m * n), random("lstsq/b", m * k));
        let got = run(device, dtype, [1, m, n, k], &a, &b, LstsqDriver::Gels)?;
        let x = values(&got.solution)?;
        let left: Vec<f64> = product(&a, &x, [m, n, k]).iter().zip(&b).map(|(x, b)| x - b).collect();
        let normal = product(&transposed(&a, m, n), &left, [n, m, k]);
        if let Some(x) = normal.iter().find(|x| x.is_nan() || x.abs() > 64.0 * eps(dtype) * m as f64) {
            return Err(format!("{dtype}: A^T (A x - b) has {x}"));
        }
        let squares: Vec<f64> = (0..k).map(|j| (0..m).map(|i| left[i * k + j].powi(2)).sum()).collect();
        let residuals = got.residuals.ok_or("no residuals")?;
        near(&values(&residuals)?, &squares, 256.0 * eps(dtype))?;
    }
    Ok(())
}

/// Columns of any scale give solutions of the inverse scale.
fn scaled_columns(device: &Device) -> Verdict {
    let [m, n] = [12, 5];
    let scales = [1e15, 1.0, 1e-15, 1e-5, 1e5];
    for &dtype in dtypes_of(device) {
        let (mut a, b) = (random("lstsq/a", m * n), random("lstsq/b", m));
        (0..n).for_each(|i| a[i * (n + 1)] += 3.0);
        let want = reference::lstsq(&a, &b, [m, n, 1]);
        (0..m * n).for_each(|i| a[i] *= scales[i % n]);
        let got = values(&run(device, dtype, [1, m, n, 1], &a, &b, LstsqDriver::Gels)?.solution)?;
        let got: Vec<f64> = got.iter().zip(scales).map(|(x, scale)| x * scale).collect();
        near(&got, &want, 2e3 * eps(dtype)).map_err(|e| format!("{dtype}: {e}"))?;
    }
    Ok(())
}

/// `A = U V^T` of rank 2: that rank, a residual orthogonal to U, and a solution in the space of V.
fn rank_of_products(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        for [m, n] in [[9, 6], [6, 9], [40, 30], [2, 3], [30, 2]] {
            for scale in [1.0, 1e-15, 1e15] {
                let (u, v) = (random("lstsq/u", m * 2), random("lstsq/v", n * 2));
                let a: Vec<f64> =
                    product(&u, &transposed(&v, n, 2), [m, 2, n]).iter().map(|x| x * scale).collect();
                let b = random("lstsq/b", m);
                let got = run(device, dtype, [1, m, n, 1], &a, &b, LstsqDriver::Gelsy)?;
                let context = |e: String| format!("{dtype} {m} x {n} times {scale:e}: {e}");
                let rank = got.rank.ok_or("no rank")?.read::<i64>().map_err(|e| e.to_string())?;
                check_equal(&rank, &[2]).map_err(context)?;
                check_equal(&[got.residuals.is_some()], &[m > n && n == 2]).map_err(context)?;
                let x: Vec<f64> = values(&got.solution)?.iter().map(|x| x * scale).collect();
                // U's least squares give V^T x, and x is the shortest with that.
                let of_v = reference::lstsq(&u, &b, [m, 2, 1]);
                let want = reference::lstsq(&transposed(&v, n, 2), &of_v, [2, n, 1]);
                near(&x, &want, 1e4 * eps(dtype)).map_err(context)?;
            }
        }
    }
    Ok(())
}

/// A diagonal matrix, whose condition is plain to see.
fn rcond(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        let n = 4;
        let a: Vec<f64> =
            (0..n * n).map(|i| if i / n == i % n { 10f64.powi(-(i as i32 % 4)) } else { 0.0 }).collect();
        let (a, b) = (tensor(device, dtype, &[n, n], &a), tensor(device, dtype, &[n, 1], &[1.0; 4]));
        for (rcond, rank) in
            [(None, 4), (Some(0.0), 4), (Some(2e-3), 3), (Some(0.05), 2), (Some(0.5), 1), (Some(2.0), 0)]
        {
            // One pivot is always as large as itself.
            let rank = if rcond == Some(2.0) { 1 } else { rank };
            let got = lstsq(&a, &b, rcond, LstsqDriver::Gelsy).map_err(text)?;
            let found = got.rank.ok_or("no rank")?.read::<i64>().map_err(|e| e.to_string())?;
            check_equal(&found, &[rank]).map_err(|e| format!("{dtype} {rcond:?}: {e}"))?;
            let x = values(&got.solution)?;
            let want: Vec<f64> = (0..4).map(|i| if i < rank { 10f64.powi(i as i32) } else { 0.0 }).collect();
            near(&x, &want, 64.0 * eps(dtype)).map_err(|e| format!("{dtype} {rcond:?}: {e}"))?;
        }
    }
    Ok(())
}

fn zero_matrix(device: &Device) -> Verdict {
    let (a, b) = (Tensor::zeros::<f32>(device, &[5, 3]), tensor(device, DType::F32, &[5, 1], &[1.0; 5]));
    let got = lstsq(&a, &b, None, LstsqDriver::Gelsy).map_err(text)?;
    check_equal(&values(&got.solution)?, &[0.0; 3])?;
    check_equal(&got.rank.ok_or("no rank")?.read::<i64>().map_err(|e| e.to_string())?, &[0])
}

fn vectors(device: &Device) -> Verdict {
    for [m, n] in [[6, 4], [4, 6]] {
        let (a, b) = (random("lstsq/a", 2 * m * n), random("lstsq/b", 2 * m));
        let a = tensor(device, DType::F32, &[2, m, n], &a);
        let got =
            lstsq(&a, &tensor(device, DType::F32, &[2, m], &b), None, LstsqDriver::Gels).map_err(text)?;
        let columns = tensor(device, DType::F32, &[2, m, 1], &b);
        let want = lstsq(&a, &columns, None, LstsqDriver::Gels).map_err(text)?;
        check_equal(got.solution.shape(), &[2, n])?;
        check_equal(&values(&got.solution)?, &values(&want.solution)?)?;
        if let Some(residuals) = got.residuals {
            check_equal(residuals.shape(), &[2])?;
        }
    }
    Ok(())
}

fn batches(device: &Device) -> Verdict {
    for [m, n] in [[6, 4], [4, 6]] {
        let (a, b) = (random("lstsq/a", 3 * m * n), random("lstsq/b", 2 * m * 2));
        let got = lstsq(
            &tensor(device, DType::F32, &[1, 3, m, n], &a),
            &tensor(device, DType::F32, &[2, 1, m, 2], &b),
            None,
            LstsqDriver::Gels,
        )
        .map_err(text)?;
        check_equal(got.solution.shape(), &[2, 3, n, 2])?;
        let x = values(&got.solution)?;
        for i in 0..6 {
            let (a, b) = (&a[i % 3 * m * n..][..m * n], &b[i / 3 * m * 2..][..m * 2]);
            near(&x[i * n * 2..][..n * 2], &reference::lstsq(a, b, [m, n, 2]), 2e-4)
                .map_err(|e| format!("{m} x {n}, system {i}: {e}"))?;
        }
    }
    Ok(())
}

fn nan(device: &Device) -> Verdict {
    let drivers = if device.gpu().is_some() {
        &[LstsqDriver::Gels][..]
    } else {
        &[LstsqDriver::Gels, LstsqDriver::Gelsy]
    };
    for &driver in drivers {
        for [m, n] in [[6, 4], [4, 6], [110, 100]] {
            let (mut a, b) = (random("lstsq/a", 3 * m * n), random("lstsq/b", 3 * m));
            a[m * n] = f64::NAN;
            let got = run(device, DType::F32, [3, m, n, 1], &a, &b, driver)?;
            let x = values(&got.solution)?;
            if let Some(i) = (0..x.len()).find(|&i| x[i].is_nan() != (i / n == 1)) {
                return Err(format!("{driver:?} {m} x {n}: value {i} is {}", x[i]));
            }
        }
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    for (a, b, x) in [
        (&[0, 4, 3][..], &[0, 4, 2][..], &[0, 3, 2][..]),
        (&[2, 0, 3], &[2, 0, 2], &[2, 3, 2]),
        (&[4, 0], &[4, 2], &[0, 2]),
        (&[4, 3], &[4, 0], &[3, 0]),
        (&[2, 0, 3], &[2, 0], &[2, 3]),
    ] {
        let (a, b) = (Tensor::zeros::<f32>(device, a), Tensor::zeros::<f32>(device, b));
        let got = lstsq(&a, &b, None, LstsqDriver::Gels).map_err(text)?;
        check_equal(got.solution.shape(), x)?;
        check_equal(&values(&got.solution)?, &vec![0.0; x.iter().product()])?;
        check_equal(&[got.residuals.is_some()], &[false])?;
    }
    Ok(())
}

/// The middle one of three matrices has a column of zeros.
fn singular(device: &Device, [m, n]: [usize; 2]) -> [Tensor; 2] {
    let mut a = random("lstsq/a", 3 * m * n);
    if m >= n {
        (0..m).for_each(|i| a[m * n + i * n + 2] = 0.0);
    } else {
        (0..n).for_each(|j| a[m * n + 2 * n + j] = 0.0);
    }
    [
        tensor(device, DType::F32, &[3, 1, m, n], &a),
        tensor(device, DType::F32, &[3, 1, m, 2], &random("lstsq/b", 6 * m)),
    ]
}

fn no_full_rank(device: &Device) -> Verdict {
    for [m, n, k] in [[6, 4, 2], [4, 6, 2], [5, 3, 20]] {
        let [a, b] = singular(device, [m, n]);
        let b =
            if k == 2 { b } else { tensor(device, DType::F32, &[3, 1, m, k], &random("lstsq/b", 3 * m * k)) };
        expect_error(
            lstsq(&a, &b, None, LstsqDriver::Gels),
            "matrix [1, 0] of `a` is not of full rank: R is 0 at column 2; driver `Gelsy`",
        )?;
        let got = lstsq(&a, &b, None, LstsqDriver::Gelsy).map_err(text)?;
        let full = m.min(n) as i64;
        let ranks = got.rank.ok_or("no rank")?.read::<i64>().map_err(|e| e.to_string())?;
        check_equal(&ranks, &[full, full - 1, full])?;
    }
    Ok(())
}

fn no_full_rank_is_nan(device: &Device) -> Verdict {
    for [m, n] in [[6, 4], [4, 6], [110, 100]] {
        let [a, b] = singular(device, [m, n]);
        let x = values(&lstsq(&a, &b, None, LstsqDriver::Gels).map_err(text)?.solution)?;
        if let Some(i) = (0..x.len()).find(|&i| x[i].is_nan() != (i / (2 * n) == 1)) {
            return Err(format!("{m} x {n}: value {i} is {}", x[i]));
        }
    }
    Ok(())
}

fn pivots_on_a_gpu(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[3, 2]);
    expect_error(lstsq(&a, &a, None, LstsqDriver::Gelsy), "driver `Gelsy`, whose pivots depend on each other")
}

fn wrong_shapes(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let run = |a: &[usize], b: &[usize]| lstsq(&zeros(a), &zeros(b), None, LstsqDriver::Gels);
    expect_error(run(&[4], &[4]), "`a` must be [.., rows, columns], got [4]")?;
    expect_error(run(&[4, 3], &[3, 1]), "`b` must be [.., 4, k] or [.., 4]")?;
    expect_error(run(&[4, 3], &[2, 4, 1]), "`b` must be [.., 4, k] or [.., 4]")?;
    expect_error(run(&[2, 4, 3], &[3, 4, 1]), "`b` must be of a batch that goes with [2], got [3]")
}

fn wrong_rcond(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[3, 2]);
    for rcond in [-1.0, f64::NAN, f64::INFINITY] {
        expect_error(
            lstsq(&a, &a, Some(rcond), LstsqDriver::Gels),
            "`rcond` must be a finite number from 0 on",
        )?;
    }
    Ok(())
}

fn dtypes(device: &Device) -> Verdict {
    let (a, whole) = (Tensor::zeros::<f32>(device, &[3, 2]), Tensor::zeros::<i32>(device, &[3, 2]));
    expect_error(lstsq(&whole, &a, None, LstsqDriver::Gels), "`a` must hold f32")?;
    expect_error(lstsq(&a, &whole, None, LstsqDriver::Gels), "`b` must hold f32")?;
    if device.gpu().is_none() {
        let double = Tensor::zeros::<f64>(device, &[3, 2]);
        expect_error(
            lstsq(&a, &double, None, LstsqDriver::Gels),
            "`b` must hold f32 as the first argument, got f64",
        )?;
    }
    Ok(())
}

/// Solutions of least squares `[n, k]` and residuals `[k]`, from the normal equations in f64.
fn oracle(a: &[f64], b: &[f64], [m, n, k]: [usize; 3]) -> [Vec<f64>; 2] {
    let at = transposed(a, m, n);
    let (gram, rank) = if m >= n { (product(&at, a, [n, m, n]), n) } else { (product(a, &at, [m, n, m]), m) };
    let right = if m >= n { product(&at, b, [n, m, k]) } else { b.to_vec() };
    let columns: Vec<Vec<f64>> = (0..k)
        .map(|j| {
            let right: Vec<f64> = (0..rank).map(|i| right[i * k + j]).collect();
            crate::linalg::solve::reference::solve(&gram, rank, &right).expect("full rank")
        })
        .collect();
    let y: Vec<f64> = (0..rank * k).map(|e| columns[e % k][e / k]).collect();
    let x = if m >= n { y } else { product(&at, &y, [n, m, k]) };
    let fitted = product(a, &x, [m, n, k]);
    let residuals =
        (0..k).map(|j| (0..m).map(|i| (b[i * k + j] - fitted[i * k + j]).powi(2)).sum()).collect();
    [x, residuals]
}

fn heavy(name: &str, count: usize, [m, n]: [usize; 2]) -> Vec<f64> {
    let plain = normals(name, count * m * n).into_iter().enumerate();
    plain.map(|(e, x)| 0.4 * x + if e / n % m == e % n { 2.0 } else { 0.0 }).collect()
}

fn gradients(device: &Device, shapes: &[[usize; 3]]) -> Verdict {
    shapes.iter().try_for_each(|&extents| {
        gradients_of(device, [&[2], &[2], &[2]], extents)?;
        gradients_of(device, [&[], &[], &[]], extents)
    })
}

fn repeated_gradients(device: &Device) -> Verdict {
    for extents in [[4, 2, 2], [2, 4, 2], [3, 3, 1]] {
        gradients_of(device, [&[2, 1], &[1, 3], &[2, 3]], extents)?;
        gradients_of(device, [&[1, 1], &[2, 3], &[2, 3]], extents)?;
        gradients_of(device, [&[2, 3], &[1, 1], &[2, 3]], extents)?;
    }
    Ok(())
}

/// Batches of `a` and `b` and the common one.
fn gradients_of(device: &Device, [of_a, of_b, both]: [&[usize]; 3], [m, n, k]: [usize; 3]) -> Verdict {
    let count = |batch: &[usize]| batch.iter().product::<usize>();
    let repeat = done(Broadcast::of("test", "b", of_a, of_b))?;
    for (dtype, eps) in precisions(device) {
        let (a, a_held) =
            held_tensor(device, dtype, &[of_a, &[m, n]].concat(), &heavy("a", count(of_a), [m, n]));
        let (b, b_held) =
            held_tensor(device, dtype, &[of_b, &[m, k]].concat(), &normals("b", count(of_b) * m * k));
        let (grad, w) =
            held_tensor(device, dtype, &[both, &[n, k]].concat(), &normals("w", count(both) * n * k));
        let (of_rest, w_rest) =
            held_tensor(device, dtype, &[both, &[k]].concat(), &normals("r", count(both) * k));
        let solution = done(lstsq(&a, &b, None, LstsqDriver::Gels))?.solution;
        for with_residuals in [false, true] {
            if with_residuals && m <= n {
                continue;
            }
            let loss = |a: &[f64], b: &[f64]| -> f64 {
                let one = |i: usize| {
                    let [s, t] = repeat.sources(i);
                    let [x, rest] = oracle(&a[s * m * n..][..m * n], &b[t * m * k..][..m * k], [m, n, k]);
                    let of_rest = if with_residuals { dot(&rest, &w_rest[i * k..][..k]) } else { 0.0 };
                    dot(&x, &w[i * n * k..][..n * k]) + of_rest
                };
                (0..repeat.count()).map(one).sum()
            };
            let given = with_residuals.then_some(&of_rest);
            let (got_a, got_b) = done(lstsq_backward(&grad, given, &a, &b, &solution))?;
            check_equal(got_a.shape(), a.shape())?;
            check_equal(got_b.shape(), b.shape())?;
            let what =
                format!("{m}x{n}, {k} columns, {of_a:?} and {of_b:?} {dtype:?}, residuals {with_residuals}");
            check_gradient(&format!("A, {what}"), &got_a, &differences(&a_held, |a| loss(a, &b_held)), eps)?;
            check_gradient(&format!("B, {what}"), &got_b, &differences(&b_held, |b| loss(&a_held, b)), eps)?;
        }
    }
    Ok(())
}

/// Those of one column.
fn vector_gradients(device: &Device) -> Verdict {
    for [m, n] in [[5, 3], [3, 5]] {
        let (a, _) = held_tensor(device, DType::F32, &[2, m, n], &heavy("a", 2, [m, n]));
        let (b, _) = held_tensor(device, DType::F32, &[2, m], &normals("b", 2 * m));
        let solution = done(lstsq(&a, &b, None, LstsqDriver::Gels))?.solution;
        let (of_a, of_b) = done(lstsq_backward(&solution, None, &a, &b, &solution))?;
        check_equal(of_b.shape(), b.shape())?;
        let column = |x: &Tensor| x.clone().reshape(&[x.shape(), &[1]].concat()).expect("as many elements");
        let x = column(&solution);
        let (want_a, want_b) = done(lstsq_backward(&x, None, &a, &column(&b), &x))?;
        check_equal(&read(&of_a)?, &read(&want_a)?)?;
        check_equal(&read(&of_b)?, &read(&want_b)?)?;
    }
    Ok(())
}

fn backward_empty(device: &Device) -> Verdict {
    for [count, m, n, k] in [[0, 3, 2, 1], [2, 0, 3, 1], [2, 3, 0, 1], [2, 3, 2, 0]] {
        let (a, b) =
            (Tensor::zeros::<f32>(device, &[count, m, n]), Tensor::zeros::<f32>(device, &[count, m, k]));
        let x = Tensor::zeros::<f32>(device, &[count, n, k]);
        let (of_a, of_b) = done(lstsq_backward(&x, None, &a, &b, &x))?;
        check_equal(&read(&of_a)?, &vec![0.0; count * m * n])?;
        check_equal(&read(&of_b)?, &vec![0.0; count * m * k])?;
    }
    Ok(())
}

fn backward_arguments(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (a, b, x) = (zeros(&[4, 3]), zeros(&[4, 2]), zeros(&[3, 2]));
    let run = |grad: &Tensor, rest: Option<&Tensor>, x: &Tensor| lstsq_backward(grad, rest, &a, &b, x);
    expect_error(run(&b, None, &x), "linalg::lstsq_backward: `grad` must be [3, 2], got [4, 2]")?;
    expect_error(run(&x, None, &b), "linalg::lstsq_backward: `solution` must be [3, 2], got [4, 2]")?;
    expect_error(
        run(&x, Some(&zeros(&[3])), &x),
        "linalg::lstsq_backward: `grad_residuals` must be [2], got [3]",
    )?;
    let square = zeros(&[4, 4]);
    expect_error(
        lstsq_backward(&b, Some(&zeros(&[2])), &square, &b, &b),
        "linalg::lstsq_backward: `grad_residuals` must be none without more rows than columns",
    )?;
    expect_error(lstsq_backward(&x, None, &a, &x, &x), "linalg::lstsq_backward: `b` must be")?;
    let integers = Tensor::zeros::<i32>(device, &[3, 2]);
    expect_error(run(&integers, None, &x), "linalg::lstsq_backward: `grad` must hold f32")
}
