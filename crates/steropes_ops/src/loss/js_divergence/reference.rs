//! f64 oracle, from the formula.

/// `p/2 log(p/m) + q/2 log(q/m)` of a pair of logarithms.
pub(crate) fn loss(log_p: f64, log_q: f64) -> f64 {
    let (p, q) = (log_p.exp(), log_q.exp());
    let part = |x: f64| if x == 0.0 { 0.0 } else { 0.5 * x * (2.0 * x / (p + q)).ln() };
    part(p) + part(q)
}

/// Its derivatives for the logarithms.
pub(crate) fn slopes(log_p: f64, log_q: f64) -> [f64; 2] {
    let (p, q) = (log_p.exp(), log_q.exp());
    [p, q].map(|x| if x == 0.0 { 0.0 } else { 0.5 * x * (2.0 * x / (p + q)).ln() })
}
