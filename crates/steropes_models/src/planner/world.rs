//! What a planner plans in.

use super::Action;

/// A model of the world that imagines what actions lead to, with a place to start from and a goal.
///
/// Samples are imagined side by side; one must not change another.
pub trait WorldModel {
    /// What is imagined for a number of samples at one time.
    type State;
    /// Why it cannot imagine.
    type Error: std::error::Error;

    /// The present, once for each of `samples` samples.
    ///
    /// # Errors
    /// The model's own.
    fn start(&self, samples: usize) -> Result<Self::State, Self::Error>;

    /// What is imagined one step later, if sample `i` takes `actions[i]`.
    ///
    /// # Errors
    /// The model's own.
    fn step(&self, state: Self::State, actions: &[Action]) -> Result<Self::State, Self::Error>;

    /// How far each sample is from the goal; 0 is at the goal.
    ///
    /// # Errors
    /// The model's own.
    fn energies(&self, state: &Self::State) -> Result<Vec<f64>, Self::Error>;
}
