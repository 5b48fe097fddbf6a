//! Why there is no plan.

/// Why there is no plan; one line that says what to do. `E` is the error of the world model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError<E> {
    /// The robot has no arm.
    #[error(
        "this planner moves the gripper of an arm on a fixed base; its actions are changes of a gripper's pose and mean nothing for a \
         mobile base, for which no trained world model is known: use `steropes watch` to watch a path"
    )]
    MobileBase,
    /// A setting cannot be used.
    #[error("`{key}` {problem}")]
    Setting {
        /// The setting.
        key: &'static str,
        /// What it must be, and what it is.
        problem: String,
    },
    /// The world model gave something that is no distance.
    #[error(
        "the world model gave the energy {energy} for a sample: check its weights, the frames and the pose"
    )]
    Energy {
        /// What it gave.
        energy: f64,
    },
    /// The world model gave another number of energies than there are samples.
    #[error("the world model gave {found} energies for {expected} samples")]
    Count {
        /// Samples.
        expected: usize,
        /// Energies.
        found: usize,
    },
    /// The world model failed.
    #[error(transparent)]
    World(#[from] E),
}
