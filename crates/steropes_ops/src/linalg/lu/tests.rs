use super::{gpu, lu, lu_backward, lu_factor, lu_factor_backward, lu_factor_ex, lu_solve, reference};
use crate::linalg::dense::testing::{
    SIZES, check_within, count_for, differences, done, dot, magnitudes, precisions, product, random, read,
    same_on_any_threads, tensor, transposed,
};
use crate::linalg::registers::Limits;
use crate::linalg::stack::Broadcast;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{
    Case, Verdict, case, check_equal, cpu_case, expect_error, gpu_case, small_bindings_case,
};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("lu/oracle/every_size", every_size),
        case("lu/oracle/tall_and_wide", tall_and_wide),
        case("lu/oracle/blocks", |d| against_oracle(d, &[1], [200, 200], 1.0)),
        case("lu/oracle/blocks_tall_and_wide", |d| {
            against_oracle(d, &[1], [300, 70], 1.0)?;
            against_oracle(d, &[1], [40, 130], 1.0)
        }),
        gpu_case("lu/oracle/panels_of_every_height", panels_of_every_height),
        gpu_case("lu/property/panels_of_equals", panels_of_equals),
        gpu_case("lu/property/panels_of_zeros_and_not_a_number", panels_of_zeros_and_not_a_number),
        case("lu/oracle/no_batch", |d| against_oracle(d, &[], [6, 6], 1.0)),
        case("lu/oracle/batch_of_two_axes", |d| against_oracle(d, &[2, 3], [9, 9], 1.0)),
        case("lu/property/large_and_small_matrices", |d| {
            [1e-6, 1e6].into_iter().try_for_each(|scale| against_oracle(d, &[9], [10, 10], scale))
        }),
        case("lu/property/graded", graded),
        case("lu/property/permutations", permutations),
        case("lu/property/first_of_equals", first_of_equals),
        case("lu/property/singular", singular),
        case("lu/property/not_a_number", not_a_number),
        case("lu/property/empty", empty),
        small_bindings_case("lu/property/ex_does_not_wait", 1 << 24, ex_does_not_wait),
        cpu_case("lu/property/same_bits_on_any_threads", |_| threads()),
        case("lu/solve/every_size", solve_every_size),
        case("lu/solve/forms", solve_forms),
        gpu_case("lu/solve/any_pivots", any_pivots),
        case("lu/solve/empty", solve_empty),
        cpu_case("lu/error/pivots", |d| {
            let (a, b) = (Tensor::zeros::<f32>(d, &[2, 2]), Tensor::zeros::<f32>(d, &[2, 1]));
            let pivots = Tensor::new(d, &[2], vec![1, 3]).expect("two values");
            expect_error(lu_solve(&a, &pivots, &b, true, false), "`pivots` must be numbers of rows")
        }),
        case("lu_backward/gradient/shapes", gradients),
        case("lu_backward/property/missing_gradients_are_zero", missing_gradients),
        case("lu_backward/property/empty", backward_empty),
        cpu_case("lu_backward/property/same_bits_on_any_threads", |_| backward_threads()),
        case("lu_backward/error/arguments", backward_errors),
        case("lu/error/arguments", errors),
        small_bindings_case("lu/error/small_bindings", 1024, |d| {
            let a = Tensor::zeros::<f32>(d, &[5, 8, 8]);
            expect_error(lu_factor(&a), "a stack of 1280 bytes does not fit one binding of 1024 bytes")
        }),
    ]
}

/// Limits of workgroups: those of the device, and few invocations, which hold low panels only.
fn limits(device: &Device) -> [Limits; 2] {
    let own = Limits::of(device.gpu().expect("a case for GPUs").capabilities());
    [own, Limits { threads: 64, ..own }]
}

/// Factors, pivots and info of `[count, m, n]` by panels within limits.
fn by_panels(
    device: &Device,
    limits: &Limits,
    [count, m, n]: [usize; 3],
    a: &[f64],
) -> Result<[Vec<f64>; 3], String> {
    let gpu = device.gpu().expect("a case for GPUs");
    let (factors, _) = tensor(device, DType::F32, &[count, m, n], a);
    let pivots = done(Tensor::on_gpu(gpu, "lu", DType::I32, &[count, m.min(n)]))?;
    let info = done(Tensor::on_gpu(gpu, "lu", DType::I32, &[count]))?;
    done(gpu::panels(limits, gpu, &factors, [&pivots, &info], count, [m, n]))?;
    let numbers = |t: &Tensor| done(t.read::<i32>()).map(|t| t.into_iter().map(f64::from).collect());
    Ok([read(&factors)?, numbers(&pivots)?, numbers(&info)?])
}

/// Panels of 32, of 16 and of 8 columns in registers and panels in device memory, also one after the other in a matrix; one and several
/// vectors of rows for each invocation.
fn panels_of_every_height(device: &Device) -> Verdict {
    let (dtype, eps) = precisions(device)[0];
    let shapes =
        [[1, 1], [3, 5], [33, 32], [40, 70], [65, 33], [129, 9], [150, 40], [257, 17], [600, 20], [1100, 9]];
    for limits in limits(device) {
        for [m, n] in shapes {
            let k = m.min(n);
            let (_, held) = tensor(device, dtype, &[2, m, n], &random("lu/a", 2 * m * n));
            let [factors, pivots, info] = by_panels(device, &limits, [2, m, n], &held)?;
            let what = format!("{limits:?} {m} x {n}");
            check_equal(&info, &[0.0, 0.0]).map_err(|e| format!("{what}: {e}"))?;
            for (i, a) in held.chunks_exact(m * n).enumerate() {
                let (all, pivots) = (&factors[i * m * n..][..m * n], &pivots[i * k..][..k]);
                let l: Vec<f64> = (0..m * k)
                    .map(|e| match (e / k, e % k) {
                        (i, j) if j < i => all[i * n + j],
                        (i, j) => f64::from(u8::from(i == j)),
                    })
                    .collect();
                let u: Vec<f64> = (0..k * n).map(|e| if e / n <= e % n { all[e] } else { 0.0 }).collect();
                let mut order: Vec<usize> = (0..m).collect();
                for (step, &pivot) in pivots.iter().enumerate() {
                    if !(step + 1..=m).contains(&(pivot as usize)) {
                        return Err(format!(
                            "{what}: step {step} exchanges with row {pivot}, counted from 1"
                        ));
                    }
                    order.swap(step, pivot as usize - 1);
                }
                let exchanged: Vec<f64> = order.iter().flat_map(|row| a[row * n..][..n].to_vec()).collect();
                let terms = product(&magnitudes(&l), &magnitudes(&u), [m, n, k]);
                let bound = |e: usize| 2.0 * (k + 2) as f64 * eps * terms[e];
                check_within(&what, &product(&l, &u, [m, n, k]), &exchanged, bound)?;
                if let Some(factor) =
                    l.iter().find(|factor| factor.is_nan() || factor.abs() > 1.0 + 4.0 * eps)
                {
                    return Err(format!("{what}: L has {factor}"));
                }
            }
        }
    }
    Ok(())
}

/// Five columns of ones and minus ones, whose elimination is exact up to the last pivot: of equals the first is the pivot, as for the oracle.
fn panels_of_equals(device: &Device) -> Verdict {
    for limits in limits(device) {
        for m in [9, 40, 70, 130, 300, 700] {
            let a: Vec<f64> = random("lu/equals", m * 5).iter().map(|x| x.signum()).collect();
            let [factors, pivots, _] = by_panels(device, &limits, [1, m, 5], &a)?;
            let (want, rows) = reference::lu(&a, m, 5);
            let rows: Vec<f64> = rows.into_iter().map(f64::from).collect();
            check_equal(&pivots, &rows).map_err(|e| format!("{limits:?} {m}: {e}"))?;
            check_within("LU", &factors, &want, |_| 1e-6).map_err(|e| format!("{limits:?} {m}: {e}"))?;
        }
    }
    Ok(())
}

/// The first zero pivot is told, its column stays as it is; what is not a number is a pivot and no zero.
fn panels_of_zeros_and_not_a_number(device: &Device) -> Verdict {
    for limits in limits(device) {
        for [m, n] in [[70, 40], [300, 12]] {
            let mut a = random("lu/special", 3 * m * n);
            (0..m).for_each(|i| a[i * n + 3] = 0.0);
            (0..m).for_each(|i| a[i * n + 9] = 0.0);
            a[m * n + 5 * n] = f64::NAN;
            let [factors, pivots, info] = by_panels(device, &limits, [3, m, n], &a)?;
            check_equal(&info, &[4.0, 0.0, 0.0]).map_err(|e| format!("{limits:?} {m}: {e}"))?;
            check_equal(&pivots[3..4], &[4.0])?;
            check_equal(&pivots[n.min(m)..][..1], &[6.0])?;
            for (i, part) in factors.chunks_exact(m * n).enumerate() {
                check_equal(&[part[m * n - 1].is_nan()], &[i == 1])?;
            }
        }
    }
    Ok(())
}

fn every_size(device: &Device) -> Verdict {
    SIZES.into_iter().try_for_each(|n| {
        against_oracle(device, &[count_for(n)], [n, n], 1.0).map_err(|e| format!("{n} rows: {e}"))
    })
}

fn tall_and_wide(device: &Device) -> Verdict {
    let extents =
        [[1, 4], [5, 1], [3, 7], [8, 2], [9, 3], [4, 16], [17, 5], [12, 33], [70, 20], [20, 70], [66, 64]];
    extents.into_iter().try_for_each(|extents| {
        against_oracle(device, &[11], extents, 1.0).map_err(|e| format!("{extents:?}: {e}"))
    })
}

fn against_oracle(device: &Device, batch: &[usize], [m, n]: [usize; 2], scale: f64) -> Verdict {
    let count: usize = batch.iter().product();
    let a: Vec<f64> = random("lu/a", count * m * n).iter().map(|v| v * scale).collect();
    check_factors(device, batch, [m, n], &a)
}

/// `L U` is `A` with its rows exchanged to within the rounding of the terms, element by element; factors are less than 1; the three parts are what the array
/// and the pivots say; in f64 all are those of the oracle.
fn check_factors(device: &Device, batch: &[usize], [m, n]: [usize; 2], a: &[f64]) -> Verdict {
    let k = m.min(n);
    for (dtype, eps) in precisions(device) {
        let (a, held) = tensor(device, dtype, &[batch, &[m, n]].concat(), a);
        let (factors, pivots, info) = done(lu_factor_ex(&a))?;
        check_equal(factors.shape(), a.shape())?;
        check_equal(pivots.shape(), &[batch, &[k]].concat())?;
        check_equal(info.shape(), batch)?;
        let (factors, pivots) = (read(&factors)?, done(pivots.read::<i32>())?);
        let (p, l, u) = done(lu(&a))?;
        check_equal(p.shape(), &[batch, &[m, m]].concat())?;
        check_equal(l.shape(), &[batch, &[m, k]].concat())?;
        check_equal(u.shape(), &[batch, &[k, n]].concat())?;
        let (p, l, u) = (read(&p)?, read(&l)?, read(&u)?);
        for (i, a) in held.chunks_exact(m * n).enumerate() {
            let (p, l, u) = (&p[i * m * m..][..m * m], &l[i * m * k..][..m * k], &u[i * k * n..][..k * n]);
            let terms = product(&magnitudes(l), &magnitudes(u), [m, n, k]);
            let bound = |e: usize| 2.0 * (k + 2) as f64 * eps * terms[e];
            // Row `i` of L U is the row of A that column `i` of P names.
            let row = |i: usize| (0..m).find(|r| p[r * m + i] != 0.0).unwrap_or(0);
            let exchanged: Vec<f64> = (0..m).flat_map(|i| a[row(i) * n..][..n].to_vec()).collect();
            check_within("L U", &product(l, u, [m, n, k]), &exchanged, bound)?;
            if let Some(factor) = l.iter().find(|factor| factor.is_nan() || factor.abs() > 1.0 + 4.0 * eps) {
                return Err(format!("L has {factor}"));
            }
            let (factors, pivots) = (&factors[i * m * n..][..m * n], &pivots[i * k..][..k]);
            check_parts(factors, pivots, [p, l, u], [m, n])?;
            if dtype == DType::F64 && m.max(n) < 70 {
                let (want, rows) = reference::lu(a, m, n);
                check_equal(pivots, &rows)?;
                let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                check_within("LU", factors, &want, |_| 1e-9 * largest)?;
            }
        }
    }
    Ok(())
}

fn check_parts(factors: &[f64], pivots: &[i32], [p, l, u]: [&[f64]; 3], [m, n]: [usize; 2]) -> Verdict {
    let k = m.min(n);
    for i in 0..m {
        for j in 0..k {
            let want = if j < i { factors[i * n + j] } else { f64::from(u8::from(i == j)) };
            if l[i * k + j] != want {
                return Err(format!("L has {} at {i}, {j}, the array {want}", l[i * k + j]));
            }
        }
    }
    for i in 0..k {
        for j in 0..n {
            let want = if j >= i { factors[i * n + j] } else { 0.0 };
            if u[i * n + j] != want {
                return Err(format!("U has {} at {i}, {j}, the array {want}", u[i * n + j]));
            }
        }
    }
    let mut order: Vec<usize> = (0..m).collect();
    for (i, &pivot) in pivots.iter().enumerate() {
        if pivot <= i as i32 {
            return Err(format!("step {i} exchanges with row {pivot}, counted from 1"));
        }
        order.swap(i, pivot as usize - 1);
    }
    let mut want = vec![0.0; m * m];
    order.iter().enumerate().for_each(|(i, row)| want[row * m + i] = 1.0);
    check_equal(p, &want)
}

/// Rows scaled by 1e-15 to 1e15, so that also their ratios are normal numbers of f32.
fn graded(device: &Device) -> Verdict {
    for n in [4, 12, 30, 70] {
        let a = random("lu/graded", 9 * n * n);
        let scaled: Vec<f64> =
            a.iter().enumerate().map(|(e, v)| v * 10f64.powi((e / n % n * 7 % 31) as i32 - 15)).collect();
        check_factors(device, &[9], [n, n], &scaled)?;
    }
    Ok(())
}

/// Matrices that have no factors without exchanges.
fn permutations(device: &Device) -> Verdict {
    check_factors(device, &[], [2, 2], &[0.0, 1.0, 1.0, 0.0])?;
    for n in [3, 8, 13, 20, 70] {
        let mut a = vec![0.0; 10 * n * n];
        for row in 0..10 * n {
            a[row * n + (row * 7 + 3) % n] = -2.0;
        }
        if n % 7 != 0 {
            check_factors(device, &[10], [n, n], &a)?;
            let (t, _) = tensor(device, DType::F32, &[10, n, n], &a);
            done(lu_factor(&t))?;
        }
    }
    Ok(())
}

fn first_of_equals(device: &Device) -> Verdict {
    for n in [6, 20, 70] {
        let a: Vec<f64> = (0..n * n).map(|e| if e % n == 0 { -1.0 } else { (e % 5) as f64 }).collect();
        let (_, pivots, _) = done(lu_factor_ex(&tensor(device, DType::F32, &[n, n], &a).0))?;
        check_equal(&done(pivots.read::<i32>())?[..1], &[1])?;
    }
    Ok(())
}

/// Zero columns: factors all the same, and the first zero pivot is told.
fn singular(device: &Device) -> Verdict {
    for (n, column) in [(2, 2), (5, 3), (16, 16), (30, 1), (70, 50), (70, 70)] {
        let mut a = random("lu/singular", 10 * n * n);
        for matrix in [4, 7] {
            (0..n).for_each(|i| a[(matrix * n + i) * n + column - 1] = 0.0);
        }
        check_factors(device, &[5, 2], [n, n], &a)?;
        let (t, _) = tensor(device, DType::F32, &[5, 2, n, n], &a);
        let (_, _, info) = done(lu_factor_ex(&t))?;
        let want: Vec<i32> = (0..10).map(|i| if i == 4 || i == 7 { column as i32 } else { 0 }).collect();
        check_equal(&done(info.read::<i32>())?, &want)?;
        let text = format!("linalg::lu_factor: matrix [2, 0] of `a` is singular: pivot {column} is zero");
        expect_error(lu_factor(&t), &text)?;
    }
    Ok(())
}

/// It goes into what depends on it, and is no zero pivot.
fn not_a_number(device: &Device) -> Verdict {
    for n in [3, 12, 30, 90] {
        let mut a = random("lu/nan", 10 * n * n);
        a[6 * n * n + n] = f64::NAN;
        let (factors, _, info) = done(lu_factor_ex(&tensor(device, DType::F32, &[10, n, n], &a).0))?;
        check_equal(&done(info.read::<i32>())?, &[0; 10])?;
        let last: Vec<bool> =
            read(&factors)?.iter().skip(n * n - 1).step_by(n * n).map(|v| v.is_nan()).collect();
        let want: Vec<bool> = (0..10).map(|i| i == 6).collect();
        check_equal(&last, &want)?;
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    for (shape, of_info) in [(vec![0, 3, 2], vec![0]), (vec![2, 0, 3], vec![2]), (vec![3, 0], vec![])] {
        let a = Tensor::zeros::<f32>(device, &shape);
        let (factors, pivots, info) = done(lu_factor_ex(&a))?;
        check_equal(factors.shape(), &shape)?;
        check_equal(&[pivots.len()], &[0])?;
        check_equal(&done(info.read::<i32>())?, &vec![0; of_info.iter().product()])?;
        let (p, _, _) = done(lu(&a))?;
        let m = shape[shape.len() - 2];
        check_equal(p.shape(), &[&of_info[..], &[m, m]].concat())?;
        let want: Vec<f64> = (0..p.len()).map(|e| f64::from(u8::from(e / m % m == e % m))).collect();
        check_equal(&read(&p)?, &want)?;
    }
    Ok(())
}

/// On a handle of its own, whose waits are not those of other cases.
fn ex_does_not_wait(device: &Device) -> Verdict {
    let gpu = device.gpu().expect("a case for GPUs");
    let (a, _) = tensor(device, DType::F32, &[2, 70, 70], &random("lu/a", 2 * 4900));
    let before = gpu.waits();
    let (factors, pivots, _) = done(lu_factor_ex(&a))?;
    let _x = done(lu_solve(&factors, &pivots, &a, true, false))?;
    let _parts = done(lu(&a))?;
    check_equal(&[gpu.waits() - before], &[0])
}

fn threads() -> Verdict {
    for (count, n) in [(100, 6), (5, 70), (1, 170)] {
        let (a, _) = tensor(&Device::Cpu, DType::F32, &[count, n, n], &random("lu/a", count * n * n));
        same_on_any_threads(|| read(&done(lu_factor(&a))?.0))?;
    }
    Ok(())
}

fn solve_every_size(device: &Device) -> Verdict {
    SIZES.into_iter().try_for_each(|n| {
        let count = [count_for(n)];
        check_solution(device, &count, &count, [n, 2], 0).map_err(|e| format!("{n} rows: {e}"))
    })
}

fn solve_forms(device: &Device) -> Verdict {
    for form in 0..4 {
        for [n, k] in [[6, 2], [12, 9], [30, 3], [70, 20]] {
            check_solution(device, &[9], &[9], [n, k], form)?;
            check_solution(device, &[], &[9], [n, k], form)?;
            check_solution(device, &[3, 1], &[2], [n, k], form)?;
            check_solution(device, &[9], &[1], [n, k], form)?;
        }
    }
    Ok(())
}

/// Rows of the right sides are what the system says, to within the rounding of an elimination.
fn check_solution(
    device: &Device,
    of_a: &[usize],
    of_b: &[usize],
    [n, k]: [usize; 2],
    form: usize,
) -> Verdict {
    let (left, adjoint) = (form & 1 == 0, form & 2 > 0);
    let a = random("lu/solve/a", of_a.iter().product::<usize>() * n * n);
    let b = random("lu/solve/b", of_b.iter().product::<usize>() * n * k);
    let matrix = if left { [n, k] } else { [k, n] };
    let both = Broadcast::of("case", "b", of_a, of_b).map_err(|e| e.to_string())?;
    for (dtype, eps) in precisions(device) {
        let (a, held_a) = tensor(device, dtype, &[of_a, &[n, n]].concat(), &a);
        let (b, held_b) = tensor(device, dtype, &[of_b, &matrix].concat(), &b);
        let (factors, pivots) = done(lu_factor(&a))?;
        let x = done(lu_solve(&factors, &pivots, &b, left, adjoint))?;
        check_equal(x.shape(), &[&both.batch[..], &matrix].concat())?;
        for (index, x) in read(&x)?.chunks_exact(n * k).enumerate() {
            let [from_a, from_b] = both.sources(index);
            let a = &held_a[from_a * n * n..][..n * n];
            let a = if adjoint { transposed(a, n, n) } else { a.to_vec() };
            let b = &held_b[from_b * n * k..][..n * k];
            let (got, terms) = if left {
                (product(&a, x, [n, k, n]), product(&magnitudes(&a), &magnitudes(x), [n, k, n]))
            } else {
                (product(x, &a, [k, n, n]), product(&magnitudes(x), &magnitudes(&a), [k, n, n]))
            };
            let largest = terms.iter().fold(0.0, |m: f64, v| m.max(*v));
            check_within("A x", &got, b, |_| 4.0 * (n + 4) as f64 * eps * (largest + 1.0))?;
        }
    }
    Ok(())
}

/// Pivots that no factorisation gives: rows above, rows again, and what is no row, which exchanges nothing.
fn any_pivots(device: &Device) -> Verdict {
    for [n, k] in [[5, 3], [8, 33], [40, 70], [100, 1]] {
        let of_row = |i: usize| match i % 7 {
            3 => 0,
            5 => n as i32 + 4,
            6 => (i / 9) as i32 + 1,
            _ => ((i * 37 + 11) % n) as i32 + 1,
        };
        let pivots: Vec<i32> = (0..n).map(of_row).collect();
        let identity: Vec<f64> = (0..n * n).map(|e| f64::from(u8::from(e / n == e % n))).collect();
        let (lu, _) = tensor(device, DType::F32, &[n, n], &identity);
        let (b, held) = tensor(device, DType::F32, &[n, k], &random("lu/b", n * k));
        let held_pivots = done(Tensor::new(device, &[n], pivots.clone()))?;
        for adjoint in [false, true] {
            let mut order: Vec<usize> = (0..n).collect();
            let mut exchange = |i: usize| {
                if (1..=n as i32).contains(&pivots[i]) {
                    order.swap(i, pivots[i] as usize - 1);
                }
            };
            if adjoint {
                (0..n).rev().for_each(&mut exchange)
            } else {
                (0..n).for_each(&mut exchange)
            }
            let want: Vec<f64> = order.iter().flat_map(|row| held[row * k..][..k].to_vec()).collect();
            let x = done(lu_solve(&lu, &held_pivots, &b, true, adjoint))?;
            check_equal(&read(&x)?, &want).map_err(|e| format!("{n} x {k}, adjoint {adjoint}: {e}"))?;
        }
    }
    Ok(())
}

fn solve_empty(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let pivots = |shape: &[usize]| Tensor::zeros::<i32>(device, shape);
    let x = done(lu_solve(&zeros(&[2, 0, 0]), &pivots(&[2, 0]), &zeros(&[2, 0, 3]), true, false))?;
    check_equal(x.shape(), &[2, 0, 3])?;
    let x = done(lu_solve(&zeros(&[0, 4, 4]), &pivots(&[0, 4]), &zeros(&[4, 3]), true, false))?;
    check_equal(x.shape(), &[0, 4, 3])
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    expect_error(lu_factor(&zeros(&[4])), "`a` must be [.., rows, columns], got [4]")?;
    expect_error(lu(&zeros(&[4])), "`a` must be [.., rows, columns], got [4]")?;
    expect_error(lu_factor(&Tensor::zeros::<u8>(device, &[2, 2])), "`a` must hold f32")?;
    let pivots = Tensor::zeros::<i32>(device, &[2]);
    let of = |lu: &[usize], b: &[usize]| lu_solve(&zeros(lu), &pivots, &zeros(b), true, false);
    expect_error(of(&[2, 3], &[2, 1]), "`lu` must be [.., n, n], got [2, 3]")?;
    expect_error(of(&[2, 2], &[3, 1]), "`b` must be [.., 2, k], got [3, 1]")?;
    expect_error(of(&[3, 3], &[3, 1]), "`pivots` must be [3], got [2]")?;
    let wrong = lu_solve(&zeros(&[2, 2]), &zeros(&[2]), &zeros(&[2, 1]), true, false);
    expect_error(wrong, "`pivots` must hold i32, got f32")
}

/// `L` `[m, k]` and `U` `[k, n]` of a matrix, by the oracle.
fn oracle_parts(a: &[f64], [m, n]: [usize; 2]) -> [Vec<f64>; 2] {
    let (all, k) = (reference::lu(a, m, n).0, m.min(n));
    let lower = (0..m * k).map(|e| match (e / k, e % k) {
        (i, j) if j < i => all[i * n + j],
        (i, j) => f64::from(u8::from(i == j)),
    });
    let upper = (0..k * n).map(|e| if e / n <= e % n { all[e] } else { 0.0 });
    [lower.collect(), upper.collect()]
}

/// Of each matrix of a batch against differences of the oracle; entries that the factors do not have get gradients too, which do not count.
fn gradients(device: &Device) -> Verdict {
    for (dtype, eps) in precisions(device) {
        for [m, n] in [[1, 1], [2, 2], [4, 4], [7, 3], [3, 7], [1, 4], [4, 1], [18, 18], [20, 9]] {
            let (k, batch) = (m.min(n), 3);
            // Columns whose largest element is far from the others keep their pivots.
            let mut all = random("lu_backward/a", batch * m * n);
            for (e, x) in all.iter_mut().enumerate() {
                let (i, j) = (e / n % m, e % n);
                *x = 0.4 * *x + if (i + 1) % m == j % m { 4.0 } else { 0.0 };
            }
            let (a, held) = tensor(device, dtype, &[batch, m, n], &all);
            let (of_l, wl) = tensor(device, dtype, &[batch, m, k], &random("lu_backward/l", batch * m * k));
            let (of_u, wu) = tensor(device, dtype, &[batch, k, n], &random("lu_backward/u", batch * k * n));
            let (both, w) = tensor(device, dtype, &[batch, m, n], &random("lu_backward/lu", batch * m * n));
            let (p, l, u) = done(lu(&a))?;
            let got = [[true, true], [true, false], [false, true]].map(|[with_l, with_u]| {
                done(lu_backward(with_l.then_some(&of_l), with_u.then_some(&of_u), &p, &l, &u))
            });
            let (factors, pivots) = done(lu_factor(&a))?;
            let of_factors = read(&done(lu_factor_backward(&both, &factors, &pivots))?)?;
            let [all_got, l_got, u_got] = got;
            let got = [read(&all_got?)?, read(&l_got?)?, read(&u_got?)?];
            for i in 0..batch {
                let part = |x: &[f64], each: usize| x[i * each..][..each].to_vec();
                let (a, wl, wu, w) =
                    (part(&held, m * n), part(&wl, m * k), part(&wu, k * n), part(&w, m * n));
                let want = [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]].map(|[of_l, of_u]| {
                    differences(&a, |a| {
                        let [l, u] = oracle_parts(a, [m, n]);
                        of_l * dot(&l, &wl) + of_u * dot(&u, &wu)
                    })
                });
                for (which, (got, want)) in got.iter().zip(&want).enumerate() {
                    let what = format!("{m}x{n} {dtype:?}, matrix {i}, gradients {which}");
                    near(&what, &part(got, m * n), want, eps)?;
                }
                let want = differences(&a, |a| dot(&reference::lu(a, m, n).0, &w));
                near(&format!("factors of {m}x{n} {dtype:?}"), &part(&of_factors, m * n), &want, eps)?;
            }
        }
    }
    Ok(())
}

fn near(what: &str, got: &[f64], want: &[f64], eps: f64) -> Verdict {
    let largest = want.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
    check_within(what, got, want, |_| (2e3 * eps + 1e-7) * largest)
}

fn missing_gradients(device: &Device) -> Verdict {
    let (a, _) = tensor(device, DType::F32, &[2, 4, 3], &random("a", 24));
    let (p, l, u) = done(lu(&a))?;
    check_equal(&read(&done(lu_backward(None, None, &p, &l, &u))?)?, &[0.0; 24])?;
    let (zero_l, zero_u) = (Tensor::zeros::<f32>(device, l.shape()), Tensor::zeros::<f32>(device, u.shape()));
    let (of_l, _) = tensor(device, DType::F32, &[2, 4, 3], &random("l", 24));
    let (of_u, _) = tensor(device, DType::F32, &[2, 3, 3], &random("u", 18));
    for [with, without] in [
        [lu_backward(Some(&of_l), Some(&zero_u), &p, &l, &u), lu_backward(Some(&of_l), None, &p, &l, &u)],
        [lu_backward(Some(&zero_l), Some(&of_u), &p, &l, &u), lu_backward(None, Some(&of_u), &p, &l, &u)],
    ] {
        check_equal(&read(&done(with)?)?, &read(&done(without)?)?)?;
    }
    Ok(())
}

fn backward_empty(device: &Device) -> Verdict {
    for shape in [[0, 3, 3], [2, 0, 3], [2, 3, 0]] {
        let a = Tensor::zeros::<f32>(device, &shape);
        let (p, l, u) = done(lu(&a))?;
        check_equal(done(lu_backward(Some(&l), Some(&u), &p, &l, &u))?.shape(), &shape)?;
        let (factors, pivots) = done(lu_factor(&a))?;
        check_equal(done(lu_factor_backward(&a, &factors, &pivots))?.shape(), &shape)?;
    }
    Ok(())
}

fn backward_threads() -> Verdict {
    let (a, _) = tensor(&Device::Cpu, DType::F32, &[40, 9, 6], &random("a", 40 * 54));
    let (factors, pivots) = done(lu_factor(&a))?;
    same_on_any_threads(|| read(&done(lu_factor_backward(&a, &factors, &pivots))?))
}

fn backward_errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let (p, l, u) = (zeros(&[4, 4]), zeros(&[4, 3]), zeros(&[3, 3]));
    let run = |p, l, u, of_l, of_u| lu_backward(Some(of_l), Some(of_u), p, l, u);
    expect_error(run(&p, &l, &u, &u, &u), "linalg::lu_backward: `grad_l` must be [4, 3], got [3, 3]")?;
    expect_error(run(&p, &l, &u, &l, &l), "linalg::lu_backward: `grad_u` must be [3, 3], got [4, 3]")?;
    expect_error(run(&u, &l, &u, &l, &u), "linalg::lu_backward: `p` must be [4, 4], got [3, 3]")?;
    expect_error(run(&p, &l, &p, &l, &p), "linalg::lu_backward: `u` must be [3, 4], got [4, 4]")?;
    expect_error(run(&p, &p, &l, &p, &l), "linalg::lu_backward: `l` must be [4, 3], got [4, 4]")?;
    let integers = Tensor::zeros::<i32>(device, &[4, 3]);
    expect_error(run(&p, &l, &u, &integers, &u), "linalg::lu_backward: `grad_l` must hold f32")?;
    let pivots = Tensor::zeros::<i32>(device, &[3]);
    let factored = |grad: &Tensor, pivots: &Tensor| lu_factor_backward(grad, &l, pivots);
    expect_error(factored(&u, &pivots), "linalg::lu_factor_backward: `grad` must be [4, 3], got [3, 3]")?;
    expect_error(factored(&l, &integers), "linalg::lu_factor_backward: `pivots` must be [3], got [4, 3]")?;
    expect_error(factored(&l, &zeros(&[3])), "linalg::lu_factor_backward: `pivots` must hold i32")?;
    expect_error(factored(&integers, &pivots), "linalg::lu_factor_backward: `grad` must hold f32")?;
    if device.gpu().is_some() {
        return Ok(());
    }
    expect_error(
        factored(&l, &pivots),
        "linalg::lu_factor_backward: `pivots` must be numbers of rows, counted from 1, got 0",
    )
}
