#![expect(clippy::neg_cmp_op_on_partial_ord, reason = "a NaN must not pass")]

use super::{reference, svd, svd_backward, svdvals};
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Verdict, case, check_equal, cpu_case, expect_error, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("svd/oracle/up_to_four", |d| {
            shapes(d, &[[1, 1], [2, 2], [3, 3], [4, 4], [1, 4], [4, 2], [2, 3], [3, 4]])
        }),
        case("svd/oracle/vectors", |d| shapes(d, &[[1, 5], [5, 1], [2, 9], [9, 2]])),
        case("svd/oracle/odd_sizes", |d| shapes(d, &[[3, 7], [7, 3], [5, 5], [15, 17], [17, 15]])),
        case("svd/oracle/powers_of_two", |d| shapes(d, &[[8, 8], [16, 16], [32, 32]])),
        case("svd/oracle/around_32", |d| shapes(d, &[[33, 33], [48, 20], [20, 48]])),
        case("svd/oracle/around_64", |d| shapes(d, &[[63, 63], [64, 64]])),
        case("svd/oracle/around_64_not_square", |d| shapes(d, &[[65, 64], [64, 65]])),
        case("svd/oracle/100_by_40", |d| shapes(d, &[[100, 40]])),
        case("svd/oracle/128", |d| one(d, "128", normal_f64("svd/a", 128 * 128), [128, 128], false)),
        case("svd/oracle/wide_blocks", |d| one(d, "wide", normal_f64("svd/a", 90 * 110), [90, 110], true)),
        case("svd/oracle/tall", |d| one(d, "tall", normal_f64("svd/a", 700 * 3), [700, 3], false)),
        cpu_case("svd/oracle/200_by_150", |d| {
            one(d, "200 x 150", normal_f64("svd/a", 200 * 150), [200, 150], false)
        }),
        cpu_case("svd/oracle/reduced_in_f32", |d| {
            one(d, "260 x 257", normal_f64("svd/a", 260 * 257), [260, 257], false)
        }),
        cpu_case("svd/f64/all_forms", all_forms_in_f64),
        case("svd/property/special_matrices", special_matrices),
        case("svd/property/any_scale", any_scale),
        case("svd/property/small_values", small_values),
        case("svd/property/graded_columns_keep_their_digits", graded_columns),
        case("svd/property/batches", batches),
        case("svd/property/long_batch", long_batch),
        case("svd/property/values_alone", values_alone),
        case("svd/property/no_elements", no_elements),
        cpu_case("svd/property/threads_do_not_matter", threads_do_not_matter),
        gpu_case("svd/property/nothing_waits", nothing_waits),
        small_bindings_case("svd/property/many_bindings", 4096, many_bindings),
        cpu_case("svd/error/not_finite", not_finite),
        gpu_case("svd/property/not_finite_stays_in_its_matrix", not_finite_stays),
        gpu_case("svd/error/too_large", too_large),
        case("svd/error/no_matrix", no_matrix),
        case("svd/error/dtype", dtype),
        cpu_case("svd_backward/oracle/f64", |d| gradients(d, DType::F64, 1e-7)),
        case("svd_backward/oracle/f32", |d| gradients(d, DType::F32, 1e-3)),
        case("svd_backward/property/missing_gradients_are_zero", missing_gradients),
        small_bindings_case("svd_backward/property/many_bindings", 1024, missing_gradients),
        case("svd_backward/property/no_elements", backward_without_elements),
        case("svd_backward/error/shapes", backward_shapes),
        case("svd_backward/error/dtypes", backward_dtypes),
    ]
}

fn normal_f64(name: &str, len: usize) -> Vec<f64> {
    normal(name, len).into_iter().map(f64::from).collect()
}

fn tensor(device: &Device, dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
    match dtype {
        DType::F64 => Tensor::new(device, shape, values.to_vec()),
        _ => Tensor::new(device, shape, values.iter().map(|&x| x as f32).collect()),
    }
    .expect("a test's shape fits its values")
}

fn numbers(tensor: &Tensor) -> Vec<f64> {
    match tensor.dtype() {
        DType::F64 => tensor.read::<f64>().expect("the device works"),
        _ => tensor.read::<f32>().expect("the device works").into_iter().map(f64::from).collect(),
    }
}

/// As the dtype holds them.
fn rounded(dtype: DType, values: Vec<f64>) -> Vec<f64> {
    if dtype == DType::F64 { values } else { values.into_iter().map(|x| f64::from(x as f32)).collect() }
}

fn eps(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
}

/// What rounding may cost, relative to the largest singular value; a few ulp more for the roots and quotients of a GPU. A bidiagonal
/// reduction in the dtype itself costs three times as much.
fn bound(dtype: DType, [m, n]: [usize; 2]) -> f64 {
    let reduced = m.max(n) > 256 && m.min(n) > 64 || dtype == DType::F64 && m.min(n) > 16;
    eps(dtype) * (m.max(n) as f64 + 6.0) * if reduced { 3.0 } else { 1.0 }
}

/// Decomposes a stack of matrices and checks every one; returns all singular values.
fn decomposed(
    device: &Device,
    dtype: DType,
    a: &[f64],
    batch: &[usize],
    [m, n]: [usize; 2],
    full: bool,
) -> Result<Vec<f64>, String> {
    let shape = [batch, &[m, n]].concat();
    let (u, s, vh) = svd(&tensor(device, dtype, &shape, a), full).map_err(|e| e.to_string())?;
    let k = m.min(n);
    let (left, right) = if full { (m, n) } else { (k, k) };
    check_equal(u.shape(), &[batch, &[m, left]].concat())?;
    check_equal(s.shape(), &[batch, &[k]].concat())?;
    check_equal(vh.shape(), &[batch, &[right, n]].concat())?;
    check_equal(&[u.dtype(), s.dtype(), vh.dtype()], &[dtype; 3])?;
    let (u, s, vh) = (numbers(&u), numbers(&s), numbers(&vh));
    for i in 0..batch.iter().product() {
        let part = |x: &[f64], size: usize| x[i * size..][..size].to_vec();
        let (a, u, s, vh) = (part(a, m * n), part(&u, m * left), part(&s, k), part(&vh, right * n));
        checked(&a, [&u, &s, &vh], [m, n], [left, right], bound(dtype, [m, n]))
            .map_err(|e| format!("matrix {i}: {e}"))?;
    }
    Ok(s)
}

fn checked(
    a: &[f64],
    [u, s, vh]: [&[f64]; 3],
    [m, n]: [usize; 2],
    [left, right]: [usize; 2],
    bound: f64,
) -> Verdict {
    if s.windows(2).any(|pair| pair[0] < pair[1]) || s.iter().any(|&x| !(x >= 0.0)) {
        return Err(format!("singular values {s:?}"));
    }
    let relative = if s[0] > 0.0 { 1.0 / s[0] } else { 1.0 };
    let scaled = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| x * relative).collect() };
    let residual = reference::residual(&scaled(a), [u, &scaled(s), vh], [m, n, left]);
    let errors = [
        ("a - u s vh", residual),
        ("u^T u - 1", reference::orthonormality(u, left, m, left, 1)),
        ("vh vh^T - 1", reference::orthonormality(vh, right, n, 1, n)),
    ];
    for (what, error) in errors {
        if !(error <= bound) {
            return Err(format!("|{what}| is {error:.2e}, more than {bound:.2e}"));
        }
    }
    for c in 0..left {
        positive(&u.iter().skip(c).step_by(left).copied().collect::<Vec<_>>())
            .map_err(|e| format!("column {c} of u: {e}"))?;
    }
    (left..right).try_for_each(|r| positive(&vh[r * n..][..n]).map_err(|e| format!("row {r} of vh: {e}")))
}

/// Whether the first of the largest entries is positive, where rounding leaves no doubt which that is.
fn positive(vector: &[f64]) -> Verdict {
    let largest = vector.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    match vector.iter().find(|x| x.abs() >= 0.9985 * largest) {
        Some(&first) if first.abs() > 0.9995 * largest && first < 0.0 => {
            Err(format!("the largest entry is {first}"))
        }
        _ => Ok(()),
    }
}

/// One matrix of f32.
fn one(device: &Device, what: &str, a: Vec<f64>, shape: [usize; 2], full: bool) -> Verdict {
    let a = rounded(DType::F32, a);
    decomposed(device, DType::F32, &a, &[], shape, full).map(|_| ()).map_err(|e| format!("{what}: {e}"))
}

/// Compares singular values with the oracle's.
fn compare_values(got: &[f64], want: &[f64], allowed: impl Fn(f64) -> f64) -> Verdict {
    check_equal(&[got.len()], &[want.len()])?;
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        if !((g - w).abs() <= allowed(*w)) {
            return Err(format!("singular value {i}: got {g:e}, want {w:e}"));
        }
    }
    Ok(())
}

/// Thin and full, with the oracle's singular values.
fn shapes(device: &Device, all: &[[usize; 2]]) -> Verdict {
    for &[m, n] in all {
        let a = normal_f64("svd/a", m * n);
        let want = reference::svdvals(&a, m, n);
        for full in [false, true] {
            let got = decomposed(device, DType::F32, &a, &[], [m, n], full);
            got.and_then(|got| compare_values(&got, &want, |_| bound(DType::F32, [m, n]) * want[0]))
                .map_err(|e| format!("{m} x {n}, full: {full}: {e}"))?;
        }
    }
    Ok(())
}

/// Lanes, one matrix each, and one with several threads.
fn all_forms_in_f64(device: &Device) -> Verdict {
    for (batch, m, n) in [(20, 3, 3), (9, 5, 7), (1, 12, 9), (2, 40, 30), (1, 30, 40), (1, 130, 128)] {
        let a = normal_f64("svd/a", batch * m * n);
        for full in [false, true] {
            let got = decomposed(device, DType::F64, &a, &[batch], [m, n], full);
            let got = got.map_err(|e| format!("{batch} of {m} x {n}, full: {full}: {e}"))?;
            if m * n < 1000 {
                let want = reference::svdvals(&a[..m * n], m, n);
                compare_values(&got[..m.min(n)], &want, |_| bound(DType::F64, [m, n]) * want[0])?;
            }
        }
    }
    Ok(())
}

/// A matrix by its entries.
fn matrix([m, n]: [usize; 2], entry: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..m * n).map(|i| entry(i / n, i % n)).collect()
}

fn special_matrices(device: &Device) -> Verdict {
    for shape in [[1, 1], [3, 3], [4, 2], [2, 4], [6, 6], [9, 5], [5, 9], [20, 20], [85, 80]] {
        let [m, n] = shape;
        let x = normal_f64("svd/x", m.max(n));
        let y = normal_f64("svd/y", m.max(n));
        let sign = |r: usize, c: usize| if (r * c + r).is_multiple_of(3) { 1.0 } else { -1.0 };
        let all: [(&str, Vec<f64>); 9] = [
            ("zero", matrix(shape, |_, _| 0.0)),
            ("identity", matrix(shape, |r, c| f64::from(r == c))),
            ("minus identity", matrix(shape, |r, c| -f64::from(r == c))),
            ("all ones", matrix(shape, |_, _| 1.0)),
            ("signs", matrix(shape, sign)),
            ("rank one", matrix(shape, |r, c| x[r] * y[c])),
            ("rank two", matrix(shape, |r, c| x[r] * y[c] + y[r] * y[c] * y[c])),
            ("hilbert", matrix(shape, |r, c| 1.0 / (r + c + 1) as f64)),
            (
                "exchange",
                matrix(shape, |r, c| f64::from(r + c + 1 == m) * if r % 2 == 0 { 1.0 } else { -1.0 }),
            ),
        ];
        for (what, a) in all {
            one(device, &format!("{what} {m} x {n}"), a, shape, m + n < 30)?;
        }
    }
    // Repeated values are found exactly.
    for shape in [[3, 3], [7, 7]] {
        let a = matrix(shape, |r, c| if (r + 1) % shape[0] == c { -3.0 } else { 0.0 });
        let got = decomposed(device, DType::F32, &a, &[], shape, false)?;
        compare_values(&got, &vec![3.0; shape[0]], |_| 1e-6)?;
    }
    Ok(())
}

fn any_scale(device: &Device) -> Verdict {
    for shape in [[3, 3], [7, 5], [5, 12], [40, 24], [90, 84]] {
        let a = normal_f64("svd/a", shape[0] * shape[1]);
        for scale in [1e-30, 1e-20, 1e-6, 1e20, 1e35] {
            let a: Vec<f64> = a.iter().map(|x| x * scale).collect();
            one(device, &format!("{scale:e} {shape:?}"), a, shape, false)?;
        }
    }
    Ok(())
}

/// `u diag(s) v^T` with orthonormal `u` and `v` of the oracle.
fn with_values([m, n]: [usize; 2], s: impl Fn(usize) -> f64) -> Vec<f64> {
    let [u, _, v] = reference::svd(&normal_f64("svd/bases", m * n), m, n);
    matrix([m, n], |r, c| (0..m.min(n)).map(|k| u[k][r] * s(k) * v[k][c]).sum())
}

/// Singular values over four to six orders of magnitude are found to a few ulp of the largest, where a Gram matrix would lose the lower half.
fn small_values(device: &Device) -> Verdict {
    for shape in [[4, 4], [12, 12], [20, 10], [32, 32]] {
        for condition in [1e4f64, 1e6] {
            let last = (shape[0].min(shape[1]) - 1) as f64;
            let a = rounded(DType::F32, with_values(shape, |k| condition.powf(-(k as f64) / last)));
            let want = reference::svdvals(&a, shape[0], shape[1]);
            let got = decomposed(device, DType::F32, &a, &[], shape, false)?;
            compare_values(&got, &want, |_| 6.0 * eps(DType::F32) * want[0])
                .map_err(|e| format!("{shape:?}, condition {condition:e}: {e}"))?;
        }
    }
    Ok(())
}

/// Columns of very different lengths: every singular value to its own last digits.
fn graded_columns(device: &Device) -> Verdict {
    for (shape, wide) in [([3, 3], false), ([4, 4], false), ([12, 8], false), ([8, 12], true)] {
        let b = with_values(shape, |k| 1.0 / (1.0 + k as f64));
        let a = rounded(
            DType::F32,
            matrix(shape, |r, c| b[r * shape[1] + c] * 0.01f64.powi(if wide { r as i32 } else { c as i32 })),
        );
        let want = reference::svdvals(&a, shape[0], shape[1]);
        let (_, s, _) = svd(&tensor(device, DType::F32, &shape, &a), false).map_err(|e| e.to_string())?;
        compare_values(&numbers(&s), &want, |w| 40.0 * eps(DType::F32) * w)
            .map_err(|e| format!("{shape:?}: {e}"))?;
    }
    Ok(())
}

fn batches(device: &Device) -> Verdict {
    for shape in [[3, 3], [4, 1], [9, 6], [6, 9], [24, 24], [85, 82]] {
        let a = normal_f64("svd/a", 6 * shape[0] * shape[1]);
        for full in [false, true] {
            decomposed(device, DType::F32, &a, &[2, 3], shape, full)
                .map_err(|e| format!("{shape:?}: {e}"))?;
        }
    }
    Ok(())
}

/// More matrices than a workgroup or a vector takes, of which some are done long before the others: all as if alone.
fn long_batch(device: &Device) -> Verdict {
    for shape in [[2, 2], [3, 3], [4, 3], [6, 5]] {
        let size = shape[0] * shape[1];
        let count = if size < 16 { 1500 } else { 75 };
        let mut a = normal_f64("svd/a", count * size);
        a.chunks_exact_mut(size).step_by(7).for_each(|a| a[1..].fill(0.0));
        decomposed(device, DType::F32, &a, &[count], shape, true).map_err(|e| format!("{shape:?}: {e}"))?;
        let of = |a: &[f64]| {
            let shape = [a.len() / size, shape[0], shape[1]];
            svd(&tensor(device, DType::F32, &shape, a), false).map(|(u, s, _)| [numbers(&u), numbers(&s)])
        };
        let (all, alone) =
            (of(&a).map_err(|e| e.to_string())?, of(&a[37 * size..38 * size]).map_err(|e| e.to_string())?);
        for (all, alone) in all.iter().zip(&alone) {
            check_equal(&all[37 * alone.len()..38 * alone.len()], alone)?;
        }
    }
    Ok(())
}

fn values_alone(device: &Device) -> Verdict {
    for [m, n] in [[1, 1], [3, 3], [2, 4], [12, 7], [7, 12], [30, 30], [64, 64], [90, 85]] {
        let a = normal_f64("svd/a", 2 * m * n);
        let a = tensor(device, DType::F32, &[2, m, n], &a);
        let s = svdvals(&a).map_err(|e| e.to_string())?;
        check_equal(s.shape(), &[2, m.min(n)])?;
        let want = numbers(&svd(&a, false).map_err(|e| e.to_string())?.1);
        compare_values(&numbers(&s), &want, |_| bound(DType::F32, [m, n]) * want[0])
            .map_err(|e| format!("{m} x {n}: {e}"))?;
    }
    Ok(())
}

fn no_elements(device: &Device) -> Verdict {
    for (shape, full, u, s, vh) in [
        (&[0, 3, 2][..], false, &[0, 3, 2][..], &[0, 2][..], &[0, 2, 2][..]),
        (&[2, 0, 3], false, &[2, 0, 0], &[2, 0], &[2, 0, 3]),
        (&[2, 0, 3], true, &[2, 0, 0], &[2, 0], &[2, 3, 3]),
        (&[4, 0], true, &[4, 4], &[0], &[0, 0]),
        (&[0, 0], true, &[0, 0], &[0], &[0, 0]),
    ] {
        let a = Tensor::zeros::<f32>(device, shape);
        let results = svd(&a, full).map_err(|e| e.to_string())?;
        check_equal(results.0.shape(), u)?;
        check_equal(results.1.shape(), s)?;
        check_equal(results.2.shape(), vh)?;
        check_equal(svdvals(&a).map_err(|e| e.to_string())?.shape(), s)?;
        for (basis, shape) in [(&results.0, u), (&results.2, vh)] {
            let n = shape[shape.len() - 1];
            let one = |i: usize| f64::from(i % (n * n).max(1) / n.max(1) == i % n.max(1));
            check_equal(&numbers(basis), &(0..basis.len()).map(one).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

fn threads_do_not_matter(device: &Device) -> Verdict {
    for shape in [&[70, 5, 4][..], &[3, 24, 24], &[140, 130]] {
        let a = tensor(device, DType::F32, shape, &normal_f64("svd/a", shape.iter().product()));
        let with = |threads| {
            let pool =
                rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
            let (u, s, vh) = pool.install(|| svd(&a, false)).map_err(|e| e.to_string())?;
            Ok::<_, String>([numbers(&u), numbers(&s), numbers(&vh)])
        };
        let (few, many) = (with(1)?, with(5)?);
        few.iter().zip(&many).try_for_each(|(few, many)| check_equal(few, many))?;
    }
    Ok(())
}

fn nothing_waits(device: &Device) -> Verdict {
    // A handle of its own counts its own waits.
    let gpu = device.gpu().expect("a case for GPUs").with_bindings_of(u64::MAX);
    let device = &Device::Gpu(gpu.clone());
    for shape in [[3, 3], [20, 20], [90, 88]] {
        let a = tensor(device, DType::F32, &shape, &normal_f64("svd/a", shape[0] * shape[1]));
        let before = gpu.waits();
        let results = svd(&a, true).map_err(|e| e.to_string())?;
        svd_backward(&results.0, &results.1, &results.2, None, Some(&results.1), None).ok();
        check_equal(&[gpu.waits()], &[before])?;
    }
    Ok(())
}

/// Matrices of every form in several windows, whose first matrices do not begin where bindings do.
fn many_bindings(device: &Device) -> Verdict {
    for (count, shape) in [(300, [3, 3]), (250, [2, 4]), (60, [7, 5]), (40, [5, 7])] {
        let a = normal_f64("svd/a", count * shape[0] * shape[1]);
        for full in [false, true] {
            decomposed(device, DType::F32, &a, &[count], shape, full)
                .map_err(|e| format!("{shape:?}: {e}"))?;
        }
        let a = tensor(device, DType::F32, &[count, shape[0], shape[1]], &a);
        let [all, alone] = [svd(&a, false).map(|r| r.1), svdvals(&a)].map(|s| s.map(|s| numbers(&s)));
        let (all, alone) = (all.map_err(|e| e.to_string())?, alone.map_err(|e| e.to_string())?);
        compare_values(&alone, &all, |_| 1e-5)?;
    }
    Ok(())
}

fn not_finite(device: &Device) -> Verdict {
    for (dtype, shape) in [(DType::F32, [3, 3]), (DType::F32, [40, 30]), (DType::F64, [5, 2])] {
        let size = shape[0] * shape[1];
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut a = normal_f64("svd/a", 6 * size);
            a[5 * size - 1] = bad;
            let a = tensor(device, dtype, &[2, 3, shape[0], shape[1]], &a);
            expect_error(svd(&a, false), "linalg::svd: matrix [1, 1] of `a` holds NaN or an infinity")?;
            expect_error(svdvals(&a), "linalg::svdvals: matrix [1, 1] of `a` holds NaN or an infinity")?;
        }
    }
    Ok(())
}

fn not_finite_stays(device: &Device) -> Verdict {
    for (m, n) in [(3, 3), (4, 2), (2, 4), (9, 7), (7, 9), (90, 85)] {
        for bad in [f64::NAN, f64::NEG_INFINITY] {
            let mut a = normal_f64("svd/a", 3 * m * n);
            a[2 * m * n - 1] = bad;
            let (u, s, vh) =
                svd(&tensor(device, DType::F32, &[3, m, n], &a), true).map_err(|e| e.to_string())?;
            for (what, results) in [("u", numbers(&u)), ("s", numbers(&s)), ("vh", numbers(&vh))] {
                let each = results.len() / 3;
                if let Some(i) = (0..results.len()).find(|&i| results[i].is_nan() != (i / each == 1)) {
                    return Err(format!("{m} x {n}: {what} of matrix {} is {}", i / each, results[i]));
                }
            }
        }
    }
    Ok(())
}

fn too_large(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[2049, 2049]);
    expect_error(
        svd(&a, false),
        "2049 singular values; its kernels are for at most 2048, larger ones run on the CPU",
    )
}

fn no_matrix(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[3]);
    expect_error(svd(&a, false), "linalg::svd: `a` must be [.., rows, columns], got [3]")?;
    expect_error(svdvals(&a), "linalg::svdvals: `a` must be [.., rows, columns], got [3]")
}

fn dtype(device: &Device) -> Verdict {
    expect_error(svd(&Tensor::zeros::<i32>(device, &[2, 2]), false), "`a` must hold f32")?;
    match device {
        Device::Cpu => Ok(()),
        Device::Gpu(_) => {
            expect_error(svdvals(&Tensor::zeros::<f64>(device, &[2, 2])), "`a` must hold f32, got f64")
        }
    }
}

/// A loss that no sign of a vector changes: `sum(c * u f(s) v^T) + sum(d * u g(s) u^T) + sum(e * v h(s) v^T)` with
/// `f = s^2`, `g = 1 / (1 + s)` and `h = s`.
struct Loss {
    c: Vec<f64>,
    d: Vec<f64>,
    e: Vec<f64>,
    m: usize,
    n: usize,
}

impl Loss {
    fn new(m: usize, n: usize) -> Self {
        let part = |name, len| normal_f64(name, len);
        Self { c: part("svd/c", m * n), d: part("svd/d", m * m), e: part("svd/e", n * n), m, n }
    }

    fn at(&self, a: &[f64]) -> f64 {
        let [u, s, v] = reference::svd(a, self.m, self.n);
        let form = |x: &[f64], matrix: &[f64], y: &[f64]| -> f64 {
            (0..x.len() * y.len()).map(|i| x[i / y.len()] * matrix[i] * y[i % y.len()]).sum()
        };
        (0..s.len())
            .map(|k| {
                let s = s[k][0];
                s * s * form(&u[k], &self.c, &v[k])
                    + form(&u[k], &self.d, &u[k]) / (1.0 + s)
                    + s * form(&v[k], &self.e, &v[k])
            })
            .sum()
    }

    /// The gradients by `u`, `s` and `vh`, row-major as the op has them.
    fn gradients(&self, u: &[f64], s: &[f64], vh: &[f64]) -> [Vec<f64>; 3] {
        let (m, n, k) = (self.m, self.n, s.len());
        let (u_at, v_at) = (|r: usize, i: usize| u[r * k + i], |r: usize, i: usize| vh[i * n + r]);
        let cv = |r: usize, i: usize| (0..n).map(|c| self.c[r * n + c] * v_at(c, i)).sum::<f64>();
        let cu = |c: usize, i: usize| (0..m).map(|r| self.c[r * n + c] * u_at(r, i)).sum::<f64>();
        let du = |r: usize, i: usize| {
            (0..m).map(|c| (self.d[r * m + c] + self.d[c * m + r]) * u_at(c, i)).sum::<f64>()
        };
        let ev = |r: usize, i: usize| {
            (0..n).map(|c| (self.e[r * n + c] + self.e[c * n + r]) * v_at(c, i)).sum::<f64>()
        };
        let grad_u = matrix([m, k], |r, i| s[i] * s[i] * cv(r, i) + du(r, i) / (1.0 + s[i]));
        let grad_vh = matrix([k, n], |i, r| s[i] * s[i] * cu(r, i) + s[i] * ev(r, i));
        let grad_s = (0..k)
            .map(|i| {
                let of_c: f64 = (0..m).map(|r| u_at(r, i) * cv(r, i)).sum();
                let of_d: f64 = (0..m).map(|r| u_at(r, i) * du(r, i)).sum::<f64>() / 2.0;
                let of_e: f64 = (0..n).map(|r| v_at(r, i) * ev(r, i)).sum::<f64>() / 2.0;
                2.0 * s[i] * of_c - of_d / (1.0 + s[i]).powi(2) + of_e
            })
            .collect();
        [grad_u, grad_s, grad_vh]
    }
}

/// Against central differences of the oracle.
fn gradients(device: &Device, dtype: DType, tolerance: f64) -> Verdict {
    for [m, n] in [[1, 1], [3, 3], [5, 3], [3, 5], [6, 6], [9, 6], [2, 7]] {
        let a = rounded(dtype, with_values([m, n], |k| 3.0 - 0.45 * k as f64));
        let loss = Loss::new(m, n);
        let step = 1e-5;
        let want: Vec<f64> = (0..m * n)
            .map(|i| {
                let moved = |by: f64| {
                    let mut a = a.clone();
                    a[i] += by;
                    loss.at(&a)
                };
                (moved(step) - moved(-step)) / (2.0 * step)
            })
            .collect();
        // Two matrices, of which the first is another one.
        let both = [with_values([m, n], |k| 5.0 - 0.5 * k as f64), a].concat();
        let (u, s, vh) = svd(&tensor(device, dtype, &[2, m, n], &both), false).map_err(|e| e.to_string())?;
        let (all_u, all_s, all_vh) = (numbers(&u), numbers(&s), numbers(&vh));
        let k = m.min(n);
        let mut given = [Vec::new(), Vec::new(), Vec::new()];
        for i in 0..2 {
            let part = |x: &[f64], size: usize| x[i * size..][..size].to_vec();
            let parts = loss.gradients(&part(&all_u, m * k), &part(&all_s, k), &part(&all_vh, k * n));
            given.iter_mut().zip(parts).for_each(|(all, part)| all.extend(part));
        }
        let of = |like: &Tensor, values: &[f64]| tensor(device, dtype, like.shape(), values);
        let given = [of(&u, &given[0]), of(&s, &given[1]), of(&vh, &given[2])];
        let got = svd_backward(&u, &s, &vh, Some(&given[0]), Some(&given[1]), Some(&given[2]));
        let got = got.map_err(|e| e.to_string())?;
        check_equal(got.shape(), &[2, m, n])?;
        let got = numbers(&got);
        let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (i, (g, w)) in got[m * n..].iter().zip(&want).enumerate() {
            if !((g - w).abs() <= tolerance * largest) {
                return Err(format!("{m} x {n}, entry {i}: got {g}, want {w}"));
            }
        }
    }
    Ok(())
}

/// Each gradient alone, and the sum of the three as all at once.
fn missing_gradients(device: &Device) -> Verdict {
    for [m, n] in [[4, 4], [6, 3], [3, 6]] {
        let k = m.min(n);
        let a: Vec<f64> =
            (0..9).flat_map(|i| with_values([m, n], |k| 2.0 + f64::from(i) - 0.5 * k as f64)).collect();
        let (u, s, vh) =
            svd(&tensor(device, DType::F32, &[9, m, n], &a), false).map_err(|e| e.to_string())?;
        let random = |name: &str, like: &Tensor| {
            tensor(device, DType::F32, like.shape(), &normal_f64(name, like.len()))
        };
        let (grad_u, grad_s, grad_vh) = (random("svd/u", &u), random("svd/s", &s), random("svd/v", &vh));
        let run =
            |a, b, c| svd_backward(&u, &s, &vh, a, b, c).map(|g| numbers(&g)).map_err(|e| e.to_string());
        let all = run(Some(&grad_u), Some(&grad_s), Some(&grad_vh))?;
        let parts = [
            run(Some(&grad_u), None, None)?,
            run(None, Some(&grad_s), None)?,
            run(None, None, Some(&grad_vh))?,
        ];
        let sum: Vec<f64> = (0..all.len()).map(|i| parts.iter().map(|part| part[i]).sum()).collect();
        compare_values(&all, &sum, |_| 2e-5).map_err(|e| format!("{m} x {n}: {e}"))?;
        check_equal(&run(None, None, None)?, &vec![0.0; all.len()])?;
        let (u, vh, grad_s) = (numbers(&u), numbers(&vh), numbers(&grad_s));
        let simple = (0..9 * m * n).map(|at| {
            let (i, r, c) = (at / (m * n), at / n % m, at % n);
            (0..k).map(|j| u[(i * m + r) * k + j] * grad_s[i * k + j] * vh[(i * k + j) * n + c]).sum()
        });
        compare_values(&parts[1], &simple.collect::<Vec<f64>>(), |_| 1e-5)
            .map_err(|e| format!("{m} x {n}: {e}"))?;
    }
    Ok(())
}

fn backward_without_elements(device: &Device) -> Verdict {
    for shape in [[0, 3, 2], [2, 0, 3]] {
        let (u, s, vh) = svd(&Tensor::zeros::<f32>(device, &shape), false).map_err(|e| e.to_string())?;
        let got = svd_backward(&u, &s, &vh, Some(&u), Some(&s), Some(&vh)).map_err(|e| e.to_string())?;
        check_equal(got.shape(), &shape)?;
    }
    Ok(())
}

fn backward_shapes(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (u, s, vh) = (zeros(&[2, 4, 3]), zeros(&[2, 3]), zeros(&[2, 3, 3]));
    let run =
        |u: &Tensor, s: &Tensor, vh: &Tensor, grad: &Tensor| svd_backward(u, s, vh, Some(grad), None, None);
    expect_error(run(&zeros(&[4]), &s, &vh, &u), "`u` must be [.., rows, columns], got [4]")?;
    expect_error(run(&zeros(&[2, 4, 4]), &s, &vh, &u), "`u` must be [.., 4, 3], got [2, 4, 4]")?;
    expect_error(run(&u, &zeros(&[3]), &vh, &u), "`s` must be [2, 3], got [3]")?;
    expect_error(run(&u, &s, &zeros(&[3, 3]), &u), "`vh` must be [2, 3, 3], got [3, 3]")?;
    expect_error(run(&u, &s, &vh, &s), "`grad_u` must be [2, 4, 3], got [2, 3]")?;
    expect_error(svd_backward(&u, &s, &vh, None, Some(&u), None), "`grad_s` must be [2, 3], got")?;
    expect_error(svd_backward(&u, &s, &vh, None, None, Some(&u)), "`grad_vh` must be [2, 3, 3], got")
}

fn backward_dtypes(device: &Device) -> Verdict {
    let (u, s) = (Tensor::zeros::<f32>(device, &[3, 3]), Tensor::zeros::<f32>(device, &[3]));
    let whole = Tensor::zeros::<i32>(device, &[3, 3]);
    expect_error(svd_backward(&whole, &s, &u, None, None, None), "`u` must hold f32")?;
    expect_error(svd_backward(&u, &s, &u, None, None, Some(&whole)), "`grad_vh` must hold f32")?;
    let other = Tensor::zeros::<f64>(device, &[3]);
    expect_error(svd_backward(&u, &other, &u, None, None, None), "`s` must hold f32")
}
