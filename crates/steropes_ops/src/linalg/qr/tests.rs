use super::{Matrices, QrMode, geqrf, gpu, householder_product, qr, qr_backward, reference};
use crate::error::OpError;
use crate::linalg::registers::Limits;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{Case, Verdict, case, check_equal, expect_error, gpu_case, small_bindings_case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("qr/oracle/tiny", |d| {
            shapes(d, &[[1, 1], [1, 5], [5, 1], [3, 7], [7, 3], [4, 4], [8, 8], [8, 3]], 70)
        }),
        case("qr/oracle/small", |d| {
            shapes(d, &[[9, 1], [1, 20], [16, 16], [17, 15], [33, 31], [12, 40]], 19)
        }),
        case("qr/oracle/32", |d| shapes(d, &[[32, 32], [64, 32], [32, 64]], 5)),
        case("qr/oracle/48", |d| shapes(d, &[[48, 48]], 2)),
        case("qr/oracle/large", |d| shapes(d, &[[65, 64], [100, 100], [200, 120], [90, 150]], 2)),
        case("qr/oracle/large_batch", |d| shapes(d, &[[120, 70]], 4)),
        case("qr/oracle/tall", |d| shapes(d, &[[5000, 13], [17000, 1], [700, 40]], 1)),
        case("qr/oracle/tall_batch", |d| shapes(d, &[[3400, 5]], 3)),
        // One of them by its products, two by a tree of blocks.
        case("qr/oracle/tall_tree", |d| shapes(d, &[[40000, 13]], 2)),
        case("qr/oracle/very_tall", |d| shapes(d, &[[32768, 1], [33001, 40], [32800, 64]], 1)),
        case("qr/property/very_tall_and_special", very_tall_and_special),
        gpu_case("qr/oracle/panels_of_every_height", panels_of_every_height),
        gpu_case("qr/property/panels_of_special_matrices", panels_of_special_matrices),
        case("qr/oracle/batch_of_rank_two", batch_of_rank_two),
        case("qr/oracle/modes_agree", modes_agree),
        case("qr/property/hilbert", |d| special(d, [12, 12], |i, j| 1.0 / (i + j + 1) as f64)),
        case("qr/property/hilbert_tall", |d| special(d, [3000, 12], |i, j| 1.0 / (i + j + 1) as f64)),
        case("qr/property/graded_columns", graded_columns),
        case("qr/property/small_and_large_matrices", small_and_large_matrices),
        case("qr/property/almost_nothing_below_the_diagonal", almost_nothing_below_the_diagonal),
        case("qr/property/zero_matrix", |d| all_sizes(d, |_, _| 0.0)),
        case("qr/property/zero_columns", |d| all_sizes(d, |i, j| if j % 3 == 1 { 0.0 } else { noise(i, j) })),
        case("qr/property/repeated_columns", |d| all_sizes(d, |i, j| noise(i, j / 2))),
        case("qr/property/rank_two", |d| {
            all_sizes(d, |i, j| noise(i, 0) * noise(0, j) + noise(i, 1) * noise(1, j))
        }),
        case("qr/property/triangles_keep_their_signs", triangles_keep_their_signs),
        case("qr/property/nan_and_infinity_stay_in_their_matrix", nan_and_infinity),
        case("qr/property/empty", empty),
        case("geqrf/oracle/shapes", reflectors),
        case("geqrf/property/nothing_to_reflect", nothing_to_reflect),
        case("geqrf/property/empty", geqrf_empty),
        case("householder_product/oracle/any_factors", any_factors),
        case("householder_product/property/empty", product_empty),
        case("qr_backward/gradient/tall", |d| gradient(d, [5, 3])),
        case("qr_backward/gradient/square", |d| gradient(d, [4, 4])),
        case("qr_backward/gradient/wide", |d| gradient(d, [3, 5])),
        case("qr_backward/gradient/one_value", |d| gradient(d, [1, 1])),
        case("qr_backward/gradient/one_row", |d| gradient(d, [1, 4])),
        case("qr_backward/gradient/larger", |d| gradient(d, [21, 18])),
        gpu_case("qr_backward/oracle/many_tiles", many_tiles),
        case("qr_backward/property/empty", backward_empty),
        case("qr/error/no_matrix", no_matrix),
        case("qr/error/dtype", dtype),
        gpu_case("qr/error/f64_on_a_gpu", f64_on_a_gpu),
        small_bindings_case("qr/error/binding", 4096, binding),
        case("householder_product/error/shapes", product_shapes),
        case("qr_backward/error/modes", backward_modes),
        case("qr_backward/error/shapes", backward_shapes),
    ]
}

/// The dtypes that a device has.
pub(in crate::linalg) fn dtypes_of(device: &Device) -> &'static [DType] {
    if device.gpu().is_some() { &[DType::F32] } else { &[DType::F32, DType::F64] }
}

/// The distance between 1 and the next value.
pub(in crate::linalg) fn eps(dtype: DType) -> f64 {
    if dtype == DType::F64 { f64::EPSILON } else { f64::from(f32::EPSILON) }
}

/// A tensor of `values`, rounded to `dtype`.
pub(in crate::linalg) fn tensor(device: &Device, dtype: DType, shape: &[usize], values: &[f64]) -> Tensor {
    match dtype {
        DType::F64 => Tensor::new(device, shape, values.to_vec()),
        _ => Tensor::new(device, shape, values.iter().map(|&x| x as f32).collect()),
    }
    .expect("a test's shape fits its values")
}

/// The values of a tensor.
pub(in crate::linalg) fn values(tensor: &Tensor) -> Result<Vec<f64>, String> {
    match tensor.dtype() {
        DType::F64 => tensor.read::<f64>(),
        _ => tensor.read::<f32>().map(|values| values.into_iter().map(f64::from).collect()),
    }
    .map_err(|e| e.to_string())
}

pub(in crate::linalg) fn random(name: &str, len: usize) -> Vec<f64> {
    normal(name, len).into_iter().map(f64::from).collect()
}

/// A fixed number in [-1, 1] for every place.
fn noise(i: usize, j: usize) -> f64 {
    ((i * 37 + j * 101 + i * j * 13) % 1009) as f64 / 504.5 - 1.0
}

pub(in crate::linalg) fn text(e: OpError) -> String {
    e.to_string()
}

/// Factors `[batch, m, n]` in a mode, checks the factors of every matrix, and returns them.
fn check(
    device: &Device,
    dtype: DType,
    shape: [usize; 3],
    a: &[f64],
    mode: QrMode,
) -> Result<[Vec<f64>; 2], String> {
    let [batch, m, n] = shape;
    let a = tensor(device, dtype, &shape, a);
    let (q, r) = qr(&a, mode).map_err(text)?;
    let k = if mode == QrMode::Complete { m } else { m.min(n) };
    check_equal(q.shape(), &[batch, m, k])?;
    check_equal(r.shape(), &[batch, k, n])?;
    let (a, q, r) = (values(&a)?, values(&q)?, values(&r)?);
    for i in 0..batch {
        let (a, q, r) = (&a[i * m * n..][..m * n], &q[i * m * k..][..m * k], &r[i * k * n..][..k * n]);
        check_one(a, q, r, [m, k, n], eps(dtype))
            .map_err(|e| format!("{dtype} {mode:?} {m} x {n}, matrix {i}: {e}"))?;
    }
    Ok([q, r])
}

/// The factors multiply to the matrix, column by column as exactly as each is large; Q is orthonormal, R triangular, and its signs
/// are those of the oracle where the diagonal is not rounding.
fn check_one(a: &[f64], q: &[f64], r: &[f64], [m, k, n]: [usize; 3], eps: f64) -> Verdict {
    let tolerance = 4.0 * (m.max(n) as f64).sqrt().max(4.0) * eps;
    let product = reference::product(q, r, [m, k, n]);
    let norm = |j: usize| (0..m).fold(0.0f64, |norm, i| norm.hypot(a[i * n + j]));
    for j in 0..n {
        let error = (0..m).fold(0.0f64, |norm, i| norm.hypot(product[i * n + j] - a[i * n + j]));
        // `<=` does not hold for a NaN.
        let fine = error <= tolerance * norm(j);
        if !fine {
            return Err(format!("column {j} is off by {error:e}, its norm is {:e}", norm(j)));
        }
    }
    let gram = reference::product(&reference::transposed(q, m, k), q, [k, m, k]);
    for (i, x) in gram.iter().enumerate() {
        let error = (x - if i / k == i % k { 1.0 } else { 0.0 }).abs();
        let fine = error <= tolerance;
        if !fine {
            return Err(format!("columns {} and {} of Q: off by {error:e}", i / k, i % k));
        }
    }
    if let Some(i) = (0..k * n).find(|i| i / n > i % n && r[*i] != 0.0) {
        return Err(format!("R at {}, {} is {}", i / n, i % n, r[i]));
    }
    // The oracle takes too long for the tallest.
    if m > 200 {
        return check_signs_of_tall(a, q, r, [m, k, n]);
    }
    let (_, want) = reference::qr(a, m, n);
    for j in 0..m.min(n) {
        let (got, want) = (r[j * n + j], want[j * n + j]);
        if want.abs() <= 0.03 * norm(j) {
            // The columns so far are nearly dependent, and what follows is made of rounding.
            break;
        }
        if got * want <= 0.0 || (got - want).abs() > 1e3 * tolerance * norm(j) {
            return Err(format!("R at {j}, {j} is {got}, want {want}"));
        }
    }
    Ok(())
}

/// As the oracle on `[R; 0]` of a matrix would not know of its top, reflections of Q's columns tell the signs: those of LAPACK make
/// `Q = H_1 .. H_n` have a pivot below 0 in every column that is reflected.
fn check_signs_of_tall(a: &[f64], q: &[f64], r: &[f64], [m, k, n]: [usize; 3]) -> Verdict {
    // The first column of Q is the first of the matrix over its norm with the opposite sign of its head.
    let norm = (0..m).fold(0.0f64, |norm, i| norm.hypot(a[i * n]));
    if a[0].abs() > 1e-3 * norm && (1..m).any(|i| a[i * n] != 0.0) && r[0] * a[0] >= 0.0 {
        return Err(format!("R begins with {}, the matrix with {}", r[0], a[0]));
    }
    let n = k.min(n);
    let mut top: Vec<f64> = (0..n * n).map(|i| q[i / n * k + i % n]).collect();
    for j in 0..n {
        let pivot = top[j * n + j];
        if pivot > 1e-3 {
            let below = (0..m).fold(0.0f64, |norm, i| if i > j { norm.hypot(q[i * k + j]) } else { norm });
            if below > 0.0 && r[j * (r.len() / k) + j] != 0.0 {
                return Err(format!("column {j} has the sign that reflections do not give"));
            }
            continue;
        }
        for i in j + 1..n {
            let factor = top[i * n + j] / (pivot - 1.0);
            (j + 1..n).for_each(|c| top[i * n + c] -= factor * top[j * n + c]);
        }
    }
    Ok(())
}

/// Random matrices of every shape, alone and in batches, reduced and complete.
fn shapes(device: &Device, shapes: &[[usize; 2]], batch: usize) -> Verdict {
    for &[m, n] in shapes {
        for &dtype in dtypes_of(device) {
            for batch in if batch > 1 { vec![1, batch] } else { vec![1] } {
                let a = random("qr/a", batch * m * n);
                check(device, dtype, [batch, m, n], &a, QrMode::Reduced)?;
                if m <= 200 {
                    check(device, dtype, [batch, m, n], &a, QrMode::Complete)?;
                }
            }
        }
    }
    Ok(())
}

fn special(device: &Device, [m, n]: [usize; 2], value: impl Fn(usize, usize) -> f64) -> Verdict {
    let a: Vec<f64> = (0..m * n).map(|i| value(i / n, i % n)).collect();
    for &dtype in dtypes_of(device) {
        check(device, dtype, [1, m, n], &a, QrMode::Reduced)?;
    }
    Ok(())
}

/// A matrix for each form of the kernels.
fn all_sizes(device: &Device, value: impl Fn(usize, usize) -> f64) -> Verdict {
    for [m, n] in [[6, 5], [5, 8], [20, 20], [40, 33], [110, 100], [100, 110], [2800, 6]] {
        special(device, [m, n], &value)?;
    }
    Ok(())
}

/// Matrices that products of columns do not factor, and some that they nearly do not.
fn very_tall_and_special(device: &Device) -> Verdict {
    let tall = |name: &str, value: &dyn Fn(usize, usize) -> f64| {
        special(device, [33000, 6], value).map_err(|e| format!("{name}: {e}"))
    };
    tall("repeated columns", &|i, j| noise(i, j / 2))?;
    tall("columns that nearly repeat", &|i, j| noise(i, j / 2) + 1e-3 * noise(i, j))?;
    tall("columns that come close", &|i, j| noise(i, j / 2) + 0.1 * noise(i, j))?;
    tall("a zero column", &|i, j| if j == 3 { 0.0 } else { noise(i, j) })?;
    tall("nothing below the first value", &|i, j| if j == 0 && i > 0 { 0.0 } else { noise(i, j) })?;
    tall("an identity on top", &|i, j| if i == j { 2.0 } else { 0.0 })?;
    tall("columns of all sizes", &|i, j| noise(i, j) * 10f64.powi(6 * j as i32 - 15))?;
    tall("small values", &|i, j| 1e-25 * noise(i, j))?;
    tall("large values", &|i, j| 1e25 * noise(i, j))
}

/// Limits of workgroups: those of the device, without subgroups, and few invocations, which hold low panels only.
fn limits(device: &Device) -> [Limits; 4] {
    let own = Limits::of(device.gpu().expect("a case for GPUs").capabilities());
    let plain = Limits { subgroup: None, ..own };
    [own, plain, Limits { threads: 64, ..own }, Limits { threads: 64, ..plain }]
}

/// Reduces `[count, m, n]` by panels within limits and checks the factors.
fn check_panels(device: &Device, limits: &Limits, [count, m, n]: [usize; 3], a: &[f64]) -> Verdict {
    let gpu = device.gpu().expect("a case for GPUs");
    let matrices = Matrices { count, m, n };
    let k = m.min(n);
    let a = tensor(device, DType::F32, &[count, m, n], a);
    let reduced = gpu::blocked::reduce_within(limits, gpu, "qr", &a, &matrices, k).map_err(text)?;
    let q = gpu::new(gpu, "qr", count, m * k).map_err(text)?;
    reduced.form(gpu, "qr", &q, k).map_err(text)?;
    let (a, all, q) = (values(&a)?, values(&reduced.a)?, values(&q)?);
    for i in 0..count {
        let (a, all, q) = (&a[i * m * n..][..m * n], &all[i * m * n..][..m * n], &q[i * m * k..][..m * k]);
        let r: Vec<f64> = (0..k * n).map(|e| if e / n <= e % n { all[e] } else { 0.0 }).collect();
        check_one(a, q, &r, [m, k, n], eps(DType::F32))
            .map_err(|e| format!("{limits:?} {m} x {n}, matrix {i}: {e}"))?;
    }
    Ok(())
}

/// Panels of 16 and of 8 columns in registers and panels in device memory, also one after the other in a matrix; one and several
/// vectors of rows for each invocation.
fn panels_of_every_height(device: &Device) -> Verdict {
    let shapes = [[1, 1], [3, 5], [17, 16], [64, 20], [65, 33], [150, 40], [256, 17], [257, 9], [300, 60]];
    for limits in limits(device) {
        for [m, n] in shapes {
            check_panels(device, &limits, [2, m, n], &random("qr/a", 2 * m * n))?;
        }
        for [m, n] in [[512, 9], [513, 8], [530, 70], [1030, 40], [2060, 30]] {
            check_panels(device, &limits, [1, m, n], &random("qr/a", m * n))?;
        }
    }
    Ok(())
}

fn panels_of_special_matrices(device: &Device) -> Verdict {
    let values: [fn(usize, usize, usize) -> f64; 8] = [
        |_, _, _| 0.0,
        |i, j, _| if j % 3 == 1 { 0.0 } else { noise(i, j) },
        |i, j, _| noise(i, j / 2),
        |i, j, _| noise(i, j) * 1e30,
        |i, j, _| noise(i, j) * 1e-30,
        |i, j, _| if i <= j { -1.0 } else { 0.0 },
        // Next to nothing below the diagonal, and all in the last row.
        |i, j, _| if i <= j { 1.0 } else { 1e-22 * (1.5 + noise(i, j)) },
        |i, j, m| if i <= j || i + 1 == m { [1.0, 1e20][i / (m - 1)] * (1.5 + noise(i, j)) } else { 0.0 },
    ];
    for limits in limits(device) {
        for [m, n] in [[64, 7], [70, 40], [256, 8], [280, 20], [512, 6]] {
            for (which, value) in values.iter().enumerate() {
                let a: Vec<f64> = (0..m * n).map(|e| value(e / n, e % n, m)).collect();
                check_panels(device, &limits, [1, m, n], &a).map_err(|e| format!("matrix {which}: {e}"))?;
            }
        }
    }
    Ok(())
}

fn batch_of_rank_two(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        let a = random("qr/a", 6 * 35);
        let (q, r) = qr(&tensor(device, dtype, &[2, 3, 7, 5], &a), QrMode::Reduced).map_err(text)?;
        check_equal(q.shape(), &[2, 3, 7, 5])?;
        check_equal(r.shape(), &[2, 3, 5, 5])?;
        let (flat_q, flat_r) = qr(&tensor(device, dtype, &[6, 7, 5], &a), QrMode::Reduced).map_err(text)?;
        check_equal(&values(&q)?, &values(&flat_q)?)?;
        check_equal(&values(&r)?, &values(&flat_r)?)?;
    }
    Ok(())
}

/// Mode `R` gives the R of `Reduced`, and `Complete` begins with the factors of `Reduced`.
fn modes_agree(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        for [m, n] in [[7, 4], [30, 20], [20, 30], [130, 90], [2800, 6]] {
            let k = m.min(n);
            let a = tensor(device, dtype, &[m, n], &random("qr/a", m * n));
            let largest = values(&a)?.iter().fold(0.0f64, |x, y| x.max(y.abs())) * (m as f64).sqrt();
            let (_, r) = qr(&a, QrMode::Reduced).map_err(text)?;
            let (none, alone) = qr(&a, QrMode::R).map_err(text)?;
            check_equal(none.shape(), &[0])?;
            check_equal(alone.shape(), &[k, n])?;
            let (r, alone) = (values(&r)?, values(&alone)?);
            let (_, complete) = if m < 1000 { qr(&a, QrMode::Complete).map_err(text)? } else { (none, a) };
            let complete = if m < 1000 { values(&complete)? } else { r.clone() };
            for i in 0..k * n {
                let far = |x: f64| (x - r[i]).abs() > 64.0 * eps(dtype) * largest;
                if far(alone[i]) || far(complete[i]) {
                    return Err(format!("{m} x {n}, R at {i}: {} {} {}", r[i], alone[i], complete[i]));
                }
            }
        }
    }
    Ok(())
}

/// Columns of scales from 1e-20 to 1e20, of which no square is an f32.
fn graded_columns(device: &Device) -> Verdict {
    for [m, n] in [[5, 5], [30, 21], [6, 8], [110, 100], [2800, 6]] {
        special(device, [m, n], |i, j| noise(i, j) * [1e20, 1.0, 1e-20, 1e-10, 1e10][j % 5])?;
    }
    Ok(())
}

fn small_and_large_matrices(device: &Device) -> Verdict {
    for scale in [1e-30, 1e-22, 1e18, 1e30] {
        all_sizes(device, |i, j| noise(i, j) * scale).map_err(|e| format!("{scale:e}: {e}"))?;
    }
    Ok(())
}

/// A square that underflows, or nearly does, must not make a reflection that is none.
fn almost_nothing_below_the_diagonal(device: &Device) -> Verdict {
    for below in [1e-15, 1e-19, 3e-20, 1e-22, 1e-30] {
        for [m, n] in [[3, 3], [20, 12], [110, 100], [2800, 6]] {
            // A diagonal of that size too, and one that changes its sign over next to nothing.
            for small_from in [0, 1] {
                let value =
                    |i: usize, j: usize| if i < j + small_from { 1.0 } else { below * (1.5 + noise(i, j)) };
                special(device, [m, n], value).map_err(|e| format!("{below:e}: {e}"))?;
            }
        }
    }
    Ok(())
}

/// Nothing is reflected, so R is the matrix.
fn triangles_keep_their_signs(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        for [m, n] in [[4, 4], [20, 20], [17, 30], [110, 100], [2800, 6]] {
            let k = m.min(n);
            let a: Vec<f64> = (0..m * n)
                .map(|i| if i / n <= i % n { f64::from((noise(i / n, i % n) + 0.001) as f32) } else { 0.0 })
                .collect();
            let (q, r) = qr(&tensor(device, dtype, &[m, n], &a), QrMode::Reduced).map_err(text)?;
            check_equal(&values(&r)?, &a[..k * n]).map_err(|e| format!("{m} x {n}: R: {e}"))?;
            let identity: Vec<f64> = (0..m * k).map(|i| if i / k == i % k { 1.0 } else { 0.0 }).collect();
            check_equal(&values(&q)?, &identity).map_err(|e| format!("{m} x {n}: Q: {e}"))?;
        }
    }
    Ok(())
}

fn nan_and_infinity(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for [m, n] in [[5, 3], [3, 5], [20, 20], [110, 100], [2800, 6]] {
                let mut a = random("qr/a", 3 * m * n);
                a[m * n + (m - 1) * n] = bad;
                let (q, r) = qr(&tensor(device, dtype, &[3, m, n], &a), QrMode::Reduced).map_err(text)?;
                let (q, r) = (values(&q)?, values(&r)?);
                for (name, x) in [("Q", q), ("R", r)] {
                    for (i, part) in x.chunks_exact(x.len() / 3).enumerate() {
                        let whole = part.iter().all(|x| x.is_finite());
                        if whole != (i != 1) {
                            return Err(format!("{bad} in matrix 1 of {m} x {n}: {name} of matrix {i}"));
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    let modes = [QrMode::Reduced, QrMode::Complete, QrMode::R];
    for shape in [&[0, 3, 4][..], &[2, 0, 4], &[2, 3, 0], &[0, 0], &[2, 0, 3, 2]] {
        for mode in modes {
            let (q, r) = qr(&Tensor::zeros::<f32>(device, shape), mode).map_err(text)?;
            let (batch, [m, n]) = shape.split_last_chunk::<2>().expect("a matrix");
            let k = if mode == QrMode::Complete { *m } else { *m.min(n) };
            let q_shape = if mode == QrMode::R { vec![0] } else { [batch, &[*m, k]].concat() };
            check_equal(q.shape(), &q_shape)?;
            check_equal(r.shape(), &[batch, &[k, *n]].concat())?;
        }
    }
    let (q, _) = qr(&Tensor::zeros::<f32>(device, &[2, 2, 0]), QrMode::Complete).map_err(text)?;
    check_equal(&values(&q)?, &[1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
}

/// The product of reflectors in f64, as the formula says.
fn product_of(all: &[f64], tau: &[f64], [m, n]: [usize; 2], columns: usize) -> Vec<f64> {
    let mut q: Vec<f64> =
        (0..m * columns).map(|i| if i / columns == i % columns { 1.0 } else { 0.0 }).collect();
    for (j, tau) in tau.iter().enumerate().rev() {
        let v: Vec<f64> = (0..m)
            .map(|i| match i.cmp(&j) {
                std::cmp::Ordering::Less => 0.0,
                std::cmp::Ordering::Equal => 1.0,
                std::cmp::Ordering::Greater => all[i * n + j],
            })
            .collect();
        for c in 0..columns {
            let dot: f64 = (0..m).map(|i| v[i] * q[i * columns + c]).sum();
            (0..m).for_each(|i| q[i * columns + c] -= tau * dot * v[i]);
        }
    }
    q
}

fn close(got: &[f64], want: &[f64], tolerance: f64) -> Verdict {
    check_equal(&[got.len()], &[want.len()])?;
    let largest = want.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
    match (0..got.len()).find(|&i| (got[i] - want[i]).abs() > tolerance * largest || got[i].is_nan()) {
        None => Ok(()),
        Some(i) => {
            Err(format!("value {i} is {}, want {} within {tolerance:e} of {largest}", got[i], want[i]))
        }
    }
}

fn reflectors(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        for [m, n] in
            [[1, 1], [5, 3], [3, 5], [20, 20], [33, 31], [31, 33], [110, 100], [100, 110], [600, 20]]
        {
            let k = m.min(n);
            for batch in [1, 5] {
                if batch > 1 && m > 50 && m != 110 {
                    continue;
                }
                let a = tensor(device, dtype, &[batch, m, n], &random("geqrf/a", batch * m * n));
                let (all, tau) = geqrf(&a).map_err(text)?;
                check_equal(all.shape(), &[batch, m, n])?;
                check_equal(tau.shape(), &[batch, k])?;
                let q = (m >= n).then(|| householder_product(&all, &tau)).transpose().map_err(text)?;
                let q = q.map(|q| values(&q)).transpose()?;
                let (a, all, tau) = (values(&a)?, values(&all)?, values(&tau)?);
                for i in 0..batch {
                    let all = &all[i * m * n..][..m * n];
                    let want = product_of(all, &tau[i * k..][..k], [m, n], k);
                    let r: Vec<f64> = (0..k * n).map(|e| if e / n <= e % n { all[e] } else { 0.0 }).collect();
                    let context = |e| format!("{dtype} {m} x {n}, matrix {i}: {e}");
                    check_one(&a[i * m * n..][..m * n], &want, &r, [m, k, n], eps(dtype)).map_err(context)?;
                    if let Some(q) = &q {
                        close(&q[i * m * n..][..m * n], &want, 32.0 * eps(dtype)).map_err(context)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn nothing_to_reflect(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        for n in [3, 20, 110] {
            let a: Vec<f64> = (0..n * n).map(|i| if i / n <= i % n { -1.0 } else { 0.0 }).collect();
            let (all, tau) = geqrf(&tensor(device, dtype, &[n, n], &a)).map_err(text)?;
            check_equal(&values(&all)?, &a)?;
            check_equal(&values(&tau)?, &vec![0.0; n])?;
        }
    }
    Ok(())
}

fn geqrf_empty(device: &Device) -> Verdict {
    let (all, tau) = geqrf(&Tensor::zeros::<f32>(device, &[2, 0, 3])).map_err(text)?;
    check_equal(all.shape(), &[2, 0, 3])?;
    check_equal(tau.shape(), &[2, 0])?;
    let (_, tau) = geqrf(&Tensor::zeros::<f32>(device, &[0, 4, 3])).map_err(text)?;
    check_equal(tau.shape(), &[0, 3])
}

/// Reflectors and factors that no factorisation gave, fewer than columns; what is above the diagonal does not matter.
fn any_factors(device: &Device) -> Verdict {
    for &dtype in dtypes_of(device) {
        for ([m, n], k) in [([6, 4], 3), ([20, 20], 20), ([40, 30], 1), ([110, 100], 70), ([110, 100], 16)] {
            for batch in [1, 4] {
                let v: Vec<f64> = random("product/v", batch * m * n).iter().map(|x| x / 8.0).collect();
                let v = tensor(device, dtype, &[batch, m, n], &v);
                let tau: Vec<f64> = random("product/tau", batch * k).iter().map(|x| x / 2.0).collect();
                let tau = tensor(device, dtype, &[batch, k], &tau);
                let got = values(&householder_product(&v, &tau).map_err(text)?)?;
                let (v, tau) = (values(&v)?, values(&tau)?);
                for i in 0..batch {
                    let want = product_of(&v[i * m * n..][..m * n], &tau[i * k..][..k], [m, n], n);
                    close(&got[i * m * n..][..m * n], &want, 64.0 * eps(dtype))
                        .map_err(|e| format!("{dtype} {m} x {n} of {k}, matrix {i}: {e}"))?;
                }
            }
        }
    }
    Ok(())
}

fn product_empty(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let q = householder_product(&zeros(&[2, 3, 2]), &zeros(&[2, 0])).map_err(text)?;
    check_equal(&values(&q)?, &[1.0, 0.0, 0.0, 1.0, 0.0, 0.0].repeat(2))?;
    let q = householder_product(&zeros(&[0, 3, 2]), &zeros(&[0, 2])).map_err(text)?;
    check_equal(q.shape(), &[0, 3, 2])?;
    check_equal(householder_product(&zeros(&[3, 0]), &zeros(&[0])).map_err(text)?.shape(), &[3, 0])
}

/// `sum(w_q Q) + sum(w_r R)` of the oracle.
fn loss(a: &[f64], weights: [&[f64]; 2], [m, n]: [usize; 2]) -> f64 {
    let k = m.min(n);
    let (q, r) = reference::qr(a, m, n);
    let of_q: f64 = (0..m * k).map(|i| weights[0][i] * q[i / k * m + i % k]).sum();
    let of_r: f64 = (0..k * n).map(|i| weights[1][i] * r[i]).sum();
    of_q + of_r
}

/// Against differences of the oracle, with both gradients and with each alone. The signs of R are fixed, so the factors are
/// functions of the matrix and any loss of them will do.
fn gradient(device: &Device, [m, n]: [usize; 2]) -> Verdict {
    let (batch, k) = (2, m.min(n));
    let mut a = random("qr_backward/a", batch * m * n);
    for i in 0..batch * k {
        // Away from matrices without full rank.
        a[i / k * m * n + i % k * (n + 1)] += 4.0;
    }
    let weights = [random("qr_backward/q", batch * m * k), random("qr_backward/r", batch * k * n)];
    let step = 1e-5;
    for &dtype in dtypes_of(device) {
        let tensor = |shape: &[usize], values: &[f64]| tensor(device, dtype, shape, values);
        let (q, r) = qr(&tensor(&[batch, m, n], &a), QrMode::Reduced).map_err(text)?;
        let [of_q, of_r] = [tensor(&[batch, m, k], &weights[0]), tensor(&[batch, k, n], &weights[1])];
        for [with_q, with_r] in [[true, true], [true, false], [false, true], [false, false]] {
            let got = qr_backward(&q, &r, with_q.then_some(&of_q), with_r.then_some(&of_r)).map_err(text)?;
            check_equal(got.shape(), &[batch, m, n])?;
            let [scale_q, scale_r] = [with_q, with_r].map(|with| if with { 1.0 } else { 0.0 });
            let mut want = Vec::new();
            for i in 0..batch {
                let mut a = a[i * m * n..][..m * n].to_vec();
                let of_q: Vec<f64> = weights[0][i * m * k..][..m * k].iter().map(|x| x * scale_q).collect();
                let of_r: Vec<f64> = weights[1][i * k * n..][..k * n].iter().map(|x| x * scale_r).collect();
                for e in 0..m * n {
                    let x = a[e];
                    a[e] = x + step;
                    let above = loss(&a, [&of_q, &of_r], [m, n]);
                    a[e] = x - step;
                    let below = loss(&a, [&of_q, &of_r], [m, n]);
                    a[e] = x;
                    want.push((above - below) / (2.0 * step));
                }
            }
            let tolerance = if dtype == DType::F64 { 1e-7 } else { 2e-5 };
            let got = values(&got)?;
            // One row has a Q that does not change, and its gradient may be nothing but rounding.
            let largest = want.iter().fold(1e-3f64, |largest, x| largest.max(x.abs()));
            if let Some(i) = (0..want.len()).find(|&i| {
                let fine = (got[i] - want[i]).abs() <= tolerance * largest;
                !fine
            }) {
                return Err(format!(
                    "{dtype} {m} x {n} with {with_q} {with_r}: value {i} is {}, want {}",
                    got[i], want[i]
                ));
            }
        }
    }
    Ok(())
}

/// Against the CPU in f64 on what takes several tiles.
fn many_tiles(device: &Device) -> Verdict {
    for [m, n] in [[150, 70], [70, 150]] {
        let k = m.min(n);
        let a: Vec<f64> = random("qr_backward/a", m * n)
            .iter()
            .enumerate()
            .map(|(i, x)| if i / n == i % n { x + 30.0 } else { *x })
            .collect();
        let weights = [random("qr_backward/q", m * k), random("qr_backward/r", k * n)];
        let run = |device: &Device, dtype| {
            let (q, r) = qr(&tensor(device, dtype, &[m, n], &a), QrMode::Reduced)?;
            let of_q = tensor(device, dtype, &[m, k], &weights[0]);
            let of_r = tensor(device, dtype, &[k, n], &weights[1]);
            qr_backward(&q, &r, Some(&of_q), Some(&of_r))
        };
        let got = values(&run(device, DType::F32).map_err(text)?)?;
        let want = values(&run(&Device::Cpu, DType::F64).map_err(text)?)?;
        close(&got, &want, 2e-5).map_err(|e| format!("{m} x {n}: {e}"))?;
    }
    Ok(())
}

fn backward_empty(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (q, r) = (zeros(&[0, 3, 2]), zeros(&[0, 2, 2]));
    check_equal(qr_backward(&q, &r, Some(&q), Some(&r)).map_err(text)?.shape(), &[0, 3, 2])?;
    let (q, r) = (zeros(&[3, 0]), zeros(&[0, 0]));
    check_equal(qr_backward(&q, &r, Some(&q), None).map_err(text)?.shape(), &[3, 0])
}

fn no_matrix(device: &Device) -> Verdict {
    let vector = Tensor::zeros::<f32>(device, &[4]);
    expect_error(qr(&vector, QrMode::Reduced), "`a` must be [.., rows, columns], got [4]")?;
    expect_error(geqrf(&vector), "linalg::geqrf: `a` must be [.., rows, columns], got [4]")
}

fn dtype(device: &Device) -> Verdict {
    let whole = Tensor::zeros::<i32>(device, &[2, 2]);
    expect_error(qr(&whole, QrMode::Reduced), "`a` must hold f32")?;
    expect_error(geqrf(&whole), "`a` must hold f32")?;
    expect_error(
        householder_product(
            &Tensor::zeros::<f32>(device, &[2, 2]),
            &whole.reshape(&[4]).map_err(|e| e.to_string())?,
        ),
        "`tau`",
    )
}

fn f64_on_a_gpu(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f64>(device, &[2, 2]);
    expect_error(qr(&a, QrMode::Reduced), "`a` must hold f32, got f64")
}

fn binding(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[2, 40, 30]);
    let expected = "2 matrices of 1200 values, 9600 bytes, do not fit one binding";
    for mode in [QrMode::Reduced, QrMode::Complete, QrMode::R] {
        expect_error(qr(&a, mode), expected)?;
    }
    expect_error(geqrf(&a), expected)?;
    expect_error(householder_product(&a, &Tensor::zeros::<f32>(device, &[2, 30])), expected)
}

fn product_shapes(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(householder_product(&zeros(&[2, 3]), &zeros(&[2])), "`v` must be [.., m, n] with m >= n")?;
    let expected = "`tau` must be [2] and an extent of at most 3";
    expect_error(householder_product(&zeros(&[2, 4, 3]), &zeros(&[2, 4])), expected)?;
    expect_error(householder_product(&zeros(&[2, 4, 3]), &zeros(&[1, 2])), expected)?;
    expect_error(householder_product(&zeros(&[2, 4, 3]), &zeros(&[])), expected)
}

fn backward_modes(device: &Device) -> Verdict {
    let a = tensor(device, DType::F32, &[4, 3], &random("qr/a", 12));
    let (q, r) = qr(&a, QrMode::R).map_err(text)?;
    expect_error(qr_backward(&q, &r, None, Some(&r)), "mode `R` does not compute")?;
    let (q, r) = qr(&a, QrMode::Complete).map_err(text)?;
    expect_error(qr_backward(&q, &r, Some(&q), Some(&r)), "Q of mode `Complete` is not a function")
}

fn backward_shapes(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (q, r) = (zeros(&[2, 4, 3]), zeros(&[2, 3, 3]));
    expect_error(qr_backward(&q, &zeros(&[3, 3]), None, None), "`r` must be [2, 3, 3], got [3, 3]")?;
    expect_error(qr_backward(&q, &zeros(&[2, 2, 3]), None, None), "`r` must be [2, 3, 3], got [2, 2, 3]")?;
    expect_error(qr_backward(&q, &r, Some(&r), None), "`grad_q` must be [2, 4, 3], got [2, 3, 3]")?;
    expect_error(qr_backward(&q, &r, None, Some(&q)), "`grad_r` must be [2, 3, 3], got [2, 4, 3]")?;
    expect_error(qr_backward(&q, &zeros(&[2, 3, 5]), None, None), "`q` must be [2, 4, 4], got [2, 4, 3]")
}
