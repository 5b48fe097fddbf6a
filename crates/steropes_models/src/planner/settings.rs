//! The settings of the search.

use super::PlanError;

/// What is to be moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Robot {
    /// An arm on a fixed base, whose gripper has a pose.
    #[default]
    Arm,
    /// A base that drives. There is no plan for it: [`PlanError::MobileBase`].
    MobileBase,
}

/// Settings of the search by the cross-entropy method: samples of plans are drawn around a mean, and mean and spread of the best become
/// those of the next iteration.
///
/// Two of the settings that V-JEPA 2-AC was published with are [`CemSettings::default`] and [`CemSettings::thorough`].
#[derive(Clone, Debug, PartialEq)]
pub struct CemSettings {
    /// What is to be moved.
    pub robot: Robot,
    /// Steps that are imagined: the length of a plan.
    pub rollout: usize,
    /// Iterations of the search.
    pub steps: usize,
    /// Samples in an iteration.
    pub samples: usize,
    /// How many of them are the best; at least 2, so that they have a spread.
    pub top_k: usize,
    /// Share of the old mean in the new one, of x, y and z; from 0 to below 1.
    pub mean_momentum: f64,
    /// Share of the old standard deviation in the new one, of x, y and z.
    pub std_momentum: f64,
    /// Share of the old mean in the new one, of the gripper.
    pub gripper_mean_momentum: f64,
    /// Share of the old standard deviation in the new one, of the gripper.
    pub gripper_std_momentum: f64,
    /// Largest step along an axis, in metres; also the standard deviation that the search begins with.
    pub max_step_m: f64,
    /// Largest change of the gripper in a step, from 0 to 1; its search begins with a standard deviation of 1.
    pub max_gripper: f64,
    /// A change of the gripper below this is 0 in the plan.
    pub gripper_dead_zone: f64,
    /// Steps along x, y and z that are given rather than searched, in metres; they may be larger than `max_step_m`.
    pub fixed_m: [Option<f64>; 3],
    /// From this step of the plan on, counted from 0, the gripper closes: its change is 1.
    pub close_gripper: Option<usize>,
    /// Samples that are imagined at once. It has no effect on the plan, only on time and memory.
    pub batch: usize,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for CemSettings {
    /// 10 iterations of 400 samples, 2 steps ahead.
    fn default() -> Self {
        Self {
            robot: Robot::Arm,
            rollout: 2,
            steps: 10,
            samples: 400,
            top_k: 10,
            mean_momentum: 0.15,
            std_momentum: 0.15,
            gripper_mean_momentum: 0.15,
            gripper_std_momentum: 0.15,
            max_step_m: 0.05,
            max_gripper: 0.75,
            gripper_dead_zone: 0.25,
            fixed_m: [None; 3],
            close_gripper: None,
            batch: 8,
            seed: 0,
        }
    }
}

impl CemSettings {
    /// 100 iterations of 100 samples, one step ahead, with a spread that shrinks slowly.
    pub fn thorough() -> Self {
        Self {
            rollout: 1,
            steps: 100,
            samples: 100,
            mean_momentum: 0.25,
            std_momentum: 0.95,
            gripper_mean_momentum: 0.25,
            gripper_std_momentum: 0.95,
            ..Self::default()
        }
    }

    /// Whether a search with these settings makes sense.
    ///
    /// # Errors
    /// [`PlanError::MobileBase`], or [`PlanError::Setting`] with the first that does not.
    pub fn check<E>(&self) -> Result<(), PlanError<E>> {
        if self.robot == Robot::MobileBase {
            return Err(PlanError::MobileBase);
        }
        for (key, count) in [
            ("rollout", self.rollout),
            ("steps", self.steps),
            ("samples", self.samples),
            ("batch", self.batch),
        ] {
            require(key, count > 0, "must be at least 1", count)?;
        }
        let few = format!("must be between 2 and the number of samples, {}", self.samples);
        require("top_k", (2..=self.samples).contains(&self.top_k), few, self.top_k)?;
        for (key, share) in [
            ("mean_momentum", self.mean_momentum),
            ("std_momentum", self.std_momentum),
            ("gripper_mean_momentum", self.gripper_mean_momentum),
            ("gripper_std_momentum", self.gripper_std_momentum),
        ] {
            require(key, (0.0..1.0).contains(&share), "must be from 0 to below 1", share)?;
        }
        let is_step = self.max_step_m > 0.0 && self.max_step_m.is_finite();
        require("max_step_m", is_step, "must be above 0", self.max_step_m)?;
        require(
            "max_gripper",
            (0.0..=1.0).contains(&self.max_gripper),
            "must be from 0 to 1",
            self.max_gripper,
        )?;
        let zone = self.gripper_dead_zone;
        require("gripper_dead_zone", (0.0..=1.0).contains(&zone), "must be from 0 to 1", zone)?;
        for step in self.fixed_m.into_iter().flatten() {
            require("fixed_m", step.is_finite(), "must be a finite number", step)?;
        }
        if let Some(step) = self.close_gripper {
            let late = format!("must be a step of the plan, which has {}", self.rollout);
            require("close_gripper", step < self.rollout, late, step)?;
        }
        Ok(())
    }
}

fn require<E>(
    key: &'static str,
    holds: bool,
    what: impl std::fmt::Display,
    found: impl std::fmt::Display,
) -> Result<(), PlanError<E>> {
    if holds { Ok(()) } else { Err(PlanError::Setting { key, problem: format!("{what}, got {found}") }) }
}
