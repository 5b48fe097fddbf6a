//! What the geometry functions say about arguments that they cannot take.

/// An argument that a geometry function cannot take. Nothing was computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// An argument is wrong in itself.
    #[error("{op}: `{argument}` must be {expected}, got {found}")]
    Argument {
        /// The function's name.
        op: &'static str,
        /// The parameter's name.
        argument: &'static str,
        /// What it should be, in words.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl GeometryError {
    /// A [`GeometryError::Argument`].
    pub fn argument(
        op: &'static str,
        argument: &'static str,
        expected: impl Into<String>,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Argument { op, argument, expected: expected.into(), found: found.to_string() }
    }
}

/// Fails if a slice that goes with another has another length.
pub(crate) fn check_length(
    op: &'static str,
    argument: &'static str,
    got: usize,
    want: usize,
) -> Result<(), GeometryError> {
    if got == want {
        return Ok(());
    }
    Err(GeometryError::argument(op, argument, format!("of length {want}"), got))
}

/// Fails on the first value that is NaN or infinite.
pub(crate) fn check_finite<'a, const N: usize>(
    op: &'static str,
    argument: &'static str,
    values: impl IntoIterator<Item = &'a [f64; N]>,
) -> Result<(), GeometryError> {
    for (i, value) in values.into_iter().enumerate() {
        if let Some(bad) = value.iter().find(|v| !v.is_finite()) {
            return Err(GeometryError::argument(op, argument, "finite", format!("{bad} at index {i}")));
        }
    }
    Ok(())
}

/// Fails on a weight that is negative, NaN or infinite.
pub(crate) fn check_weights(
    op: &'static str,
    argument: &'static str,
    weights: &[f64],
) -> Result<(), GeometryError> {
    match weights.iter().position(|w| !(w.is_finite() && *w >= 0.0)) {
        None => Ok(()),
        Some(i) => Err(GeometryError::argument(
            op,
            argument,
            "finite and not negative",
            format!("{} at index {i}", weights[i]),
        )),
    }
}
