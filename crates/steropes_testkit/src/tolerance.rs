//! Named bounds on rounding errors, and the comparison that uses them.

use crate::Verdict;

/// How far a result may be from its f64 oracle, with the reason in the name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Bit-equal after rounding the oracle to f32.
    Exact,
    /// A few correctly rounded f32 operations: 8 ulp of the larger of |want| and 1e-30.
    Ulps(u32),
    /// A sum of `depth` products: `2^-24 * 4 * sqrt(depth)` times the largest |want| of the tensor.
    Sum {
        /// Number of terms in the sum.
        depth: usize,
    },
    /// Relative to the largest |want| of the whole tensor, as the golden cases are judged.
    OfLargest(f64),
    /// Absolute.
    Absolute(f64),
}

impl Tolerance {
    /// The largest error allowed where the oracle says `want` and the whole tensor reaches `largest`.
    pub fn bound(self, want: f64, largest: f64) -> f64 {
        let eps = f64::from(f32::EPSILON);
        match self {
            Self::Exact => 0.0,
            Self::Ulps(n) => f64::from(n) * eps * want.abs().max(1e-30),
            Self::Sum { depth } => 2.0 * eps * (depth as f64).sqrt().max(1.0) * largest.max(1e-30),
            Self::OfLargest(share) => share * largest.max(1e-30),
            Self::Absolute(bound) => bound,
        }
    }
}

/// Compares a result with its oracle: same length, no NaN where the oracle has none, every error
/// within the tolerance. Says the worst offender in one line.
pub fn check_close(got: &[f32], want: &[f64], tolerance: Tolerance) -> Verdict {
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    let largest = want.iter().filter(|w| w.is_finite()).fold(0.0f64, |m, w| m.max(w.abs()));
    let mut worst: Option<(usize, f64, f64)> = None; // index, error, bound
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let rounded = if tolerance == Tolerance::Exact { f64::from(w as f32) } else { w };
        if f64::from(g) == rounded || (g.is_nan() && w.is_nan()) {
            continue;
        }
        let bound = tolerance.bound(w, largest);
        let error = (f64::from(g) - rounded).abs();
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > bound && worst.is_none_or(|(_, e, b)| error - bound > e - b) {
            worst = Some((i, error, bound));
        }
    }
    match worst {
        None => Ok(()),
        Some((i, error, bound)) => {
            Err(format!("element {i}: got {}, want {}, error {error:.3e} > {bound:.3e}", got[i], want[i]))
        }
    }
}

/// Compares integers exactly; says the first difference.
pub fn check_equal<T: PartialEq + std::fmt::Debug>(got: &[T], want: &[T]) -> Verdict {
    if got.len() != want.len() {
        return Err(format!("{} values, expected {}", got.len(), want.len()));
    }
    match got.iter().zip(want).position(|(g, w)| g != w) {
        None => Ok(()),
        Some(i) => Err(format!("element {i}: got {:?}, want {:?}", got[i], want[i])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_and_wrong_values_fail() {
        assert!(check_close(&[f32::NAN], &[1.0], Tolerance::Absolute(10.0)).is_err());
        assert!(check_close(&[1.0, 2.0], &[1.0, 2.1], Tolerance::Ulps(8)).is_err());
        assert!(check_close(&[1.0], &[1.0, 2.0], Tolerance::Ulps(8)).is_err());
        assert!(check_close(&[1.0, 2.0], &[1.0, 2.0 + 1e-7], Tolerance::Ulps(8)).is_ok());
        assert!(check_equal(&[1, 2], &[1, 3]).is_err());
    }
}
