//! Ops of multi-view geometry: cameras and points, averages of pointmaps, visibility, surfaces of depth maps, and the
//! residuals of the sparse alignment.

pub mod canonical_view;
pub mod clean_pointcloud;
pub mod pixel_grid;
pub mod project;
pub mod sparse_alignment;
pub mod transform_points;
pub mod triangulation;
pub mod tsdf;
pub mod unproject;
pub mod weighted_average;

use steropes_testkit::{Bench, Case};

pub(crate) fn cases() -> Vec<Case> {
    [
        canonical_view::tests::cases(),
        clean_pointcloud::tests::cases(),
        pixel_grid::tests::cases(),
        project::tests::cases(),
        sparse_alignment::tests::cases(),
        transform_points::tests::cases(),
        triangulation::tests::cases(),
        tsdf::tests::cases(),
        unproject::tests::cases(),
        weighted_average::tests::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn benches() -> Vec<Bench> {
    [
        canonical_view::bench::benches(),
        clean_pointcloud::bench::benches(),
        pixel_grid::bench::benches(),
        project::bench::benches(),
        sparse_alignment::bench::benches(),
        transform_points::bench::benches(),
        triangulation::bench::benches(),
        tsdf::bench::benches(),
        unproject::bench::benches(),
        weighted_average::bench::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
