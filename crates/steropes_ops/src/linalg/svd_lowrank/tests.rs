use super::{LowRank, normals, reference, svd_lowrank};
use crate::OpError;
use crate::linalg::dense::testing::{
    check_within, done, precisions, product, random, read, same_on_any_threads, tensor, transposed,
};
use crate::linalg::svd::reference as svd_reference;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, cpu_case, expect_error, gpu_case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("svd_lowrank/oracle/shapes", against_oracle),
        case("svd_lowrank/oracle/mean", means),
        case("svd_lowrank/property/exact_of_low_rank", exact_of_low_rank),
        case("svd_lowrank/property/iterations_help", iterations_help),
        case("svd_lowrank/property/bound", within_the_bound),
        case("svd_lowrank/property/seeds", seeds),
        case("svd_lowrank/property/zero", zeros),
        case("svd_lowrank/property/no_elements", no_elements),
        cpu_case("svd_lowrank/property/threads", threads),
        cpu_case("svd_lowrank/error/not_finite", not_finite),
        gpu_case("svd_lowrank/property/not_finite", not_finite_on_gpu),
        case("svd_lowrank/error/arguments", arguments),
    ]
}

type Results = Result<(Tensor, Tensor, Tensor), OpError>;

/// `U`, `S`, `V` as f64.
fn parts(results: Results) -> Result<[Vec<f64>; 3], String> {
    let (u, s, v) = done(results)?;
    Ok([read(&u)?, read(&s)?, read(&v)?])
}

/// `U diag(S) V^T` of one matrix.
fn rebuilt([u, s, v]: [&[f64]; 3], [m, n]: [usize; 2]) -> Vec<f64> {
    let k = s.len();
    (0..m * n).map(|e| (0..k).map(|l| u[e / n * k + l] * s[l] * v[e % n * k + l]).sum()).collect()
}

fn size(a: &[f64]) -> f64 {
    a.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// `x^T x` of an `m x k` matrix is the identity.
fn check_orthonormal(what: &str, x: &[f64], [m, k]: [usize; 2], within: f64) -> Verdict {
    let gram = product(&transposed(x, m, k), x, [k, k, m]);
    let identity: Vec<f64> = (0..k * k).map(|e| if e / k == e % k { 1.0 } else { 0.0 }).collect();
    check_within(what, &gram, &identity, |_| within)
}

/// A matrix whose singular values fall by `ratio` from one to the next, with random bases.
fn falling(name: &str, [m, n]: [usize; 2], ratio: f64) -> Vec<f64> {
    let [u, _, v] = svd_reference::svd(&random(name, m * n), m, n);
    let term = |e: usize, l: usize| u[l][e / n] * ratio.powi(l as i32) * v[l][e % n];
    (0..m * n).map(|e| (0..m.min(n)).map(|l| term(e, l)).sum()).collect()
}

fn against_oracle(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        for ([m, n], q, niter) in [
            ([1, 1], 1, 2),
            ([3, 3], 2, 0),
            ([9, 4], 3, 1),
            ([4, 9], 3, 2),
            ([5, 17], 20, 1),
            ([1, 6], 6, 2),
            ([40, 33], 6, 2),
            ([20, 90], 8, 1),
            ([90, 20], 8, 0),
        ] {
            let k = q.min(m).min(n);
            // The gap decides how exactly rounding leaves what is found.
            let all: Vec<f64> = (0..3).flat_map(|i| falling(&format!("a{i}"), [m, n], 0.6)).collect();
            let (x, held) = tensor(device, dtype, &[3, m, n], &all);
            let options = LowRank { q, niter, seed: 5 };
            let (u, s, v) = done(svd_lowrank(&x, options, None))?;
            check_equal(u.shape(), &[3, m, k])?;
            check_equal(s.shape(), &[3, k])?;
            check_equal(v.shape(), &[3, n, k])?;
            check_equal(&[u.dtype(), s.dtype(), v.dtype()], &[dtype; 3])?;
            let [u, s, v] = [read(&u)?, read(&s)?, read(&v)?];
            let start = normals::normals(5, [m.min(n), k]);
            for i in 0..3 {
                let (want, values) =
                    reference::svd_lowrank(&held[i * m * n..][..m * n], [m, n], &start, k, niter);
                let [u, s, v] = [&u[i * m * k..][..m * k], &s[i * k..][..k], &v[i * n * k..][..n * k]];
                let what =
                    |part: &str| format!("{part} of {m}x{n}, {q} vectors, {niter} iterations, {dtype:?}");
                let bound = 40.0 * eps * m.max(n) as f64;
                check_within(&what("product"), &rebuilt([u, s, v], [m, n]), &want, |_| bound)?;
                check_within(&what("S"), s, &values, |_| bound)?;
                check_orthonormal(&what("U"), u, [m, k], bound)?;
                check_orthonormal(&what("V"), v, [n, k], bound)?;
                check_equal(&[s.windows(2).all(|pair| pair[0] >= pair[1])], &[true])?;
            }
        }
    }
    Ok(())
}

/// Of every shape that a mean may have, far larger than what varies.
fn means(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        let (m, n, k) = (12, 7, 3);
        for [m, n] in [[m, n], [n, m]] {
            let base = falling("a", [m, n], 0.4).repeat(4);
            let options = LowRank { q: k, niter: 2, seed: 1 };
            for shape in [
                vec![1, n],
                vec![2, 1, n],
                vec![2, 1, 1, n],
                vec![1, 2, 1, n],
                vec![m, n],
                vec![2, 2, m, n],
                vec![1, 1, 1, n],
            ] {
                let len = shape.iter().product();
                let rough: Vec<f64> = random("mean", len).iter().map(|x| 64.0 * x.round()).collect();
                let (mean, offsets) = tensor(device, dtype, &shape, &rough);
                let rows = shape[shape.len() - 2];
                let batch = &shape[..shape.len() - 2];
                let offset_at = |e: usize| {
                    let (matrix, row, column) = (e / (m * n), e / n % m, e % n);
                    let number = match batch {
                        [] | [1, 1] => 0,
                        [2] | [1, 2] => matrix % 2,
                        [2, 1] => matrix / 2,
                        _ => matrix,
                    };
                    offsets[(number * rows + if rows == 1 { 0 } else { row }) * n + column]
                };
                let moved: Vec<f64> = base.iter().enumerate().map(|(e, x)| x + offset_at(e)).collect();
                let (x, held) = tensor(device, dtype, &[2, 2, m, n], &moved);
                let [u, s, v] = parts(svd_lowrank(&x, options, Some(&mean)))?;
                let start = normals::normals(1, [m.min(n), k]);
                for i in 0..4 {
                    let centred: Vec<f64> =
                        (i * m * n..(i + 1) * m * n).map(|e| held[e] - offset_at(e)).collect();
                    let (want, values) = reference::svd_lowrank(&centred, [m, n], &start, k, 2);
                    let [u, s, v] = [&u[i * m * k..][..m * k], &s[i * k..][..k], &v[i * n * k..][..n * k]];
                    // A mean of 64 that cost digits would show.
                    let bound = 40.0 * eps * m.max(n) as f64;
                    let what = format!("mean of {shape:?}, matrix {i}");
                    check_within(&what, &rebuilt([u, s, v], [m, n]), &want, |_| bound)?;
                    check_within(&what, s, &values, |_| bound)?;
                }
            }
        }
    }
    Ok(())
}

fn exact_of_low_rank(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        for ([m, n], rank, scale) in [([50, 20], 4, 1.0), ([20, 50], 4, 1e12), ([64, 64], 5, 1e-12)] {
            let a = product(&random("x", m * rank), &random("y", rank * n), [m, n, rank]);
            let a: Vec<f64> = a.into_iter().map(|x| x * scale).collect();
            let (x, held) = tensor(device, dtype, &[m, n], &a);
            let [u, s, v] = parts(svd_lowrank(&x, LowRank::default(), None))?;
            let largest = svd_reference::svdvals(&held, m, n)[0];
            let bound = 20.0 * eps * m.max(n) as f64;
            check_within("product", &rebuilt([&u, &s, &v], [m, n]), &held, |_| bound * largest)?;
            check_orthonormal("U", &u, [m, 6], bound)?;
            check_orthonormal("V", &v, [n, 6], bound)?;
        }
    }
    Ok(())
}

/// What is left out gets smaller with each iteration, towards the best possible.
fn iterations_help(device: &Device) -> Verdict {
    let (m, n, q) = (30, 20, 5);
    let a = falling("a", [m, n], 0.9);
    let (x, held) = tensor(device, DType::F32, &[m, n], &a);
    let best = svd_reference::svdvals(&held, m, n)[q..].iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut before = f64::INFINITY;
    for niter in [0, 1, 2, 6] {
        let [u, s, v] = parts(svd_lowrank(&x, LowRank { q, niter, seed: 3 }, None))?;
        let rest: Vec<f64> = held.iter().zip(rebuilt([&u, &s, &v], [m, n])).map(|(a, b)| a - b).collect();
        let error = size(&rest);
        if error.is_nan() || error > before || error < best * (1.0 - 1e-5) {
            return Err(format!("{niter} iterations: {error}, before {before}, at best {best}"));
        }
        before = error;
    }
    if before > 1.02 * best {
        return Err(format!("6 iterations leave {before}, at best {best}"));
    }
    Ok(())
}

/// The mean over seeds is within the bound of the documentation.
fn within_the_bound(device: &Device) -> Verdict {
    let (m, n, q) = (24, 20, 4);
    let a = falling("a", [m, n], 0.95);
    let (x, held) = tensor(device, DType::F32, &[m, n], &a);
    let next = svd_reference::svdvals(&held, m, n)[q];
    for niter in [0, 1] {
        let mut sum = 0.0;
        for seed in 0..8 {
            let [u, s, v] = parts(svd_lowrank(&x, LowRank { q, niter, seed }, None))?;
            let rest: Vec<f64> = held.iter().zip(rebuilt([&u, &s, &v], [m, n])).map(|(a, b)| a - b).collect();
            sum += svd_reference::svdvals(&rest, m, n)[0];
        }
        let power = 1.0 / (2 * niter + 1) as f64;
        let bound = (1.0 + 4.0 * (2.0 * n as f64 / (q - 1) as f64).sqrt()).powf(power) * next;
        let mean = sum / 8.0;
        if mean.is_nan() || mean > bound {
            return Err(format!("{niter} iterations: mean error {mean}, bound {bound}"));
        }
    }
    Ok(())
}

fn seeds(device: &Device) -> Verdict {
    let (x, _) = tensor(device, DType::F32, &[2, 20, 30], &random("a", 1200));
    let run = |seed| parts(svd_lowrank(&x, LowRank { q: 3, niter: 0, seed }, None));
    check_equal(&run(4)?.concat(), &run(4)?.concat())?;
    if run(4)?[1] == run(5)?[1] {
        return Err("two seeds give the same values".to_owned());
    }
    Ok(())
}

fn zeros(device: &Device) -> Verdict {
    let (x, _) = tensor(device, DType::F32, &[2, 8, 5], &[[0.0; 40].as_slice(), &random("a", 40)].concat());
    let [u, s, v] = parts(svd_lowrank(&x, LowRank { q: 3, ..LowRank::default() }, None))?;
    check_equal(&s[..3], &[0.0; 3])?;
    check_orthonormal("U", &u[..24], [8, 3], 1e-5)?;
    check_orthonormal("V", &v[..15], [5, 3], 1e-5)?;
    check_equal(&[s[3] > 0.0], &[true])
}

fn no_elements(device: &Device) -> Verdict {
    for (shape, q, k) in [([2, 0, 3], 2, 0), ([0, 3, 2], 2, 2), ([2, 3, 0], 1, 0), ([2, 3, 4], 0, 0)] {
        let a = Tensor::zeros::<f32>(device, &shape);
        let (u, s, v) = done(svd_lowrank(&a, LowRank { q, niter: 1, seed: 0 }, None))?;
        check_equal(u.shape(), &[shape[0], shape[1], k])?;
        check_equal(s.shape(), &[shape[0], k])?;
        check_equal(v.shape(), &[shape[0], shape[2], k])?;
    }
    Ok(())
}

fn threads(device: &Device) -> Verdict {
    for shape in [[30, 20, 12], [1, 300, 280]] {
        let (x, _) = tensor(device, DType::F32, &shape, &random("a", shape.iter().product()));
        same_on_any_threads(|| Ok(parts(svd_lowrank(&x, LowRank::default(), None))?.concat()))?;
    }
    Ok(())
}

fn with_nan(device: &Device) -> Tensor {
    let mut a = random("a", 3 * 20);
    a[25] = f64::NAN;
    tensor(device, DType::F32, &[3, 5, 4], &a).0
}

fn not_finite(device: &Device) -> Verdict {
    let options = LowRank { q: 2, ..LowRank::default() };
    expect_error(
        svd_lowrank(&with_nan(device), options, None),
        "linalg::svd_lowrank: matrix [1] of `a` holds NaN",
    )
}

fn not_finite_on_gpu(device: &Device) -> Verdict {
    let all = parts(svd_lowrank(&with_nan(device), LowRank { q: 2, ..LowRank::default() }, None))?;
    for (values, each) in all.iter().zip([10, 2, 8]) {
        let want: Vec<bool> = (0..3 * each).map(|i| i / each == 1).collect();
        check_equal(&values.iter().map(|x| x.is_nan()).collect::<Vec<_>>(), &want)?;
    }
    Ok(())
}

fn arguments(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let run = |a: &Tensor, mean: Option<&Tensor>| svd_lowrank(a, LowRank::default(), mean);
    expect_error(run(&zeros(&[3]), None), "linalg::svd_lowrank: `a` must be [.., rows, columns], got [3]")?;
    expect_error(
        run(&Tensor::zeros::<i32>(device, &[2, 2]), None),
        "linalg::svd_lowrank: `a` must hold f32",
    )?;
    for wrong in [&[3][..], &[1, 4], &[2, 3], &[3, 1, 3], &[2, 2, 1, 3], &[2, 4, 2]] {
        expect_error(
            run(&zeros(&[2, 4, 3]), Some(&zeros(wrong))),
            "linalg::svd_lowrank: `mean` must be [.., 1, 3] of a batch that goes with [2], or [.., 4, 3], got",
        )?;
    }
    let integers = Tensor::zeros::<i32>(device, &[1, 3]);
    expect_error(run(&zeros(&[4, 3]), Some(&integers)), "linalg::svd_lowrank: `mean` must hold f32")
}
