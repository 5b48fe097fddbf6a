//! f64 oracle, from the formula.
