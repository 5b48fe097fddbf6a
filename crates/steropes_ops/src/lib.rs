//! Every kernel of Steropes, each a folder with its contract, CPU and GPU kernel, f64 oracle, cases and bench.
//!
//! An op checks its arguments, then runs where its tensors are. It never runs anywhere else.

pub mod attention;
mod checks;
pub mod cpu;
mod dispatch;
pub mod elementwise;
mod error;
pub mod geometry;
mod gpu;
pub mod indexing;
pub mod linalg;
pub mod loss;
pub mod matching;
pub mod norm;
pub mod optim;
pub mod position;
pub mod reduce;
pub mod vision;

pub use dispatch::{Dispatches, dispatches};
pub use error::OpError;
pub use gpu::{GpuPeak, gpu_peak, gpu_seconds};

use steropes_testkit::{Bench, Case};

/// The cases of all ops, for `cargo test` and `steropes doctor`.
pub fn cases() -> Vec<Case> {
    [
        attention::cases(),
        cpu::cases(),
        dispatch::tests::cases(),
        elementwise::cases(),
        geometry::cases(),
        gpu::cases(),
        indexing::cases(),
        linalg::cases(),
        loss::cases(),
        matching::cases(),
        norm::cases(),
        optim::cases(),
        position::cases(),
        reduce::cases(),
        vision::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The benches of all ops, for `steropes bench`.
pub fn benches() -> Vec<Bench> {
    [
        attention::benches(),
        elementwise::benches(),
        geometry::benches(),
        indexing::benches(),
        linalg::benches(),
        loss::benches(),
        matching::benches(),
        norm::benches(),
        optim::benches(),
        position::benches(),
        reduce::benches(),
        vision::benches(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
