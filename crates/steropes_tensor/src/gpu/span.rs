//! A timed launch.

/// One launch on the time line of its device.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The kernel's name.
    pub name: &'static str,
    /// Seconds from the first launch to the begin of this one.
    pub start: f64,
    /// Seconds that it took.
    pub seconds: f64,
}
