//! Benches of whole networks.

use steropes_testkit::Bench;

/// The benches of this family.
pub fn benches() -> Vec<Bench> {
    Vec::new()
}
