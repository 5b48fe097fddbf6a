//! One file per command, each with its `Args` and `run`.

pub(crate) mod bench;
pub(crate) mod classify;
pub(crate) mod completions;
pub(crate) mod devices;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod infer;
pub(crate) mod linalg;
pub(crate) mod match_pair;
pub(crate) mod models;
pub(crate) mod plan;
pub(crate) mod presets;
pub(crate) mod reconstruct;
pub(crate) mod watch;
