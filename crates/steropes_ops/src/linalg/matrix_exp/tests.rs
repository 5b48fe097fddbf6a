use super::{matrix_exp, matrix_exp_backward, reference};
use steropes_tensor::{Device, Tensor};
use steropes_testkit::inputs::normal;
use steropes_testkit::{
    Case, Verdict, case, check_equal, cpu_case, expect_error, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("matrix_exp/oracle/every_size", every_size),
        case("matrix_exp/oracle/norms", norms),
        case("matrix_exp/oracle/rotation", rotation),
        case("matrix_exp/oracle/nilpotent", nilpotent),
        case("matrix_exp/property/zero_gives_the_identity", zero_gives_the_identity),
        case("matrix_exp/property/nan_stays_in_its_matrix", nan_stays_in_its_matrix),
        case("matrix_exp/property/empty", empty),
        case("matrix_exp/property/strongly_negative", strongly_negative),
        cpu_case("matrix_exp/property/threads_do_not_matter", threads_do_not_matter),
        gpu_case("matrix_exp/property/beyond_the_largest_norm", beyond_the_largest_norm),
        small_bindings_case("matrix_exp/property/parts", 1 << 11, |d| check(d, 5, &stack(5, 60, 1.0))),
        case("matrix_exp/backward/differences", |d| backward_differences(d, 1.0)),
        case("matrix_exp/backward/large_gradients", |d| backward_differences(d, 1e12)),
        case("matrix_exp/backward/nan_and_empty", backward_nan_and_empty),
        small_bindings_case("matrix_exp/backward/parts", 1 << 11, |d| backward_differences(d, 1.0)),
        case("matrix_exp/error/arguments", arguments),
    ]
}

fn randoms(name: &str, count: usize) -> Vec<f64> {
    normal(name, count).into_iter().map(f64::from).collect()
}

/// Symmetric and other matrices in turn, of random numbers times `size`.
fn stack(n: usize, count: usize, size: f64) -> Vec<f64> {
    let x: Vec<f64> = randoms("matrix_exp/a", count * n * n).iter().map(|x| x * size).collect();
    let entry = |t: usize| {
        let (matrix, i, j) = (t / (n * n), t / n % n, t % n);
        if matrix % 2 == 0 { x[t] } else { x[t] + x[matrix * n * n + j * n + i] }
    };
    (0..count * n * n).map(entry).collect()
}

/// Compares in f32, and on the CPU in f64, with the oracle.
fn check(device: &Device, n: usize, matrices: &[f64]) -> Verdict {
    let shape = [matrices.len() / (n * n), n, n];
    let narrow: Vec<f32> = matrices.iter().map(|&x| x as f32).collect();
    let rounded: Vec<f64> = narrow.iter().map(|&x| f64::from(x)).collect();
    let a = Tensor::new(device, &shape, narrow).expect("a value for each place");
    let y = matrix_exp(&a).map_err(|e| e.to_string())?;
    check_equal(y.shape(), &shape)?;
    let y = y.read::<f32>().map_err(|e| e.to_string())?;
    judge(n, &rounded, &y.into_iter().map(f64::from).collect::<Vec<_>>(), f64::from(f32::EPSILON))?;
    if device.gpu().is_none() {
        let a = Tensor::new(device, &shape, matrices.to_vec()).expect("a value for each place");
        let y = matrix_exp(&a).map_err(|e| e.to_string())?;
        // The oracle computes in f64 too.
        judge(n, matrices, &y.read::<f64>().map_err(|e| e.to_string())?, 4.0 * f64::EPSILON)?;
    }
    Ok(())
}

fn judge(n: usize, matrices: &[f64], found: &[f64], eps: f64) -> Verdict {
    for (index, (a, y)) in matrices.chunks_exact(n * n).zip(found.chunks_exact(n * n)).enumerate() {
        let want = reference::matrix_exp(a, n);
        let norm = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>().sqrt();
        let error: f64 = norm(&y.iter().zip(&want).map(|(y, want)| y - want).collect::<Vec<_>>());
        let bound = eps * (n as f64 + 8.0) * (1.0 + norm(a)) * norm(&want);
        if error.is_nan() || error > bound {
            return Err(format!(
                "{n} x {n}, matrix {index}: off by {error:.2e}, at most {bound:.2e} was expected"
            ));
        }
    }
    Ok(())
}

fn every_size(device: &Device) -> Verdict {
    for n in [1, 2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 40] {
        check(device, n, &stack(n, 3, 0.3)).map_err(|e| format!("{n}: {e}"))?;
    }
    Ok(())
}

/// Around every number of squarings, different ones in one stack.
fn norms(device: &Device) -> Verdict {
    for n in [2, 6] {
        let matrices: Vec<f64> = (0..18)
            .flat_map(|i| stack(n, 2, 0.01 * 1.6f64.powi(i)).into_iter().map(|x| x.clamp(-10.0, 10.0)))
            .collect();
        check(device, n, &matrices)?;
    }
    Ok(())
}

fn run(device: &Device, shape: &[usize], a: &[f32]) -> Result<Vec<f32>, String> {
    let a = Tensor::new(device, shape, a.to_vec()).expect("a value for each place");
    matrix_exp(&a).and_then(|y| Ok(y.read::<f32>()?)).map_err(|e| e.to_string())
}

/// By a whole number of turns and a bit.
fn rotation(device: &Device) -> Verdict {
    for angle in [0.1f32, 1.0, 3.0, 30.0] {
        let y = run(device, &[2, 2], &[0.0, -angle, angle, 0.0])?;
        let (sin, cos) = f64::from(angle).sin_cos();
        for (y, want) in y.iter().zip([cos, -sin, sin, cos]) {
            let error = (f64::from(*y) - want).abs();
            if error.is_nan() || error > 1e-6 * (1.0 + f64::from(angle)) {
                return Err(format!("{angle}: off by {error:e}"));
            }
        }
    }
    Ok(())
}

/// A series that ends: exact numbers.
fn nilpotent(device: &Device) -> Verdict {
    let a = [0.0, 4.0, 8.0, 0.0, 0.0, 16.0, 0.0, 0.0, 0.0];
    check_equal(&run(device, &[3, 3], &a)?, &[1.0, 4.0, 40.0, 0.0, 1.0, 16.0, 0.0, 0.0, 1.0])
}

fn zero_gives_the_identity(device: &Device) -> Verdict {
    for n in [1, 2, 5, 20] {
        let identity: Vec<f32> = (0..n * n).map(|t| f32::from(u8::from(t % (n + 1) == 0))).collect();
        check_equal(&run(device, &[n, n], &vec![0.0; n * n])?, &identity)?;
    }
    Ok(())
}

fn nan_stays_in_its_matrix(device: &Device) -> Verdict {
    for n in [1, 2, 5] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut a: Vec<f32> = stack(n, 3, 0.3).into_iter().map(|x| x as f32).collect();
            a[2 * n * n - 1] = bad;
            let y = run(device, &[3, n, n], &a)?;
            if let Some(i) = (0..y.len()).find(|&i| y[i].is_nan() != (i / (n * n) == 1)) {
                return Err(format!("{n} x {n} with {bad}: matrix {} has {}", i / (n * n), y[i]));
            }
        }
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    for shape in [&[0, 0][..], &[2, 0, 0], &[0, 3, 3], &[2, 0, 5, 5]] {
        let y = matrix_exp(&Tensor::zeros::<f32>(device, shape)).map_err(|e| e.to_string())?;
        check_equal(y.shape(), shape)?;
    }
    Ok(())
}

/// What vanishes is zero, not NaN.
fn strongly_negative(device: &Device) -> Verdict {
    for size in [200.0, 1e4, 1e6] {
        let y = run(device, &[2, 2], &[-size, 0.0, 0.0, -size])?;
        check_equal(&y, &[0.0; 4])?;
    }
    Ok(())
}

fn threads_do_not_matter(device: &Device) -> Verdict {
    let a: Vec<f32> = stack(6, 500, 1.0).into_iter().map(|x| x as f32).collect();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start");
        pool.install(|| run(device, &[500, 6, 6], &a))
    };
    check_equal(&with(3)?, &with(1)?)
}

fn beyond_the_largest_norm(device: &Device) -> Verdict {
    let y = run(device, &[2, 2, 2], &[-1e7, 0.0, 0.0, -1e7, 0.0, 0.0, 0.0, 0.0])?;
    check_equal(&y[4..], &[1.0, 0.0, 0.0, 1.0])?;
    match y[..4].iter().all(|x| x.is_nan()) {
        true => Ok(()),
        false => Err(format!("{:?}, not NaN", &y[..4])),
    }
}

/// The gradient of `sum(size * weights * exp(a))` for each of some matrices.
fn backward_differences(device: &Device, size: f64) -> Verdict {
    for n in [1, 2, 3, 7, 10] {
        let (count, step) = (4, 1e-6);
        let matrices: Vec<f64> = (0..count).flat_map(|i| stack(n, 1, [0.05, 0.3, 1.0, 0.6][i])).collect();
        let weights: Vec<f64> =
            randoms("matrix_exp/weights", matrices.len()).iter().map(|w| w * size).collect();
        let loss = |a: &[f64], own: &[f64]| -> f64 {
            reference::matrix_exp(a, n).iter().zip(own).map(|(y, w)| y * w).sum()
        };
        let differences = |i: usize| {
            let own = i / (n * n) * n * n..(i / (n * n) + 1) * n * n;
            let at = |change: f64| {
                let mut moved = matrices[own.clone()].to_vec();
                moved[i % (n * n)] += change;
                loss(&moved, &weights[own.clone()])
            };
            (at(step) - at(-step)) / (2.0 * step)
        };
        let want: Vec<f64> = (0..matrices.len()).map(differences).collect();
        let close = |got: &[f64], share: f64| {
            for (matrix, (got, want)) in got.chunks(n * n).zip(want.chunks(n * n)).enumerate() {
                let largest = want.iter().fold(0.0f64, |most, x| most.max(x.abs()));
                let is_close = |i: usize| (got[i] - want[i]).abs() <= share * largest;
                if let Some(i) = (0..n * n).find(|&i| !is_close(i)) {
                    return Err(format!("{n}, matrix {matrix}: entry {i} is {}, not {}", got[i], want[i]));
                }
            }
            Ok(())
        };
        let shape = [count, n, n];
        let narrow = |x: &[f64]| {
            let x = x.iter().map(|&x| x as f32).collect();
            Tensor::new(device, &shape, x).expect("a value for each place")
        };
        let grad = matrix_exp_backward(&narrow(&matrices), &narrow(&weights)).map_err(|e| e.to_string())?;
        check_equal(grad.shape(), &shape)?;
        let grad: Vec<f64> =
            grad.read::<f32>().map_err(|e| e.to_string())?.into_iter().map(f64::from).collect();
        close(&grad, 3e-5)?;
        if device.gpu().is_none() {
            let wide = |x: &[f64]| Tensor::new(device, &shape, x.to_vec()).expect("a value for each place");
            let grad = matrix_exp_backward(&wide(&matrices), &wide(&weights)).map_err(|e| e.to_string())?;
            close(&grad.read::<f64>().map_err(|e| e.to_string())?, 1e-7)?;
        }
    }
    Ok(())
}

fn backward_nan_and_empty(device: &Device) -> Verdict {
    let ones = Tensor::new(device, &[2, 2, 2], vec![1.0f32; 8]).expect("8 values");
    let mut values = vec![1.0f32; 8];
    values[1] = f32::NAN;
    let bad = Tensor::new(device, &[2, 2, 2], values).expect("8 values");
    let grad =
        matrix_exp_backward(&bad, &ones).and_then(|y| Ok(y.read::<f32>()?)).map_err(|e| e.to_string())?;
    if let Some(i) = (0..8).find(|&i| grad[i].is_nan() != (i < 4)) {
        return Err(format!("entry {i} is {}", grad[i]));
    }
    for shape in [&[0, 3, 3][..], &[2, 0, 0]] {
        let none = Tensor::zeros::<f32>(device, shape);
        check_equal(matrix_exp_backward(&none, &none).map_err(|e| e.to_string())?.shape(), shape)?;
    }
    Ok(())
}

fn arguments(device: &Device) -> Verdict {
    let wrong = Tensor::zeros::<f32>(device, &[2, 3]);
    expect_error(matrix_exp(&wrong), "linalg::matrix_exp: `a` must be [.., n, n], got [2, 3]")?;
    expect_error(matrix_exp(&Tensor::zeros::<i32>(device, &[2, 2])), "`a` must hold f32")?;
    let a = Tensor::zeros::<f32>(device, &[2, 2]);
    expect_error(matrix_exp_backward(&wrong, &wrong), "linalg::matrix_exp_backward: `a` must be [.., n, n]")?;
    expect_error(matrix_exp_backward(&a, &wrong), "`grad` must be [2, 2], got [2, 3]")?;
    expect_error(matrix_exp_backward(&a, &Tensor::zeros::<i32>(device, &[2, 2])), "`grad` must hold f32")
}
