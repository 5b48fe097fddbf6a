use steropes_testkit::Bench;

pub(crate) fn benches() -> Vec<Bench> {
    Vec::new()
}
