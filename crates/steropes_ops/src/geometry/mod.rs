//! Ops of multi-view geometry: averages of pointmaps, visibility, and the residuals of the sparse alignment.

pub mod canonical_view;
pub mod clean_pointcloud;
pub mod sparse_alignment;
pub mod triangulation;
pub mod tsdf;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        canonical_view::tests::cases(),
        clean_pointcloud::tests::cases(),
        sparse_alignment::tests::cases(),
        triangulation::tests::cases(),
        tsdf::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        canonical_view::bench::benches(),
        clean_pointcloud::bench::benches(),
        sparse_alignment::bench::benches(),
        triangulation::bench::benches(),
        tsdf::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
