//! How unlikely it is that matches agree with a model by chance.

use super::correspondences::Correspondences;
use super::residuals::{Relation, distances};
use nalgebra::Matrix3;

/// Decimal logarithm of the number of false alarms: how many models as good as this one are expected among unrelated
/// photos whose matches fall anywhere. 0 or more: chance; below about -5: not chance.
///
/// A match whose distance to the model's prediction is `d` would be as near by chance with probability at most
/// `2 d D / A` (distance to an epipolar line; `D` diagonal, `A` area of the photo) or `pi d^2 / A` (distance to a
/// transferred point); the worse of the two photos counts. With the `n` matches sorted by that probability,
///
/// `NFA = min over k of (n - s) C(n, k) C(k, s) p_k^(k - s)`,
///
/// where `s` is the size of the smallest sample that defines the model (7 or 4: those fit by construction), `C(k, s)`
/// accounts for the choice of the sample and `n - s` for the choice of `k`.
///
/// Matches that lie in the same small cell of a photo are no independent witnesses: they count together as one, so
/// `n` and `k` are sums of weights and the binomial coefficients are taken for real numbers by the gamma function.
/// Distances below half a pixel count as half a pixel, since pixels are whole numbers.
///
/// # Source
/// L. Moisan, B. Stival, "A probabilistic criterion to detect rigid point matches between two images and estimate the
/// fundamental matrix", IJCV 2004; written from the paper.
pub(super) fn log10_false_alarms(relation: Relation, m: &Matrix3<f64>, points: &Correspondences) -> f64 {
    let floor = 0.5 / points.scale_px;
    let sample = match relation {
        Relation::Epipolar => 7.0,
        Relation::Homography => 4.0,
    };
    let chance = |distance: f64, [width, height]: [f64; 2]| {
        let distance = if distance.is_finite() { distance.max(floor) } else { f64::INFINITY };
        let area = width * height;
        match relation {
            Relation::Epipolar => 2.0 * distance * width.hypot(height) / area,
            Relation::Homography => std::f64::consts::PI * distance * distance / area,
        }
    };
    let mut ranked: Vec<(f64, f64)> = distances(relation, m, points)
        .iter()
        .zip(&points.weight)
        .map(|(d, w)| (chance(d[0], points.sizes[0]).max(chance(d[1], points.sizes[1])), *w))
        .filter(|(p, _)| *p < 1.0)
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = points.effective_count();
    let mut k = 0.0;
    let mut best = 0.0f64;
    for (p, weight) in ranked {
        k += weight;
        if k > sample && n > sample {
            let choices = (n - sample).max(1.0).log10() + log10_choose(n, k) + log10_choose(k, sample);
            best = best.min(choices + (k - sample) * p.log10());
        }
    }
    best
}

/// Decimal logarithm of the probability that at least the share `hits / trials` of independent trials succeeds by
/// chance, if they succeed with probability `chance` on average: Hoeffding's bound (1963). 0 where it is no surprise.
pub(super) fn log10_surprise(hits: f64, trials: f64, chance: f64) -> f64 {
    if trials <= 0.0 || hits <= trials * chance {
        return 0.0;
    }
    let share = (hits / trials).min(1.0);
    let term = |a: f64, b: f64| if a > 0.0 { a * (a / b.max(1e-300)).ln() } else { 0.0 };
    let divergence = term(share, chance) + term(1.0 - share, 1.0 - chance);
    -trials * divergence / std::f64::consts::LN_10
}

/// Decimal logarithm of the binomial coefficient for real arguments `0 <= k <= n`.
pub(super) fn log10_choose(n: f64, k: f64) -> f64 {
    let rest = (n - k).max(0.0);
    (ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(rest + 1.0)) / std::f64::consts::LN_10
}

/// The logarithm of the gamma function for `x >= 1`: Stirling's series after raising `x` above 8.
fn ln_gamma(x: f64) -> f64 {
    let (mut x, mut shift) = (x, 0.0);
    while x < 8.0 {
        shift += x.ln();
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binomial_coefficients() {
        for (n, k, want) in
            [(5.0, 2.0, 10.0), (7.0, 7.0, 1.0), (30.0, 15.0, 155_117_520.0f64), (9.0, 0.0, 1.0)]
        {
            assert!((log10_choose(n, k) - f64::log10(want)).abs() < 1e-10, "{n} {k}");
        }
    }

    #[test]
    fn surprise_bounds_the_binomial_tail() {
        // P(at least 8 of 10 heads) = 56 / 1024.
        let bound = log10_surprise(8.0, 10.0, 0.5);
        assert!(bound < -0.5 && bound >= (56.0f64 / 1024.0).log10());
        assert_eq!(log10_surprise(5.0, 10.0, 0.5), 0.0);
        assert!((log10_surprise(10.0, 10.0, 0.5) - 10.0 * 0.5f64.log10()).abs() < 1e-12);
    }
}
