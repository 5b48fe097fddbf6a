use super::{reference, solve_triangular, solve_triangular_backward, solve_triangular_transposed};
use crate::linalg::dense::testing::{
    SIZES, check_gradient, check_within, count_for, differences, done, dot, magnitudes, precisions, product,
    random, read, same_on_any_threads, tensor, transposed, triangle_of,
};
use crate::linalg::stack::Broadcast;
use steropes_tensor::{DType, Device, Tensor};
use steropes_testkit::{Case, Verdict, case, check_equal, cpu_case, expect_error, small_bindings_case};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("solve_triangular/oracle/every_size", every_size),
        case("solve_triangular/oracle/right_sides", |d| {
            [1, 2, 7, 8, 9, 33, 70].into_iter().try_for_each(|k| all_forms(d, &[2], &[2], [20, k]))
        }),
        case("solve_triangular/oracle/blocks", |d| {
            against_oracle(
                d,
                &[1],
                &[1],
                [200, 9],
                Form { upper: true, left: false, unit: false, other: true },
            )
        }),
        case("solve_triangular/oracle/many_right_sides", |d| {
            // More than are solved row by row.
            let form = Form { upper: true, left: true, unit: false, other: false };
            against_oracle(d, &[1], &[1], [19, 4100], form)?;
            against_oracle(d, &[60], &[60], [33, 70], Form { unit: true, ..form })
        }),
        case("solve_triangular/oracle/one_matrix_for_all", |d| all_forms(d, &[], &[11], [6, 2])),
        case("solve_triangular/oracle/one_right_side_for_all", |d| all_forms(d, &[11], &[1], [6, 2])),
        case("solve_triangular/oracle/both_repeated", |d| all_forms(d, &[3, 1], &[2, 1, 4], [5, 3])),
        case("solve_triangular/oracle/no_batch", |d| all_forms(d, &[], &[], [7, 1])),
        case("solve_triangular/property/graded", graded),
        case("solve_triangular/property/zero_on_the_diagonal", zero_on_the_diagonal),
        case("solve_triangular/property/nan_stays_in_its_column", nan_stays_in_its_column),
        case("solve_triangular/property/empty", empty),
        cpu_case("solve_triangular/property/same_bits_on_any_threads", |_| threads()),
        case("solve_triangular/backward/differences", gradient),
        case("solve_triangular/backward/empty", |d| {
            let (a, x) = (Tensor::zeros::<f32>(d, &[2, 3, 3]), Tensor::zeros::<f32>(d, &[2, 3, 0]));
            let (of_a, of_b) = done(solve_triangular_backward(&x, &a, &x, true, true, false))?;
            check_equal(of_b.shape(), &[2, 3, 0])?;
            check_equal(&read(&of_a)?, &[0.0; 18])
        }),
        case("solve_triangular/error/arguments", errors),
        case("solve_triangular/error/backward", errors_of_backward),
        small_bindings_case("solve_triangular/error/small_bindings", 1024, |d| {
            let (a, b) = (Tensor::zeros::<f32>(d, &[4, 4]), Tensor::zeros::<f32>(d, &[20, 4, 4]));
            expect_error(
                solve_triangular(&a, &b, true, true, false),
                "does not fit one binding of 1024 bytes",
            )
        }),
    ]
}

/// How a system is written down; `other` for the transposed matrix.
#[derive(Clone, Copy, Debug)]
struct Form {
    upper: bool,
    left: bool,
    unit: bool,
    other: bool,
}

impl Form {
    fn number(i: usize) -> Self {
        Self { upper: i & 1 > 0, left: i & 2 > 0, unit: i & 4 > 0, other: i & 8 > 0 }
    }

    fn solve(self, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
        done(if self.other {
            solve_triangular_transposed(a, b, self.upper, self.left, self.unit)
        } else {
            solve_triangular(a, b, self.upper, self.left, self.unit)
        })
    }

    /// The matrix of `A x = b` for a column `x` of the result.
    fn matrix(self, a: &[f64], n: usize) -> (Vec<f64>, bool) {
        let mut a = triangle_of(a, n, self.upper, 0.0);
        if self.unit {
            a.iter_mut().step_by(n + 1).for_each(|v| *v = 1.0);
        }
        if self.other == self.left { (transposed(&a, n, n), !self.upper) } else { (a, self.upper) }
    }
}

fn every_size(device: &Device) -> Verdict {
    SIZES.into_iter().try_for_each(|n| {
        let count = [count_for(n)];
        all_forms(device, &count, &count, [n, 3]).map_err(|e| format!("{n} equations: {e}"))
    })
}

fn all_forms(device: &Device, of_a: &[usize], of_b: &[usize], extents: [usize; 2]) -> Verdict {
    (0..16).map(Form::number).try_for_each(|form| {
        against_oracle(device, of_a, of_b, extents, form).map_err(|e| format!("{form:?}: {e}"))
    })
}

/// Triangles whose inverses are not large; what must not be read is not a number.
fn triangles(form: Form, count: usize, n: usize) -> Vec<f64> {
    let mut a = random("solve_triangular/a", count * n * n);
    for (e, v) in a.iter_mut().enumerate() {
        let diagonal = e / n % n == e % n;
        *v = match (diagonal, form.unit) {
            (true, true) => f64::NAN,
            (true, false) => {
                if *v < 0.0 {
                    *v - 1.0
                } else {
                    *v + 1.0
                }
            }
            _ => *v / (n as f64).sqrt(),
        };
    }
    triangle_of(&a, n, form.upper, f64::NAN)
}

fn against_oracle(
    device: &Device,
    of_a: &[usize],
    of_b: &[usize],
    [n, k]: [usize; 2],
    form: Form,
) -> Verdict {
    let a = triangles(form, of_a.iter().product(), n);
    let b = random("solve_triangular/b", of_b.iter().product::<usize>() * n * k);
    let matrix = if form.left { [n, k] } else { [k, n] };
    let both = Broadcast::of("case", "b", of_a, of_b).map_err(|e| e.to_string())?;
    for (dtype, eps) in precisions(device) {
        let (a, held_a) = tensor(device, dtype, &[of_a, &[n, n]].concat(), &a);
        let (b, held_b) = tensor(device, dtype, &[of_b, &matrix].concat(), &b);
        let x = form.solve(&a, &b)?;
        check_equal(x.shape(), &[&both.batch[..], &matrix].concat())?;
        for (index, x) in read(&x)?.chunks_exact(n * k).enumerate() {
            let [from_a, from_b] = both.sources(index);
            let (a, upper) = form.matrix(&held_a[from_a * n * n..][..n * n], n);
            let b = &held_b[from_b * n * k..][..n * k];
            let columns = |m: &[f64]| if form.left { transposed(m, n, k) } else { m.to_vec() };
            for (x, b) in columns(x).chunks_exact(n).zip(columns(b).chunks_exact(n)) {
                check_residual(&a, n, x, b, eps)?;
                let want = reference::solve(&a, n, b, upper);
                let largest = want.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
                check_within("x", x, &want, |_| 1e3 * n as f64 * eps * largest)?;
            }
        }
    }
    Ok(())
}

/// `A x` is `b` to within the rounding of the terms, row by row.
fn check_residual(a: &[f64], n: usize, x: &[f64], b: &[f64], eps: f64) -> Verdict {
    let terms = product(&magnitudes(a), &magnitudes(x), [n, 1, n]);
    let bound = |i: usize| 2.0 * (n + 4) as f64 * eps * (terms[i] + b[i].abs());
    check_within("A x", &product(a, x, [n, 1, n]), b, bound)
}

/// Rows scaled by 1e-20 to 1e20: so are the right sides, the solution is the same.
fn graded(device: &Device) -> Verdict {
    for n in [5, 24, 80] {
        let form = Form { upper: false, left: true, unit: false, other: false };
        let scale = |i: usize| 10f64.powi((i * 7 % 41) as i32 - 20);
        let a = triangle_of(&triangles(form, 1, n), n, false, 0.0);
        let a: Vec<f64> = a.iter().enumerate().map(|(e, v)| v * scale(e / n)).collect();
        let b: Vec<f64> =
            random("solve_triangular/b", n).iter().enumerate().map(|(i, v)| v * scale(i)).collect();
        for (dtype, eps) in precisions(device) {
            let ((a, held_a), (b, held_b)) =
                (tensor(device, dtype, &[n, n], &a), tensor(device, dtype, &[n, 1], &b));
            check_residual(&held_a, n, &read(&form.solve(&a, &b)?)?, &held_b, eps)?;
        }
    }
    Ok(())
}

fn zero_on_the_diagonal(device: &Device) -> Verdict {
    let (a, _) = tensor(device, DType::F32, &[2, 2], &[2.0, 0.0, 1.0, 0.0]);
    let (b, _) = tensor(device, DType::F32, &[2, 1], &[4.0, 1.0]);
    let x = read(&done(solve_triangular(&a, &b, false, true, false))?)?;
    check_equal(&[x[0], x[1]], &[2.0, f64::NEG_INFINITY])
}

fn nan_stays_in_its_column(device: &Device) -> Verdict {
    for n in [4, 30, 80] {
        let form = Form { upper: false, left: true, unit: false, other: false };
        let mut b = random("solve_triangular/b", n * 12);
        b[12 * (n / 2) + 5] = f64::NAN;
        let a = tensor(device, DType::F32, &[n, n], &triangles(form, 1, n)).0;
        let x = read(&form.solve(&a, &tensor(device, DType::F32, &[n, 12], &b).0)?)?;
        if let Some(e) = (0..x.len()).find(|&e| x[e].is_nan() != (e % 12 == 5 && e / 12 >= n / 2)) {
            return Err(format!("{n} equations: row {} column {} is {}", e / 12, e % 12, x[e]));
        }
    }
    Ok(())
}

fn empty(device: &Device) -> Verdict {
    for (of_a, of_b) in [([0, 3, 3], [0, 3, 2]), ([2, 0, 0], [2, 0, 4]), ([2, 3, 3], [1, 3, 0])] {
        let (a, b) = (Tensor::zeros::<f32>(device, &of_a), Tensor::zeros::<f32>(device, &of_b));
        let x = done(solve_triangular(&a, &b, true, true, false))?;
        check_equal(x.shape(), &[of_a[0], of_b[1], of_b[2]])?;
    }
    Ok(())
}

fn threads() -> Verdict {
    let form = Form { upper: true, left: true, unit: false, other: false };
    for (count, [n, k]) in [(100, [6, 2]), (5, [70, 9]), (1, [180, 60])] {
        let a = tensor(&Device::Cpu, DType::F32, &[count, n, n], &triangles(form, count, n)).0;
        let b = random("solve_triangular/b", count * n * k);
        let b = tensor(&Device::Cpu, DType::F32, &[count, n, k], &b).0;
        same_on_any_threads(|| read(&form.solve(&a, &b)?))?;
    }
    Ok(())
}

fn errors(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let of = |a: &[usize], b: &[usize], left| solve_triangular(&zeros(a), &zeros(b), true, left, false);
    expect_error(of(&[2, 3], &[2, 2], true), "`a` must be [.., n, n], got [2, 3]")?;
    expect_error(of(&[3, 3], &[2, 2], true), "`b` must be [.., 3, k], got [2, 2]")?;
    expect_error(of(&[3, 3], &[3, 2], false), "`b` must be [.., k, 3], got [3, 2]")?;
    expect_error(of(&[3, 3], &[3], true), "`b` must be [.., rows, columns], got [3]")?;
    expect_error(of(&[2, 3, 3], &[3, 3, 1], true), "`b` must be of a batch that goes with [2], got [3]")?;
    let whole = Tensor::zeros::<i32>(device, &[3, 1]);
    expect_error(solve_triangular(&zeros(&[3, 3]), &whole, true, true, false), "`b` must hold f32")
}

/// The solution of the oracle for `[n, k]` or `[k, n]` right sides.
fn oracle(form: Form, a: &[f64], b: &[f64], [n, k]: [usize; 2]) -> Vec<f64> {
    let (a, upper) = form.matrix(a, n);
    let columns = if form.left { transposed(b, n, k) } else { b.to_vec() };
    let x: Vec<f64> = columns.chunks_exact(n).flat_map(|b| reference::solve(&a, n, b, upper)).collect();
    if form.left { transposed(&x, k, n) } else { x }
}

fn gradient(device: &Device) -> Verdict {
    for [n, k] in [[1, 1], [4, 3], [9, 2]] {
        for form in (0..8).map(Form::number) {
            let a = triangle_of(&triangles(form, 2, n), n, form.upper, 0.0);
            let a: Vec<f64> = a.iter().map(|v| if v.is_nan() { 0.0 } else { *v }).collect();
            let (b, grad) =
                (random("solve_triangular/b", 2 * n * k), random("solve_triangular/grad", 2 * n * k));
            let (mut want_a, mut want_b) = (Vec::new(), Vec::new());
            for i in 0..2 {
                let part = |m: &[f64], each: usize| m[i * each..][..each].to_vec();
                let (a, b, grad) = (part(&a, n * n), part(&b, n * k), part(&grad, n * k));
                want_a.extend(differences(&a, |a| dot(&oracle(form, a, &b, [n, k]), &grad)));
                want_b.extend(differences(&b, |b| dot(&oracle(form, &a, b, [n, k]), &grad)));
            }
            let matrix = if form.left { [2, n, k] } else { [2, k, n] };
            for (dtype, eps) in precisions(device) {
                let a = tensor(device, dtype, &[2, n, n], &a).0;
                let (b, grad) =
                    (tensor(device, dtype, &matrix, &b).0, tensor(device, dtype, &matrix, &grad).0);
                let x = form.solve(&a, &b)?;
                let Form { upper, left, unit, .. } = form;
                let (of_a, of_b) = done(solve_triangular_backward(&grad, &a, &x, upper, left, unit))?;
                check_gradient("gradient of a", &of_a, &want_a, eps).map_err(|e| format!("{form:?}: {e}"))?;
                check_gradient("gradient of b", &of_b, &want_b, eps).map_err(|e| format!("{form:?}: {e}"))?;
            }
        }
    }
    Ok(())
}

fn errors_of_backward(device: &Device) -> Verdict {
    let zeros = |shape: &[usize]| Tensor::zeros::<f32>(device, shape);
    let of = |grad: &[usize], a: &[usize], x: &[usize]| {
        solve_triangular_backward(&zeros(grad), &zeros(a), &zeros(x), true, true, false)
    };
    expect_error(of(&[3, 2], &[3, 3], &[3, 1]), "`grad` must be [3, 1], got [3, 2]")?;
    expect_error(of(&[2, 3, 1], &[3, 3], &[2, 3, 1]), "`x` must be [3, 1], got [2, 3, 1]")?;
    expect_error(of(&[3, 1], &[3, 2], &[3, 1]), "`a` must be [.., n, n], got [3, 2]")
}
