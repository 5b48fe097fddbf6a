pub(crate) fn cases() -> Vec<steropes_testkit::Case> {
    Vec::new()
}
