//! Automation of the project, as a library so that `cargo test` can run the same checks.

pub mod children;
pub mod golden;
pub mod metal;
pub mod mutate;
pub mod scenes;
