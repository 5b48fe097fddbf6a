use steropes_testkit::Case;

pub(crate) fn cases() -> Vec<Case> {
    Vec::new()
}
