//! Real roots of polynomials of the minimal solvers.

/// The largest degree: the five-point solver's.
const MAX_DEGREE: usize = 10;
const TERMS: usize = MAX_DEGREE + 1;

/// A polynomial with its coefficients from the constant term upwards.
#[derive(Clone, Copy)]
struct Polynomial {
    coefficients: [f64; TERMS],
    degree: usize,
}

/// The real roots, of odd multiplicity or found as such in f64, in no particular order.
///
/// `coefficients` run from the constant term upwards, at most 11 of them. Roots are isolated by Sturm's theorem in
/// [-1, 1] for the polynomial and for its reverse (whose roots are the reciprocals), so that no bound on the roots is
/// needed and evaluation never overflows; then polished by safeguarded Newton steps.
pub(crate) fn real_roots(coefficients: &[f64]) -> Roots {
    let mut roots = Roots::default();
    let largest = coefficients.iter().fold(0.0f64, |m, c| m.max(c.abs()));
    if !(largest > 0.0 && largest.is_finite()) {
        return roots;
    }
    let mut p = Polynomial { coefficients: [0.0; TERMS], degree: coefficients.len() - 1 };
    for (to, from) in p.coefficients.iter_mut().zip(coefficients) {
        *to = from / largest;
    }
    let mut reversed = p;
    reversed.coefficients[..coefficients.len()].reverse();
    SturmChain::new(p.trimmed()).roots_inside(-1.0, 1.0, |x| roots.push(x));
    SturmChain::new(reversed.trimmed()).roots_inside(-1.0, 1.0, |x| {
        // Roots at the ends are found by the first call; a root near 0 stands for a vanishing leading coefficient.
        if x.abs() < 1.0 && x.abs() > 1e-12 {
            roots.push(1.0 / x);
        }
    });
    roots
}

/// Up to ten roots, without allocation.
#[derive(Default)]
pub(crate) struct Roots {
    values: [f64; MAX_DEGREE],
    len: usize,
}

impl Roots {
    fn push(&mut self, x: f64) {
        if self.len < MAX_DEGREE {
            self.values[self.len] = x;
            self.len += 1;
        }
    }
}

impl std::ops::Deref for Roots {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        &self.values[..self.len]
    }
}

impl Polynomial {
    fn trimmed(mut self) -> Self {
        while self.degree > 0 && self.coefficients[self.degree].abs() < 1e-14 {
            self.degree -= 1;
        }
        self
    }

    fn at(&self, x: f64) -> f64 {
        self.coefficients[..=self.degree].iter().rev().fold(0.0, |sum, c| sum * x + c)
    }

    fn with_slope_at(&self, x: f64) -> (f64, f64) {
        self.coefficients[..=self.degree].iter().rev().fold((0.0, 0.0), |(p, d), c| (p * x + c, d * x + p))
    }

    fn derivative(&self) -> Self {
        let mut d = Self { coefficients: [0.0; TERMS], degree: self.degree.saturating_sub(1) };
        for i in 1..=self.degree {
            d.coefficients[i - 1] = self.coefficients[i] * i as f64;
        }
        d
    }

    /// The remainder of the division by `divisor`, negated and scaled to largest coefficient 1; `None` if it vanishes.
    fn negated_remainder(&self, divisor: &Self) -> Option<Self> {
        let mut r = self.coefficients;
        let lead = divisor.coefficients[divisor.degree];
        for top in (divisor.degree..=self.degree).rev() {
            let factor = r[top] / lead;
            for i in 0..=divisor.degree {
                r[top - divisor.degree + i] -= factor * divisor.coefficients[i];
            }
        }
        let largest = r[..divisor.degree].iter().fold(0.0f64, |m, c| m.max(c.abs()));
        if divisor.degree == 0 || largest < 1e-300 {
            return None;
        }
        let mut next = Self { coefficients: [0.0; TERMS], degree: divisor.degree - 1 };
        for (to, from) in next.coefficients.iter_mut().zip(&r[..divisor.degree]) {
            *to = -from / largest;
        }
        while next.degree > 0 && next.coefficients[next.degree] == 0.0 {
            next.degree -= 1;
        }
        Some(next)
    }
}

struct SturmChain {
    chain: [Polynomial; TERMS],
    len: usize,
}

impl SturmChain {
    fn new(p: Polynomial) -> Self {
        let mut chain = [p; TERMS];
        let mut len = 1;
        if p.degree > 0 {
            chain[1] = p.derivative();
            len = 2;
            while len < TERMS {
                let Some(next) = chain[len - 2].negated_remainder(&chain[len - 1]) else { break };
                chain[len] = next;
                len += 1;
            }
        }
        Self { chain, len }
    }

    /// Sign changes of the chain at `x`; their difference over an interval counts the roots in it.
    fn sign_changes(&self, x: f64) -> usize {
        let mut changes = 0;
        let mut last = 0.0f64;
        for p in &self.chain[..self.len] {
            let value = p.at(x);
            if value != 0.0 {
                changes += usize::from(last != 0.0 && (value > 0.0) != (last > 0.0));
                last = value;
            }
        }
        changes
    }

    fn roots_inside(&self, low: f64, high: f64, mut found: impl FnMut(f64)) {
        let mut stack = vec![(low, high, self.sign_changes(low), self.sign_changes(high))];
        while let Some((low, high, at_low, at_high)) = stack.pop() {
            let count = at_low.saturating_sub(at_high);
            if count == 0 {
                continue;
            }
            if count == 1 || high - low < 1e-13 {
                if let Some(root) = self.polished(low, high) {
                    found(root);
                }
                continue;
            }
            let middle = 0.5 * (low + high);
            let at_middle = self.sign_changes(middle);
            stack.push((middle, high, at_middle, at_high));
            stack.push((low, middle, at_low, at_middle));
        }
    }

    /// The root in an interval at whose ends the polynomial differs in sign: Newton steps, bisection where they leave it.
    fn polished(&self, mut low: f64, mut high: f64) -> Option<f64> {
        let p = &self.chain[0];
        let (at_low, at_high) = (p.at(low), p.at(high));
        if at_high == 0.0 {
            return Some(high);
        }
        if (at_low > 0.0) == (at_high > 0.0) && at_low != 0.0 {
            return None;
        }
        let rising = at_high > 0.0;
        let mut x = 0.5 * (low + high);
        for _ in 0..80 {
            let (value, slope) = p.with_slope_at(x);
            if value == 0.0 {
                break;
            }
            if (value > 0.0) == rising {
                high = x
            } else {
                low = x
            }
            let newton = x - value / slope;
            let next = if newton > low && newton < high { newton } else { 0.5 * (low + high) };
            let step = (next - x).abs();
            x = next;
            if step <= 1e-15 * x.abs().max(1e-3) {
                break;
            }
        }
        Some(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(roots: &[f64]) -> Vec<f64> {
        let mut p = vec![1.0];
        for r in roots {
            let mut next = vec![0.0; p.len() + 1];
            for (i, c) in p.iter().enumerate() {
                next[i] -= r * c;
                next[i + 1] += c;
            }
            p = next;
        }
        p
    }

    #[test]
    fn finds_all_real_roots() {
        let want = [-7.5, -1.25, -0.5, 0.01, 0.3, 0.75, 2.0, 30.0];
        let mut p = expanded(&want);
        // Times x^2 + x + 5, which has no real root.
        let mut q = vec![0.0; p.len() + 2];
        for (i, c) in p.drain(..).enumerate() {
            q[i] += 5.0 * c;
            q[i + 1] += c;
            q[i + 2] += c;
        }
        let mut got = real_roots(&q).to_vec();
        got.sort_by(f64::total_cmp);
        assert_eq!(got.len(), want.len(), "{got:?}");
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-8 * w.abs().max(1.0), "{g} {w}");
        }
    }

    #[test]
    fn no_roots_constant_zero_and_nan() {
        assert!(real_roots(&[1.0, 0.0, 1.0]).is_empty());
        assert!(real_roots(&[3.0]).is_empty());
        assert!(real_roots(&[0.0, 0.0]).is_empty());
        assert!(real_roots(&[f64::NAN, 1.0]).is_empty());
        // A vanishing leading coefficient: a line.
        assert_eq!(real_roots(&[-0.5, 1.0, 0.0, 0.0]).to_vec(), vec![0.5]);
    }
}
