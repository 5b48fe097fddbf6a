use super::{Uplo, eigh, eigh_backward, eigvalsh, reference};
use crate::cpu::lanes::Real;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Tolerance, Verdict, case, check_close, check_equal, cpu_case, expect_error, gpu_case,
    small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("eigh/oracle/up_to_8", |d| every_size(d, &[1, 2, 3, 4, 5, 6, 7, 8])),
        case("eigh/oracle/up_to_33", |d| every_size(d, &[15, 16, 17, 31, 32, 33])),
        case("eigh/oracle/up_to_65", |d| every_size(d, &[45, 48, 63, 64, 65])),
        case("eigh/oracle/100", |d| known_spectrum(d, 100)),
        case("eigh/oracle/128", |d| known_spectrum(d, 128)),
        cpu_case("eigh/oracle/200", |d| known_spectrum(d, 200)),
        case("eigh/oracle/300", |d| known_spectrum(d, 300)),
        case("eigh/oracle/opposite_values", opposite_values),
        case("eigh/oracle/opposite_blocks", opposite_blocks),
        case("eigh/oracle/repeated_and_clustered_values", repeated_and_clustered_values),
        case("eigh/oracle/identity_and_zero", identity_and_zero),
        case("eigh/oracle/wilkinson", wilkinson),
        case("eigh/oracle/hilbert", hilbert),
        case("eigh/oracle/tiny_and_huge", tiny_and_huge),
        case("eigh/oracle/many_3x3", many_3x3),
        case("eigh/property/the_other_triangle_is_not_read", the_other_triangle_is_not_read),
        case("eigh/property/nan_stays_in_its_matrix", nan_stays_in_its_matrix),
        case("eigh/property/values_alone", values_alone),
        case("eigh/property/batches_and_empty_ones", batches_and_empty_ones),
        case("eigh/property/neighbours_do_not_matter", neighbours_do_not_matter),
        cpu_case("eigh/property/threads_do_not_matter", threads_do_not_matter),
        gpu_case("eigh/property/nobody_waits", nobody_waits),
        small_bindings_case("eigh/property/parts_3", 1 << 10, |d| many_parts(d, 3, 100)),
        small_bindings_case("eigh/property/parts_12", 1 << 12, |d| many_parts(d, 12, 20)),
        small_bindings_case("eigh/property/parts_66", 1 << 17, |d| many_parts(d, 80, 3)),
        case("eigh/backward/differences", backward_differences),
        case("eigh/backward/values_only", backward_of_values),
        case("eigh/backward/equal_values", backward_of_equal_values),
        case("eigh/backward/empty", backward_empty),
        small_bindings_case("eigh/backward/parts", 1 << 11, backward_differences),
        case("eigh/error/shapes", shapes),
        case("eigh/error/dtypes", dtypes),
        gpu_case("eigh/error/too_large", too_large),
        case("eigh/error/backward", backward_errors),
    ]
}

fn tensor<T: Real>(device: &Device, shape: &[usize], values: &[f64]) -> Tensor {
    let values: Vec<T> = values.iter().map(|&x| T::of(x)).collect();
    Tensor::new(device, shape, values).expect("a test's shape fits its values")
}

/// The values of a tensor of either dtype.
fn read(tensor: &Tensor) -> Result<Vec<f64>, String> {
    match tensor.dtype() {
        DType::F64 => tensor.read::<f64>(),
        _ => tensor.read::<f32>().map(|values| values.into_iter().map(f64::from).collect()),
    }
    .map_err(|e| e.to_string())
}

fn randoms(name: &str, count: usize) -> Vec<f64> {
    normal(name, count).into_iter().map(f64::from).collect()
}

/// A symmetric matrix of random numbers.
fn random(name: &str, n: usize) -> Vec<f64> {
    let x = randoms(name, n * n);
    (0..n * n).map(|i| x[i / n * n + i % n] + x[i % n * n + i / n]).collect()
}

/// A matrix with these values, by a reflection on both sides.
fn with_values(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let x = randoms("eigh/reflection", n);
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let u: Vec<f64> = x.iter().map(|x| x / norm).collect();
    let middle: f64 = (0..n).map(|i| u[i] * values[i] * u[i]).sum();
    let entry = |i: usize, j: usize| {
        let diagonal = if i == j { values[i] } else { 0.0 };
        diagonal - 2.0 * u[i] * u[j] * (values[i] + values[j]) + 4.0 * middle * u[i] * u[j]
    };
    (0..n * n).map(|i| entry(i / n, i % n)).collect()
}

/// Solves a stack in f32, and on the CPU in f64, and judges every matrix. Values that are not given are those of the oracle.
fn check(device: &Device, n: usize, matrices: &[f64], uplo: Uplo, values: Option<&[f64]>) -> Verdict {
    check_in::<f32>(device, n, matrices, uplo, values, f64::from(f32::EPSILON))?;
    match device.gpu() {
        None => check_in::<f64>(device, n, matrices, uplo, values, f64::EPSILON),
        Some(_) => Ok(()),
    }
}

fn check_in<T: Real>(
    device: &Device,
    n: usize,
    matrices: &[f64],
    uplo: Uplo,
    values: Option<&[f64]>,
    eps: f64,
) -> Verdict {
    let a = tensor::<T>(device, &[matrices.len() / (n * n), n, n], matrices);
    let rounded = read(&a)?;
    let (l, v) = eigh(&a, uplo).map_err(|e| e.to_string())?;
    check_equal(l.shape(), &a.shape()[..2])?;
    check_equal(v.shape(), a.shape())?;
    let (l, v) = (read(&l)?, read(&v)?);
    for (i, matrix) in rounded.chunks_exact(n * n).enumerate() {
        let own = (&l[i * n..(i + 1) * n], &v[i * n * n..(i + 1) * n * n]);
        judge(n, matrix, own, values, eps)
            .map_err(|e| format!("{n} x {n}, matrix {i}, eps {eps:.0e}: {e}"))?;
    }
    Ok(())
}

/// Residual, orthogonality, values, order and signs.
fn judge(n: usize, a: &[f64], (l, v): (&[f64], &[f64]), values: Option<&[f64]>, eps: f64) -> Verdict {
    let want = values.map_or_else(|| reference::eigh(a, n).0, <[f64]>::to_vec);
    let norm = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
    let unit = (n as f64 + 8.0) * eps;
    let worst = |errors: &mut dyn Iterator<Item = f64>| {
        errors.fold(0.0f64, |most, x| if x.is_nan() { f64::INFINITY } else { most.max(x) })
    };
    let dot = |x: &dyn Fn(usize) -> f64, y: &dyn Fn(usize) -> f64| (0..n).map(|k| x(k) * y(k)).sum::<f64>();
    let residual = worst(&mut (0..n * n).map(|t| {
        let (i, j) = (t / n, t % n);
        (dot(&|k| a[i * n + k], &|k| v[k * n + j]) - l[j] * v[i * n + j]).abs()
    }));
    let orthogonality = worst(&mut (0..n * n).map(|t| {
        let (i, j) = (t / n, t % n);
        (dot(&|k| v[k * n + i], &|k| v[k * n + j]) - f64::from(u8::from(i == j))).abs()
    }));
    let error = worst(&mut l.iter().zip(&want).map(|(l, want)| (l - want).abs()));
    for (what, found, bound) in [
        ("residual", residual, unit * norm),
        ("orthogonality", orthogonality, unit),
        ("values", error, unit * norm),
    ] {
        if found > bound {
            return Err(format!("{what} is off by {found:.2e}, at most {bound:.2e} was expected"));
        }
    }
    if let Some(i) = (1..n).find(|&i| l[i - 1] > l[i]) {
        return Err(format!("value {i} is below the one before"));
    }
    for j in 0..n {
        let column: Vec<f64> = (0..n).map(|k| v[k * n + j]).collect();
        let largest = column.iter().fold(0.0f64, |most, x| most.max(x.abs()));
        let first = column.iter().find(|x| x.abs() >= 0.875 * largest);
        if !first.is_some_and(|&x| x > 0.0) {
            return Err(format!("vector {j} has the wrong sign"));
        }
    }
    Ok(())
}

fn every_size(device: &Device, sizes: &[usize]) -> Verdict {
    for &n in sizes {
        let matrices = [random("eigh/a", n), random("eigh/b", n), random("eigh/c", n)].concat();
        check(device, n, &matrices, if n % 2 == 0 { Uplo::Lower } else { Uplo::Upper }, None)?;
    }
    Ok(())
}

fn known_spectrum(device: &Device, n: usize) -> Verdict {
    let mut values = randoms("eigh/values", n);
    let matrix = with_values(&values);
    values.sort_by(f64::total_cmp);
    check(device, n, &matrix, Uplo::Lower, Some(&values))
}

fn opposite_values(device: &Device) -> Verdict {
    check(device, 2, &[0.0, 1.0, 1.0, 0.0], Uplo::Lower, Some(&[-1.0, 1.0]))?;
    for n in [3, 6, 20, 70] {
        let mut values: Vec<f64> =
            (0..n).map(|i| (i / 2 + 1) as f64 * if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let matrix = with_values(&values);
        values.sort_by(f64::total_cmp);
        check(device, n, &matrix, Uplo::Upper, Some(&values))?;
    }
    Ok(())
}

/// `[[0, b], [b^T, 0]]`, whose values come in pairs of opposite sign.
fn opposite_blocks(device: &Device) -> Verdict {
    for half in [4, 32] {
        let (n, b) = (2 * half, randoms("eigh/b", half * half));
        let entry = |i: usize, j: usize| if i < half && j >= half { b[i * half + j - half] } else { 0.0 };
        let matrix: Vec<f64> = (0..n * n).map(|t| entry(t / n, t % n) + entry(t % n, t / n)).collect();
        check(device, n, &matrix, Uplo::Lower, None)?;
    }
    Ok(())
}

fn repeated_and_clustered_values(device: &Device) -> Verdict {
    for n in [4, 7, 16, 33, 72] {
        let repeated: Vec<f64> = (0..n).map(|i| (i * 3 / n) as f64).collect();
        let clustered: Vec<f64> = (0..n).map(|i| 1.0 + 1e-6 * i as f64).collect();
        check(device, n, &with_values(&repeated), Uplo::Lower, Some(&repeated))?;
        check(device, n, &with_values(&clustered), Uplo::Lower, Some(&clustered))?;
    }
    Ok(())
}

fn identity_and_zero(device: &Device) -> Verdict {
    for n in [1, 2, 3, 4, 9, 24, 66] {
        let identity: Vec<f64> = (0..n * n).map(|i| f64::from(u8::from(i % (n + 1) == 0))).collect();
        check(device, n, &identity, Uplo::Lower, Some(&vec![1.0; n]))?;
        check(device, n, &vec![0.0; n * n], Uplo::Lower, Some(&vec![0.0; n]))?;
    }
    Ok(())
}

/// W21+: pairs of values that agree to many digits.
fn wilkinson(device: &Device) -> Verdict {
    let entry = |i: usize, j: usize| match i.abs_diff(j) {
        0 => i.abs_diff(10) as f64,
        1 => 1.0,
        _ => 0.0,
    };
    let matrix: Vec<f64> = (0..21 * 21).map(|t| entry(t / 21, t % 21)).collect();
    check(device, 21, &matrix, Uplo::Lower, None)
}

fn hilbert(device: &Device) -> Verdict {
    for n in [3, 4, 12, 40] {
        let matrix: Vec<f64> = (0..n * n).map(|t| 1.0 / (t / n + t % n + 1) as f64).collect();
        check(device, n, &matrix, Uplo::Lower, None)?;
    }
    Ok(())
}

/// Matrices whose squares would overflow or vanish.
fn tiny_and_huge(device: &Device) -> Verdict {
    for n in [2, 3, 10, 33, 70] {
        for scale in [1e-20, 1e20, 1e-30, 1e30] {
            let values: Vec<f64> = (0..n).map(|i| scale * (i as f64 - 1.3)).collect();
            check(device, n, &with_values(&values), Uplo::Lower, Some(&values))?;
        }
        if device.gpu().is_none() {
            for scale in [1e-200, 1e200] {
                let values: Vec<f64> = (0..n).map(|i| scale * (i as f64 - 1.3)).collect();
                check_in::<f64>(device, n, &with_values(&values), Uplo::Lower, Some(&values), f64::EPSILON)?;
            }
        }
    }
    Ok(())
}

fn many_3x3(device: &Device) -> Verdict {
    let matrices: Vec<f64> = randoms("eigh/many", 700 * 6)
        .chunks_exact(6)
        .flat_map(|x| [x[0], x[1], x[2], x[1], x[3], x[4], x[2], x[4], x[5]])
        .collect();
    check(device, 3, &matrices, Uplo::Lower, None)
}

fn the_other_triangle_is_not_read(device: &Device) -> Verdict {
    for n in [2, 3, 9, 20, 70] {
        let matrix = random("eigh/a", n);
        let solve = |a: &[f64], uplo| -> Result<Vec<f64>, String> {
            let (l, v) = eigh(&tensor::<f32>(device, &[n, n], a), uplo).map_err(|e| e.to_string())?;
            Ok([read(&l)?, read(&v)?].concat())
        };
        for (uplo, unread) in [(Uplo::Lower, 1), (Uplo::Upper, -1)] {
            let is_read = |t: usize| (t % n).cmp(&(t / n)) as i32 != unread;
            let half: Vec<f64> =
                matrix.iter().enumerate().map(|(t, &x)| if is_read(t) { x } else { f64::NAN }).collect();
            check_equal(&solve(&half, uplo)?, &solve(&matrix, uplo)?)
                .map_err(|e| format!("{n}, {uplo:?}: {e}"))?;
        }
    }
    Ok(())
}

fn nan_stays_in_its_matrix(device: &Device) -> Verdict {
    for n in [1, 2, 3, 4, 7, 20, 66] {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut matrices = [random("eigh/a", n), random("eigh/b", n), random("eigh/c", n)].concat();
            matrices[n * n + (n - 1) * n] = bad;
            let a = tensor::<f32>(device, &[3, n, n], &matrices);
            let (l, v) = eigh(&a, Uplo::Lower).map_err(|e| e.to_string())?;
            let alone = eigvalsh(&a, Uplo::Lower).map_err(|e| e.to_string())?;
            for (what, tensor, each) in
                [("values", &l, n), ("vectors", &v, n * n), ("values alone", &alone, n)]
            {
                let found = read(tensor)?;
                if let Some(i) = (0..3 * each).find(|&i| found[i].is_nan() != (i / each == 1)) {
                    return Err(format!(
                        "{n} x {n} with {bad}: {what} of matrix {} are {}",
                        i / each,
                        found[i]
                    ));
                }
            }
        }
    }
    Ok(())
}

fn values_alone(device: &Device) -> Verdict {
    for n in [1, 3, 4, 12, 30, 60, 90] {
        let a = tensor::<f32>(device, &[n, n], &random("eigh/a", n));
        let both = read(&eigh(&a, Uplo::Upper).map_err(|e| e.to_string())?.0)?;
        let alone = eigvalsh(&a, Uplo::Upper).map_err(|e| e.to_string())?;
        check_equal(alone.shape(), &[n])?;
        let alone: Vec<f32> = read(&alone)?.into_iter().map(|x| x as f32).collect();
        let tolerance = Tolerance::OfLargest((n as f64 + 8.0) * f64::from(f32::EPSILON));
        check_close(&alone, &both, tolerance).map_err(|e| format!("{n}: {e}"))?;
    }
    Ok(())
}

fn batches_and_empty_ones(device: &Device) -> Verdict {
    for shape in [&[0, 3, 3][..], &[2, 0, 0], &[0, 0], &[3, 0, 70, 70], &[0, 20, 20]] {
        let a = tensor::<f32>(device, shape, &[]);
        let (l, v) = eigh(&a, Uplo::Lower).map_err(|e| e.to_string())?;
        check_equal(l.shape(), &shape[..shape.len() - 1])?;
        check_equal(v.shape(), shape)?;
        check_equal(eigvalsh(&a, Uplo::Lower).map_err(|e| e.to_string())?.shape(), l.shape())?;
    }
    let matrices: Vec<f64> = (0..6).flat_map(|i| random(&format!("eigh/{i}"), 5)).collect();
    let a = tensor::<f32>(device, &[2, 3, 5, 5], &matrices);
    let (l, v) = eigh(&a, Uplo::Lower).map_err(|e| e.to_string())?;
    check_equal(l.shape(), &[2, 3, 5])?;
    check_equal(v.shape(), &[2, 3, 5, 5])?;
    let (l, v) = (read(&l)?, read(&v)?);
    let one = |i: usize| (&l[i * 5..][..5], &v[i * 25..][..25]);
    let rounded = read(&a)?;
    (0..6).try_for_each(|i| judge(5, &rounded[i * 25..][..25], one(i), None, f64::from(f32::EPSILON)))
}

fn neighbours_do_not_matter(device: &Device) -> Verdict {
    for n in [3, 8, 20, 70] {
        let matrices: Vec<f64> = (0..5).flat_map(|i| random(&format!("eigh/{i}"), n)).collect();
        let (_, together) =
            eigh(&tensor::<f32>(device, &[5, n, n], &matrices), Uplo::Lower).map_err(|e| e.to_string())?;
        let together = read(&together)?;
        for (i, matrix) in matrices.chunks_exact(n * n).enumerate() {
            let (_, alone) =
                eigh(&tensor::<f32>(device, &[n, n], matrix), Uplo::Lower).map_err(|e| e.to_string())?;
            check_equal(&read(&alone)?, &together[i * n * n..(i + 1) * n * n])?;
        }
    }
    Ok(())
}

fn threads_do_not_matter(device: &Device) -> Verdict {
    for (n, count) in [(3, 5000), (12, 200), (40, 6), (300, 1)] {
        let a = tensor::<f32>(device, &[count, n, n], &randoms("eigh/threads", count * n * n));
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
            pool.install(|| eigh(&a, Uplo::Lower)).map_err(|e| e.to_string()).and_then(|(_, v)| read(&v))
        };
        let one = with(1)?;
        for threads in [2, 3] {
            check_equal(&with(threads)?, &one).map_err(|e| format!("{n}, {threads} threads: {e}"))?;
        }
    }
    Ok(())
}

fn nobody_waits(device: &Device) -> Verdict {
    let gpu = device.gpu().expect("a case for GPUs");
    for n in [3, 20, 70] {
        let a = tensor::<f32>(device, &[n, n], &random("eigh/a", n));
        let run = || -> Result<u64, String> {
            let before = gpu.waits();
            let (l, v) = eigh(&a, Uplo::Lower).map_err(|e| e.to_string())?;
            eigh_backward(&l, &v, Some(&l), Some(&v)).map_err(|e| e.to_string())?;
            Ok(gpu.waits() - before)
        };
        // Others may wait at the same time.
        let mut least = run()?;
        for _ in 0..20 {
            least = least.min(run()?);
        }
        check_equal(&[least], &[0])?;
    }
    Ok(())
}

fn many_parts(device: &Device, n: usize, count: usize) -> Verdict {
    let matrices: Vec<f64> = (0..count).flat_map(|i| random(&format!("eigh/{i}"), n)).collect();
    check(device, n, &matrices, Uplo::Lower, None)
}

/// A loss that does not depend on the signs of vectors, and its gradients by values and vectors.
struct Loss {
    values: Vec<f64>,
    squares: Vec<f64>,
}

impl Loss {
    fn new(name: &str, n: usize) -> Self {
        let mut values = randoms(name, n + n * n);
        let squares = values.split_off(n);
        Self { values, squares }
    }

    fn of(&self, l: &[f64], v: &[f64]) -> f64 {
        let sum = |weights: &[f64], x: &[f64], power: i32| -> f64 {
            weights.iter().zip(x).map(|(w, x)| w * x.powi(power)).sum()
        };
        sum(&self.values, l, 1) + sum(&self.squares, v, 2)
    }

    fn gradients(&self, v: &[f64]) -> Vec<f64> {
        self.squares.iter().zip(v).map(|(w, v)| 2.0 * w * v).collect()
    }
}

/// A matrix whose values are well apart, so that f32 has digits left.
fn apart(n: usize, shift: f64) -> Vec<f64> {
    with_values(&(0..n).map(|i| i as f64 - 2.2 + shift * (i % 2) as f64).collect::<Vec<_>>())
}

/// Two matrices, each with a loss of its own.
fn backward_differences(device: &Device) -> Verdict {
    for n in [1, 2, 3, 6, 17] {
        let losses = ["eigh/loss/a", "eigh/loss/b"].map(|name| Loss::new(name, n));
        let matrices = [apart(n, 0.3), apart(n, -0.2)];
        let want: Vec<Vec<f64>> =
            (0..2).map(|i| reference::gradient(&matrices[i], n, |l, v| losses[i].of(l, v))).collect();
        let run = |wide: bool| -> Result<Vec<f64>, String> {
            let new = |shape: &[usize], x: &[f64]| match wide {
                true => tensor::<f64>(device, shape, x),
                false => tensor::<f32>(device, shape, x),
            };
            let (l, v) =
                eigh(&new(&[2, n, n], &matrices.concat()), Uplo::Lower).map_err(|e| e.to_string())?;
            let vectors = read(&v)?;
            let grad_v: Vec<f64> =
                (0..2).flat_map(|i| losses[i].gradients(&vectors[i * n * n..(i + 1) * n * n])).collect();
            let grad_l = losses.each_ref().map(|loss| loss.values.clone()).concat();
            let (grad_l, grad_v) = (new(&[2, n], &grad_l), new(&[2, n, n], &grad_v));
            let grad = eigh_backward(&l, &v, Some(&grad_l), Some(&grad_v)).map_err(|e| e.to_string())?;
            check_equal(grad.shape(), &[2, n, n])?;
            read(&grad)
        };
        let close = |got: Vec<f64>, share: f64| {
            for (matrix, (got, want)) in got.chunks(n * n).zip(&want).enumerate() {
                let largest = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                let is_close = |i: usize| (got[i] - want[i]).abs() <= share * largest;
                if let Some(i) = (0..n * n).find(|&i| !is_close(i)) {
                    return Err(format!("{n}, matrix {matrix}: entry {i} is {}, not {}", got[i], want[i]));
                }
            }
            Ok(())
        };
        close(run(false)?, 1e-4)?;
        if device.gpu().is_none() {
            close(run(true)?, 1e-8)?;
        }
    }
    Ok(())
}

/// `v diag(g) v^T`, also where values are equal.
fn backward_of_values(device: &Device) -> Verdict {
    let n = 6;
    let l = tensor::<f32>(device, &[n], &[1.0, 1.0, 1.0, 2.0, 2.0, 3.0]);
    let (weights, a) = (randoms("eigh/weights", n), random("eigh/a", n));
    let v = reference::eigh(&a, n).1;
    let grad = eigh_backward(
        &l,
        &tensor::<f32>(device, &[n, n], &v),
        Some(&tensor::<f32>(device, &[n], &weights)),
        None,
    );
    let entry = |t: usize| (0..n).map(|k| v[t / n * n + k] * weights[k] * v[t % n * n + k]).sum();
    let want: Vec<f64> = (0..n * n).map(entry).collect();
    let got = grad.map_err(|e| e.to_string())?.read::<f32>().map_err(|e| e.to_string())?;
    check_close(&got, &want, Tolerance::OfLargest(1e-6))?;
    let none =
        eigh_backward(&l, &tensor::<f32>(device, &[n, n], &v), None, None).map_err(|e| e.to_string())?;
    check_equal(&read(&none)?, &vec![0.0; n * n])
}

fn backward_of_equal_values(device: &Device) -> Verdict {
    let identity = [1.0, 0.0, 0.0, 1.0];
    let v = tensor::<f32>(device, &[2, 2, 2], &[identity, identity].concat());
    let l = tensor::<f32>(device, &[2, 2], &[1.0, 1.0, 1.0, 2.0]);
    let grad_v = tensor::<f32>(device, &[2, 2, 2], &[0.0, 1.0, 3.0, 0.0, 0.0, 1.0, 3.0, 0.0]);
    let grad = read(&eigh_backward(&l, &v, None, Some(&grad_v)).map_err(|e| e.to_string())?)?;
    // (m - m^T) / (2 (2 - 1)) with m = [[0, 1], [3, 0]].
    check_equal(&grad[4..], &[0.0, -1.0, -1.0, 0.0])?;
    match grad[..4].iter().all(|x| x.is_nan()) {
        true => Ok(()),
        false => Err(format!("{:?} for equal values, not NaN", &grad[..4])),
    }
}

fn backward_empty(device: &Device) -> Verdict {
    for (values, vectors) in [(&[0, 3][..], &[0, 3, 3][..]), (&[2, 0], &[2, 0, 0])] {
        let [l, v] = [values, vectors].map(|shape| tensor::<f32>(device, shape, &[]));
        let grad = eigh_backward(&l, &v, Some(&l), Some(&v)).map_err(|e| e.to_string())?;
        check_equal(grad.shape(), vectors)?;
    }
    Ok(())
}

fn shapes(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[2, 3, 4]);
    expect_error(eigh(&a, Uplo::Lower), "linalg::eigh: `a` must be [.., n, n], got [2, 3, 4]")?;
    expect_error(eigvalsh(&a, Uplo::Lower), "linalg::eigvalsh: `a` must be [.., n, n], got [2, 3, 4]")?;
    expect_error(
        eigh(&Tensor::zeros::<f32>(device, &[3]), Uplo::Lower),
        "`a` must be [.., rows, columns], got [3]",
    )
}

fn dtypes(device: &Device) -> Verdict {
    let a = Tensor::zeros::<i32>(device, &[3, 3]);
    expect_error(eigh(&a, Uplo::Lower), "`a` must hold f32")?;
    if device.gpu().is_some() {
        let a = Tensor::zeros::<f64>(device, &[3, 3]);
        expect_error(eigh(&a, Uplo::Lower), "`a` must hold f32, got f64")?;
    }
    let (l, v) = (Tensor::zeros::<f32>(device, &[3]), Tensor::zeros::<f32>(device, &[3, 3]));
    let wrong = Tensor::zeros::<i32>(device, &[3]);
    expect_error(eigh_backward(&l, &v, Some(&wrong), None), "`grad_values` must hold f32")
}

fn too_large(device: &Device) -> Verdict {
    let a = Tensor::zeros::<f32>(device, &[4097, 4097]);
    expect_error(eigh(&a, Uplo::Lower), "matrices above 4096 x 4096 take too many launches")
}

fn backward_errors(device: &Device) -> Verdict {
    let (l, v) = (Tensor::zeros::<f32>(device, &[2, 3]), Tensor::zeros::<f32>(device, &[2, 3, 3]));
    expect_error(eigh_backward(&v, &v, None, None), "`values` must be [2, 3], got [2, 3, 3]")?;
    expect_error(eigh_backward(&l, &l, None, None), "`vectors` must be [.., n, n], got [2, 3]")?;
    expect_error(eigh_backward(&l, &v, Some(&v), None), "`grad_values` must be [2, 3], got [2, 3, 3]")?;
    expect_error(eigh_backward(&l, &v, None, Some(&l)), "`grad_vectors` must be [2, 3, 3], got [2, 3]")
}
