pub(crate) fn benches() -> Vec<steropes_testkit::Bench> { Vec::new() }
