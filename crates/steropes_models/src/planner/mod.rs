//! The planner of an arm: which actions bring an imagined world nearest to a goal.
//!
//! [`plan`] searches with the cross-entropy method on anything that is a [`WorldModel`]; it knows no network. It minimises the distance
//! to a goal and nothing else: it does not know what a collision is.

mod cem;
mod error;
mod noise;
mod pose;
mod settings;
#[cfg(test)]
mod tests;
mod world;

pub use cem::{Iteration, Plan, plan, plan_with_noise};
pub use error::PlanError;
pub use noise::{Draw, Noise};
pub use pose::{Action, Pose};
pub use settings::{CemSettings, Robot};
pub use world::WorldModel;
