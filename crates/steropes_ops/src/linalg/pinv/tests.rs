#![expect(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN must not pass")]

use super::{matrix_rank, pinv, pinv_backward};
use crate::linalg::dense::testing::{
    check_gradient, check_within, differences, done, dot, precisions, product, random, read as held_values,
    tensor as held_tensor,
};
use crate::linalg::svd::reference;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::small_bindings_case;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, gpu_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("pinv/oracle/shapes", against_oracle),
        cpu_case("pinv/oracle/f64", f64_against_oracle),
        case("pinv/property/penrose", penrose),
        case("pinv/property/cut", cut_decides),
        case("pinv/property/no_elements", no_elements),
        case("matrix_rank/oracle/ranks", ranks),
        case("matrix_rank/property/cut", cut_of_ranks),
        small_bindings_case("pinv/property/many_bindings", 1024, many_bindings),
        gpu_case("pinv/property/not_finite", not_finite_on_gpu),
        cpu_case("pinv/error/not_finite", not_finite),
        case("pinv_backward/gradient/full_rank", full_rank_gradients),
        case("pinv_backward/gradient/low_rank", low_rank_gradients),
        case("pinv_backward/property/empty", backward_empty),
        case("pinv_backward/error/arguments", backward_arguments),
        case("pinv/error/arguments", arguments),
    ]
}

fn tensor(device: &Device, shape: &[usize], values: Vec<f32>) -> Tensor {
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

fn f32s(result: Result<Tensor, crate::OpError>) -> Result<Vec<f32>, String> {
    result.map_err(|e| e.to_string())?.read::<f32>().map_err(|e| e.to_string())
}

/// The pseudo-inverse over the `rank` largest singular values of the oracle, row-major.
fn oracle(a: &[f64], [m, n]: [usize; 2], rank: usize) -> Vec<f64> {
    let [u, s, v] = reference::svd(a, m, n);
    (0..n * m).map(|i| (0..rank).map(|k| v[k][i / m] * u[k][i % m] / s[k][0]).sum()).collect()
}

fn against_oracle(device: &Device) -> Verdict {
    for shape in [[1, 1], [3, 3], [4, 2], [2, 4], [1, 6], [7, 5], [5, 9], [20, 12]] {
        let size = shape[0] * shape[1];
        let a = normal("pinv/a", 2 * size);
        let got = pinv(&tensor(device, &[2, shape[0], shape[1]], a.clone()), None);
        check_equal(got.as_ref().map_err(|e| e.to_string())?.shape(), &[2, shape[1], shape[0]])?;
        let a: Vec<f64> = a.into_iter().map(f64::from).collect();
        let rank = shape[0].min(shape[1]);
        let want = [oracle(&a[..size], shape, rank), oracle(&a[size..], shape, rank)];
        for (got, want) in f32s(got)?.chunks_exact(size).zip(&want) {
            check_close(got, want, Tolerance::OfLargest(1e-4)).map_err(|e| format!("{shape:?}: {e}"))?;
        }
    }
    Ok(())
}

fn f64_against_oracle(device: &Device) -> Verdict {
    let a: Vec<f64> = normal("pinv/a", 35).into_iter().map(f64::from).collect();
    let x = Tensor::new(device, &[7, 5], a.clone()).expect("a value for each");
    let got = pinv(&x, None).and_then(|x| Ok(x.read::<f64>()?)).map_err(|e| e.to_string())?;
    for (got, want) in got.iter().zip(oracle(&a, [7, 5], 5)) {
        if !((got - want).abs() < 1e-12) {
            return Err(format!("got {got}, want {want}"));
        }
    }
    check_equal(&matrix_rank(&x, None).and_then(|x| Ok(x.read::<i64>()?)).map_err(|e| e.to_string())?, &[5])?;
    check_equal(&[pinv(&x, None).map_err(|e| e.to_string())?.dtype()], &[DType::F64])
}

/// Rank two of five columns.
fn rank_two() -> Vec<f32> {
    let (x, y) = (normal("pinv/x", 8), normal("pinv/y", 5));
    (0..40).map(|i| x[i / 5] * y[i % 5] + x[7 - i / 5] * y[4 - i % 5]).collect()
}

/// `a p a = a` and `p a p = p` where singular values are 0 up to rounding.
fn penrose(device: &Device) -> Verdict {
    let a = rank_two();
    let p = f32s(pinv(&tensor(device, &[8, 5], a.clone()), None))?;
    let product = |x: &[f64], y: &[f64], [m, k, n]: [usize; 3]| -> Vec<f64> {
        (0..m * n).map(|i| (0..k).map(|j| x[i / n * k + j] * y[j * n + i % n]).sum()).collect()
    };
    let [a64, p64] = [&a, &p].map(|x| x.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>());
    let apa = product(&product(&a64, &p64, [8, 5, 8]), &a64, [8, 8, 5]);
    let pap = product(&product(&p64, &a64, [5, 8, 5]), &p64, [5, 5, 8]);
    check_close(&a, &apa, Tolerance::OfLargest(1e-5))?;
    check_close(&p, &pap, Tolerance::OfLargest(1e-5))
}

fn cut_decides(device: &Device) -> Verdict {
    let diagonal = |x: [f32; 3]| vec![x[0], 0.0, 0.0, 0.0, x[1], 0.0, 0.0, 0.0, x[2]];
    let a = tensor(device, &[3, 3], diagonal([4.0, 0.5, 1e-3]));
    check_close(
        &f32s(pinv(&a, Some(0.01)))?,
        &diagonal([0.25, 2.0, 0.0]).map_f64(),
        Tolerance::Absolute(1e-6),
    )?;
    check_close(
        &f32s(pinv(&a, Some(0.0)))?,
        &diagonal([0.25, 2.0, 1e3]).map_f64(),
        Tolerance::OfLargest(1e-6),
    )?;
    check_close(
        &f32s(pinv(&a, Some(0.5)))?,
        &diagonal([0.25, 0.0, 0.0]).map_f64(),
        Tolerance::Absolute(1e-6),
    )?;
    let zero = tensor(device, &[3, 3], vec![0.0; 9]);
    check_equal(&f32s(pinv(&zero, None))?, &[0.0; 9])
}

/// As f64.
trait MapF64 {
    fn map_f64(&self) -> Vec<f64>;
}

impl MapF64 for Vec<f32> {
    fn map_f64(&self) -> Vec<f64> {
        self.iter().map(|&x| f64::from(x)).collect()
    }
}

fn no_elements(device: &Device) -> Verdict {
    for (shape, inverse) in [([2, 0, 3], [2, 3, 0]), ([0, 3, 2], [0, 2, 3])] {
        let a = Tensor::zeros::<f32>(device, &shape);
        check_equal(pinv(&a, None).map_err(|e| e.to_string())?.shape(), &inverse)?;
        let ranks = matrix_rank(&a, None).and_then(|r| Ok(r.read::<i64>()?)).map_err(|e| e.to_string())?;
        check_equal(&ranks, &vec![0; shape[0]])?;
    }
    Ok(())
}

fn ranks(device: &Device) -> Verdict {
    let full = normal("pinv/a", 40);
    let all = [rank_two(), vec![0.0; 40], full, rank_two().iter().map(|x| x * 1e-25).collect()].concat();
    let got = matrix_rank(&tensor(device, &[2, 2, 8, 5], all), None).map_err(|e| e.to_string())?;
    check_equal(got.shape(), &[2, 2])?;
    check_equal(&got.read::<i64>().map_err(|e| e.to_string())?, &[2, 0, 5, 2])
}

fn cut_of_ranks(device: &Device) -> Verdict {
    let a = tensor(device, &[2, 2], vec![4.0, 0.0, 0.0, 1.0]);
    for (rtol, want) in [(0.0, 2), (0.2, 2), (0.3, 1), (1.0, 0)] {
        let got =
            matrix_rank(&a, Some(rtol)).and_then(|r| Ok(r.read::<i64>()?)).map_err(|e| e.to_string())?;
        check_equal(&got, &[want])?;
    }
    Ok(())
}

fn many_bindings(device: &Device) -> Verdict {
    let a = normal("pinv/a", 90 * 6);
    let x = tensor(device, &[90, 2, 3], a.clone());
    let inverses = f32s(pinv(&x, None))?;
    let ranks = matrix_rank(&x, None).and_then(|r| Ok(r.read::<i64>()?)).map_err(|e| e.to_string())?;
    check_equal(&ranks, &[2; 90])?;
    for (i, a) in a.chunks_exact(6).enumerate() {
        let a = a.to_vec().map_f64();
        check_close(&inverses[i * 6..][..6], &oracle(&a, [2, 3], 2), Tolerance::OfLargest(1e-4))?;
    }
    Ok(())
}

fn not_finite_on_gpu(device: &Device) -> Verdict {
    let mut a = normal("pinv/a", 3 * 6);
    a[8] = f32::NAN;
    let a = tensor(device, &[3, 3, 2], a);
    let inverse = f32s(pinv(&a, None))?;
    check_equal(
        &inverse.iter().map(|x| x.is_nan()).collect::<Vec<_>>(),
        &(0..18).map(|i| i / 6 == 1).collect::<Vec<_>>(),
    )?;
    let ranks = matrix_rank(&a, None).and_then(|r| Ok(r.read::<i64>()?)).map_err(|e| e.to_string())?;
    check_equal(&ranks, &[2, 0, 2])
}

fn not_finite(device: &Device) -> Verdict {
    let mut a = normal("pinv/a", 2 * 6);
    a[8] = f32::NAN;
    let a = tensor(device, &[2, 3, 2], a);
    expect_error(pinv(&a, None), "linalg::pinv: matrix [1] of `a` holds NaN")?;
    expect_error(matrix_rank(&a, None), "linalg::matrix_rank: matrix [1] of `a` holds NaN")
}

fn arguments(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[2, 2]);
    for rtol in [-1.0, f64::NAN, f64::INFINITY] {
        expect_error(pinv(&a, Some(rtol)), "linalg::pinv: `rtol` must be a finite number from 0 on, got")?;
        expect_error(matrix_rank(&a, Some(rtol)), "linalg::matrix_rank: `rtol` must be a finite number")?;
    }
    let flat = Tensor::zeros::<f32>(device, &[2]);
    expect_error(pinv(&flat, None), "linalg::pinv: `a` must be [.., rows, columns]")?;
    expect_error(matrix_rank(&flat, None), "linalg::matrix_rank: `a` must be [.., rows, columns]")?;
    expect_error(pinv(&Tensor::zeros::<i32>(device, &[2, 2]), None), "linalg::pinv: `a` must hold f32")
}

fn full_rank_gradients(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        for [m, n] in [[1, 1], [3, 3], [5, 2], [2, 5], [1, 4], [9, 7]] {
            let mut all = random("pinv_backward/a", 2 * m * n);
            for (e, x) in all.iter_mut().enumerate() {
                *x = 0.3 * *x + if e / n % m == e % n { 2.0 } else { 0.0 };
            }
            let (a, held) = held_tensor(device, dtype, &[2, m, n], &all);
            let (grad, weights) =
                held_tensor(device, dtype, &[2, n, m], &random("pinv_backward/g", 2 * m * n));
            let inverse = done(pinv(&a, None))?;
            let got = done(pinv_backward(&grad, &a, &inverse))?;
            let each = m * n;
            let want: Vec<f64> = (0..2)
                .flat_map(|i| {
                    let weights = &weights[i * each..][..each];
                    differences(&held[i * each..][..each], |a| dot(&oracle(a, [m, n], m.min(n)), weights))
                })
                .collect();
            check_gradient(&format!("{m}x{n} {dtype:?}"), &got, &want, eps)?;
        }
    }
    Ok(())
}

/// Of `A = X Y` by `X` and `Y`, so that the rank stays.
fn low_rank_gradients(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        for [m, n, rank] in [[6, 4, 2], [4, 6, 2], [5, 5, 1], [5, 5, 3]] {
            let heavy = |name: &str, rows: usize, columns: usize| -> Vec<f64> {
                let plain = random(name, rows * columns).into_iter().enumerate();
                plain.map(|(e, x)| 0.3 * x + if e / columns == e % columns { 2.0 } else { 0.0 }).collect()
            };
            let (_, x) = held_tensor(device, dtype, &[m, rank], &heavy("x", m, rank));
            let (_, y) = held_tensor(device, dtype, &[rank, n], &heavy("y", rank, n));
            let (a, _) = held_tensor(device, dtype, &[m, n], &product(&x, &y, [m, n, rank]));
            let (grad, weights) = held_tensor(device, dtype, &[n, m], &random("pinv_backward/g", m * n));
            let inverse = done(pinv(&a, Some(1e-3)))?;
            let got = held_values(&done(pinv_backward(&grad, &a, &inverse))?)?;
            let transposed = |a: &[f64], rows: usize, columns: usize| -> Vec<f64> {
                (0..a.len()).map(|e| a[e % rows * columns + e / rows]).collect()
            };
            let of_x = product(&got, &transposed(&y, rank, n), [m, rank, n]);
            let of_y = product(&transposed(&x, m, rank), &got, [rank, n, m]);
            let loss =
                |x: &[f64], y: &[f64]| dot(&oracle(&product(x, y, [m, n, rank]), [m, n], rank), &weights);
            let largest = |want: &[f64]| want.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
            for (what, got, want) in
                [("X", of_x, differences(&x, |x| loss(x, &y))), ("Y", of_y, differences(&y, |y| loss(&x, y)))]
            {
                let within = (2e3 * eps + 1e-7) * largest(&want);
                check_within(&format!("{what}, {m}x{n} of rank {rank} {dtype:?}"), &got, &want, |_| within)?;
            }
        }
    }
    Ok(())
}

fn backward_empty(device: &Device) -> Verdict {
    for shape in [[0, 3, 2], [2, 0, 3], [2, 3, 0]] {
        let a = Tensor::zeros::<f32>(device, &shape);
        let inverse = done(pinv(&a, None))?;
        check_equal(done(pinv_backward(&inverse, &a, &inverse))?.shape(), &shape)?;
    }
    Ok(())
}

fn backward_arguments(device: &Device) -> Verdict {
    let (a, p) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[3, 2]));
    expect_error(pinv_backward(&a, &a, &p), "linalg::pinv_backward: `grad` must be [3, 2], got [2, 3]")?;
    expect_error(pinv_backward(&p, &a, &a), "linalg::pinv_backward: `inverse` must be [3, 2], got [2, 3]")?;
    let integers = Tensor::zeros::<i32>(device, &[3, 2]);
    expect_error(pinv_backward(&integers, &a, &p), "linalg::pinv_backward: `grad` must hold f32")
}
