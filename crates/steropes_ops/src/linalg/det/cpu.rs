//! One matrix after another: the factors are what takes time.

use super::Of;
use crate::cpu::lanes::Real;
use crate::linalg::stack::Stack;
use num_traits::Float;

/// Determinants of matrices of at most four rows.
pub(super) fn written_out<T: Real>(a: &[T], stack: &Stack) -> Vec<T> {
    let n = stack.rows;
    (0..stack.count()).map(|matrix| of_one(&a[matrix * n * n..][..n * n], n)).collect()
}

fn of_one<T: Real>(a: &[T], n: usize) -> T {
    let at = |i: usize, j: usize| a[i * n + j];
    let minor = |i: usize, [p, q]: [usize; 2]| at(i, p) * at(i + 1, q) - at(i, q) * at(i + 1, p);
    match n {
        0 => T::of(1.0),
        1 => a[0],
        2 => minor(0, [0, 1]),
        3 => at(0, 0) * minor(1, [1, 2]) - at(0, 1) * minor(1, [0, 2]) + at(0, 2) * minor(1, [0, 1]),
        _ => {
            // Minors of the first two rows times those of the last two, with the columns that are left.
            minor(0, [0, 1]) * minor(2, [2, 3]) - minor(0, [0, 2]) * minor(2, [1, 3])
                + minor(0, [0, 3]) * minor(2, [1, 2])
                + minor(0, [1, 2]) * minor(2, [0, 3])
                - minor(0, [1, 3]) * minor(2, [0, 2])
                + minor(0, [2, 3]) * minor(2, [0, 1])
        }
    }
}

/// Products of the pivots with the sign of the exchanges.
pub(super) fn products<T: Real>(factors: &[T], pivots: &[i32], stack: &Stack) -> Vec<T> {
    let product = |(sign, diagonal): (T, Vec<T>)| diagonal.into_iter().fold(sign, |product, x| product * x);
    (0..stack.count()).map(|matrix| product(diagonal(factors, pivots, stack.rows, matrix))).collect()
}

/// Signs and sums of logarithms.
pub(super) fn logarithms<T: Real>(factors: &[T], pivots: &[i32], stack: &Stack) -> (Vec<T>, Vec<T>) {
    let of_one = |matrix| {
        let (sign, diagonal) = diagonal(factors, pivots, stack.rows, matrix);
        let zero = T::of(0.0);
        diagonal.into_iter().fold((sign, zero), |(sign, sum), x| {
            let of_x = if x.is_nan() || x == zero { x } else { Float::signum(x) };
            (sign * of_x, sum + Float::ln(Float::abs(x)))
        })
    };
    (0..stack.count()).map(of_one).unzip()
}

/// The sign of the exchanges and the pivots of a matrix.
fn diagonal<T: Real>(factors: &[T], pivots: &[i32], n: usize, matrix: usize) -> (T, Vec<T>) {
    let pivots = &pivots[matrix * n..][..n];
    let exchanges = pivots.iter().enumerate().filter(|&(i, &pivot)| pivot != i as i32 + 1).count();
    let sign = T::of(if exchanges % 2 == 0 { 1.0 } else { -1.0 });
    let factors = &factors[matrix * n * n..][..n * n];
    (sign, factors.iter().step_by(n + 1).copied().collect())
}

/// Factors without zero pivots if those matter, and the right sides of the systems that give the gradient: multiples of the
/// identity.
pub(super) fn systems<T: Real>(
    factors: &[T],
    pivots: &[i32],
    grad: &[T],
    stack: &Stack,
    of: Of,
) -> (Vec<T>, Vec<T>) {
    let n = stack.rows;
    let (mut factors, mut right) = (factors.to_vec(), vec![T::of(0.0); factors.len()]);
    for matrix in 0..if n > 0 { stack.count() } else { 0 } {
        let mut factor = grad[matrix];
        if of == Of::Determinant {
            let (sign, values) = diagonal(&factors, pivots, n, matrix);
            let largest =
                values.iter().fold(T::of(0.0), |m, &v| if Float::abs(v) > m { Float::abs(v) } else { m });
            let least = <T as Float>::epsilon() * if largest > T::of(0.0) { largest } else { T::of(1.0) };
            factor *= sign;
            for (i, value) in values.into_iter().enumerate() {
                let value = if value == T::of(0.0) { least } else { value };
                factors[matrix * n * n + i * (n + 1)] = value;
                factor *= value;
            }
        }
        right[matrix * n * n..][..n * n].iter_mut().step_by(n + 1).for_each(|x| *x = factor);
    }
    (factors, right)
}
