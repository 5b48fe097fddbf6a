//! Ops of multi-view geometry: averages of pointmaps, visibility, and the residuals of the sparse alignment.

pub mod alignment_loop;
pub mod canonical_view;
pub mod clean_pointcloud;
pub mod sparse_alignment;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        alignment_loop::tests::cases(),
        canonical_view::tests::cases(),
        clean_pointcloud::tests::cases(),
        sparse_alignment::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        alignment_loop::bench::benches(),
        canonical_view::bench::benches(),
        clean_pointcloud::bench::benches(),
        sparse_alignment::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
