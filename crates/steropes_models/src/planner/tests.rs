//! The search in worlds whose answers are known.

use super::{
    Action, CemSettings, Draw, Iteration, Noise, Plan, PlanError, Robot, WorldModel, plan, plan_with_noise,
};
use std::cell::RefCell;
use std::convert::Infallible;

/// `z' = z + B a` with the energy `mean |z - goal|`; remembers all actions that it was asked about.
struct Linear {
    matrix: [[f64; 4]; 4],
    start: [f64; 4],
    goal: [f64; 4],
    /// Energies are rounded up to multiples of this, so that some are equal.
    grain: Option<f64>,
    seen: RefCell<Vec<Action>>,
}

const IDENTITY: [[f64; 4]; 4] =
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

/// A matrix that mixes all axes.
const MIXED: [[f64; 4]; 4] =
    [[1.0, 0.2, -0.1, 0.05], [-0.3, 0.9, 0.15, 0.0], [0.1, -0.2, 1.1, -0.04], [0.3, 0.1, -0.2, 0.8]];

impl Linear {
    fn new(goal: [f64; 4]) -> Self {
        Self { matrix: IDENTITY, start: [0.0; 4], goal, grain: None, seen: RefCell::default() }
    }
}

impl WorldModel for Linear {
    type State = Vec<[f64; 4]>;
    type Error = Infallible;

    fn start(&self, samples: usize) -> Result<Self::State, Infallible> {
        Ok(vec![self.start; samples])
    }

    fn step(&self, mut state: Self::State, actions: &[Action]) -> Result<Self::State, Infallible> {
        assert_eq!(state.len(), actions.len());
        self.seen.borrow_mut().extend_from_slice(actions);
        for (z, action) in state.iter_mut().zip(actions) {
            let [x, y, t] = action.translation_m;
            let a = [x, y, t, action.gripper];
            for (row, value) in self.matrix.iter().zip(z.iter_mut()) {
                *value += row[0] * a[0] + row[1] * a[1] + row[2] * a[2] + row[3] * a[3];
            }
        }
        Ok(state)
    }

    fn energies(&self, state: &Self::State) -> Result<Vec<f64>, Infallible> {
        let distance = |z: &[f64; 4]| {
            let sum = (z[0] - self.goal[0]).abs()
                + (z[1] - self.goal[1]).abs()
                + (z[2] - self.goal[2]).abs()
                + (z[3] - self.goal[3]).abs();
            match self.grain {
                Some(grain) => (sum / 4.0 / grain).ceil() * grain,
                None => sum / 4.0,
            }
        };
        Ok(state.iter().map(distance).collect())
    }
}

/// Noise that is made up and repeats nowhere near.
fn made_up(Draw { iteration, sample, step, axis }: Draw) -> f64 {
    1.7 * (1.0 + iteration as f64 * 37.1 + sample as f64 * 2.3 + step as f64 * 0.71 + axis as f64 * 5.9).sin()
}

/// The search again, one number after the other, for plans of two steps.
fn reference(world: &Linear, s: &CemSettings, noise: fn(Draw) -> f64) -> Plan {
    assert_eq!(s.rollout, 2);
    let energy = |plan: &[[f64; 4]; 2]| {
        let mut z = world.start;
        for a in plan {
            for i in 0..4 {
                let b = world.matrix[i];
                z[i] += b[0] * a[0] + b[1] * a[1] + b[2] * a[2] + b[3] * a[3];
            }
        }
        world.energies(&vec![z]).unwrap()[0]
    };
    let mut mean = [[0.0; 4]; 2];
    let mut std = [[s.max_step_m, s.max_step_m, s.max_step_m, 1.0]; 2];
    let mut iterations = Vec::new();
    for iteration in 0..s.steps {
        let mut plans = Vec::new();
        for sample in 0..s.samples {
            let mut plan = [[0.0; 4]; 2];
            for step in 0..2 {
                for axis in 0..4 {
                    let drawn =
                        mean[step][axis] + std[step][axis] * noise(Draw { iteration, sample, step, axis });
                    let limit = if axis == 3 { s.max_gripper } else { s.max_step_m };
                    plan[step][axis] = drawn.max(-limit).min(limit);
                }
            }
            plans.push(plan);
        }
        let energies: Vec<f64> = plans.iter().map(energy).collect();
        let mut best: Vec<usize> = Vec::new();
        for _ in 0..s.top_k {
            let mut next = None;
            for i in 0..s.samples {
                if !best.contains(&i) && next.is_none_or(|n: usize| energies[i] < energies[n]) {
                    next = Some(i);
                }
            }
            best.push(next.unwrap());
        }
        for step in 0..2 {
            for axis in 0..4 {
                let (m, d) = if axis == 3 {
                    (s.gripper_mean_momentum, s.gripper_std_momentum)
                } else {
                    (s.mean_momentum, s.std_momentum)
                };
                let mut sum = 0.0;
                for &i in &best {
                    sum += plans[i][step][axis];
                }
                let center = sum / s.top_k as f64;
                let mut squares = 0.0;
                for &i in &best {
                    squares += (plans[i][step][axis] - center) * (plans[i][step][axis] - center);
                }
                let spread = (squares / (s.top_k - 1) as f64).sqrt();
                mean[step][axis] = (1.0 - m) * center + m * mean[step][axis];
                std[step][axis] = (1.0 - d) * spread + d * std[step][axis];
            }
        }
        let of_best = best.iter().map(|&i| energies[i]).collect();
        iterations.push(Iteration { mean: mean.to_vec(), std: std.to_vec(), best, energies: of_best });
    }
    let mut last = mean;
    for step in &mut last {
        if step[3] > -s.gripper_dead_zone && step[3] < s.gripper_dead_zone {
            step[3] = 0.0;
        }
    }
    let actions = last.iter().map(|a| Action::from_array([a[0], a[1], a[2], 0.0, 0.0, 0.0, a[3]])).collect();
    Plan { actions, energy: energy(&last), rest_energy: energy(&[[0.0; 4]; 2]), iterations }
}

#[test]
fn the_search_is_that_of_a_plain_loop_number_by_number() {
    let world =
        Linear { matrix: MIXED, start: [0.1, -0.2, 0.3, 0.4], ..Linear::new([0.16, -0.17, 0.24, 0.9]) };
    let settings = CemSettings {
        steps: 6,
        samples: 57,
        top_k: 7,
        mean_momentum: 0.15,
        std_momentum: 0.4,
        gripper_mean_momentum: 0.3,
        gripper_std_momentum: 0.55,
        batch: 10,
        ..CemSettings::default()
    };
    let got = plan_with_noise(&world, &settings, made_up).unwrap();
    assert_eq!(got, reference(&world, &settings, made_up));
    // With equal energies the order decides.
    let world = Linear { grain: Some(0.02), ..world };
    let got = plan_with_noise(&world, &settings, made_up).unwrap();
    let has_ties = |i: &Iteration| i.energies.windows(2).any(|pair| pair[0] == pair[1]);
    assert!(got.iterations.iter().all(has_ties), "the test needs equal energies");
    assert_eq!(got, reference(&world, &settings, made_up));
}

#[test]
fn of_equal_energies_the_lower_number_is_better() {
    let world = Linear { grain: Some(100.0), ..Linear::new([1.0; 4]) };
    let settings = CemSettings { steps: 1, samples: 20, top_k: 5, ..CemSettings::default() };
    let found = plan(&world, &settings).unwrap();
    assert_eq!(found.iterations[0].best, [0, 1, 2, 3, 4]);
}

#[test]
fn a_reachable_goal_is_reached() {
    for seed in 0..5 {
        let world = Linear { matrix: MIXED, ..Linear::new([0.05, -0.04, 0.06, 0.7]) };
        for settings in [CemSettings::default(), CemSettings { rollout: 2, ..CemSettings::thorough() }] {
            // Both steps may share the change of the gripper, so a small part of it must not be rounded.
            let settings = CemSettings { seed, gripper_dead_zone: 0.0, ..settings };
            let found = plan(&world, &settings).unwrap();
            assert!(found.energy < 2e-3, "seed {seed}: energy {}", found.energy);
            assert!((found.rest_energy - 0.2125).abs() < 1e-12);
            let first = found.iterations[0].energies[0];
            let last = found.iterations.last().unwrap();
            assert!(last.energies[0] < first && last.std[0][0] < 0.02, "{last:?}");
        }
    }
}

#[test]
fn a_goal_out_of_reach_is_approached_at_the_limits() {
    let world = Linear::new([1.0, -1.0, 1.0, 3.0]);
    let found = plan(&world, &CemSettings { max_step_m: 0.075, ..CemSettings::default() }).unwrap();
    for action in &found.actions {
        let [x, y, z, a, b, c, gripper] = action.to_array();
        for (value, limit) in [(x, 0.075), (y, -0.075), (z, 0.075), (gripper, 0.75)] {
            assert!((value - limit).abs() < 1e-3, "{action:?}");
        }
        assert_eq!([a, b, c], [0.0; 3]);
    }
}

#[test]
fn every_sample_is_within_the_limits_and_some_are_at_them() {
    let world = Linear::new([0.0; 4]);
    let settings = CemSettings { steps: 1, samples: 200, rollout: 1, ..CemSettings::default() };
    plan(&world, &settings).unwrap();
    let seen = world.seen.borrow();
    let drawn = &seen[..200];
    for axis in 0..3 {
        let values = || drawn.iter().map(|action| action.translation_m[axis]);
        assert!(values().all(|v| v.abs() <= 0.05));
        // A standard deviation is the limit, so a third is beyond.
        let at = values().filter(|v| v.abs() == 0.05).count();
        assert!((40..90).contains(&at), "axis {axis}: {at}");
    }
    assert!(drawn.iter().all(|action| action.gripper.abs() <= 0.75 && action.angles_rad == [0.0; 3]));
    // 45 % of a normal variable are beyond 0.75.
    let at = drawn.iter().filter(|action| action.gripper.abs() == 0.75).count();
    assert!((65..115).contains(&at), "{at}");
}

#[test]
fn the_deviation_of_the_best_is_unbiased() {
    let world = Linear::new([0.0; 4]);
    let settings = CemSettings {
        rollout: 1,
        steps: 1,
        samples: 2,
        top_k: 2,
        mean_momentum: 0.0,
        std_momentum: 0.0,
        ..CemSettings::default()
    };
    let found = plan_with_noise(&world, &settings, |draw| if draw.sample == 0 { 0.2 } else { 0.8 }).unwrap();
    let Iteration { mean, std, .. } = &found.iterations[0];
    // 0.01 and 0.04: the mean is 0.025, the variance 2 * 0.015^2 / 1.
    assert!((mean[0][0] - 0.025).abs() < 1e-15);
    assert!((std[0][0] - 0.015 * 2f64.sqrt()).abs() < 1e-15, "{std:?}");
}

#[test]
fn small_changes_of_the_gripper_are_none() {
    for (goal, want) in [(0.0, None), (0.2, None), (-0.2, None), (0.3, Some(0.3)), (-0.4, Some(-0.4))] {
        let world = Linear::new([0.0, 0.0, 0.0, goal]);
        let found = plan(&world, &CemSettings { rollout: 1, ..CemSettings::default() }).unwrap();
        match want {
            None => assert_eq!(found.actions[0].gripper, 0.0, "goal {goal}"),
            Some(want) => assert!((found.actions[0].gripper - want).abs() < 5e-3, "goal {goal}"),
        }
        // Before it is rounded, the search has found it.
        assert!((found.iterations[9].mean[0][3] - goal).abs() < 5e-3);
    }
    // What is exactly at the edge stays.
    let at_edge = CemSettings { rollout: 1, steps: 1, samples: 2, top_k: 2, ..CemSettings::default() };
    let at_edge = CemSettings { gripper_mean_momentum: 0.0, ..at_edge };
    let world = Linear::new([0.0; 4]);
    let gripper = |noise: f64| plan_with_noise(&world, &at_edge, |_| noise).unwrap().actions[0].gripper;
    assert_eq!([gripper(0.25), gripper(-0.25), gripper(0.249)], [0.25, -0.25, 0.0]);
}

#[test]
fn given_axes_are_not_searched() {
    let world = Linear::new([0.05, 0.05, 0.05, 0.0]);
    let settings = CemSettings {
        fixed_m: [None, Some(0.0), Some(-0.2)],
        close_gripper: Some(1),
        ..CemSettings::default()
    };
    let found = plan(&world, &settings).unwrap();
    for action in world.seen.borrow().chunks_exact(8).flat_map(|_| &found.actions) {
        assert_eq!(action.translation_m[1..], [0.0, -0.2]);
    }
    // All but the plan of rest, which is the last of the last batch.
    let seen = world.seen.borrow();
    let searched = &seen[..seen.len() - 4];
    assert!(searched.iter().all(|action| action.translation_m[1..] == [0.0, -0.2]));
    for (batch, actions) in searched.chunks_exact(8).enumerate() {
        let closes = batch % 2 == 1;
        assert!(actions.iter().all(|action| (action.gripper == 1.0) == closes), "batch {batch}");
    }
    assert_eq!(found.actions[1].gripper, 1.0);
    assert!((found.actions[0].translation_m[0] + found.actions[1].translation_m[0] - 0.05).abs() < 5e-3);
}

#[test]
fn batches_have_no_effect_and_seeds_do() {
    let world = Linear { matrix: MIXED, ..Linear::new([0.05, -0.04, 0.06, 0.7]) };
    let with =
        |batch, seed| plan(&world, &CemSettings { batch, seed, steps: 3, ..CemSettings::default() }).unwrap();
    let one = with(1, 7);
    assert_eq!(one, with(7, 7));
    assert_eq!(one, with(1000, 7));
    assert_ne!(one, with(1, 8));
    let noise = Noise::new(7);
    let settings = CemSettings { steps: 3, seed: 99, ..CemSettings::default() };
    assert_eq!(one, plan_with_noise(&world, &settings, |draw| noise.normal(draw)).unwrap());
}

#[test]
fn a_mobile_base_is_refused_before_anything_is_imagined() {
    let world = Linear::new([0.0; 4]);
    let error =
        plan(&world, &CemSettings { robot: Robot::MobileBase, ..CemSettings::default() }).unwrap_err();
    assert!(matches!(error, PlanError::MobileBase), "{error}");
    assert!(error.to_string().contains("mobile base") && !error.to_string().contains('\n'));
    assert!(world.seen.borrow().is_empty());
}

#[test]
fn settings_out_of_range_are_refused_by_name() {
    let with = |change: fn(&mut CemSettings)| {
        let mut settings = CemSettings::default();
        change(&mut settings);
        plan(&Linear::new([0.0; 4]), &settings).unwrap_err().to_string()
    };
    for (error, want) in [
        (with(|s| s.rollout = 0), "`rollout` must be at least 1, got 0"),
        (with(|s| s.steps = 0), "`steps` must be at least 1, got 0"),
        (with(|s| s.samples = 0), "`samples` must be at least 1, got 0"),
        (with(|s| s.batch = 0), "`batch` must be at least 1, got 0"),
        (with(|s| s.top_k = 1), "`top_k` must be between 2 and the number of samples, 400, got 1"),
        (with(|s| s.samples = 9), "`top_k` must be between 2 and the number of samples, 9, got 10"),
        (with(|s| s.mean_momentum = 1.0), "`mean_momentum` must be from 0 to below 1, got 1"),
        (with(|s| s.std_momentum = -0.1), "`std_momentum` must be from 0 to below 1, got -0.1"),
        (with(|s| s.gripper_mean_momentum = f64::NAN), "`gripper_mean_momentum` must be"),
        (with(|s| s.gripper_std_momentum = 2.0), "`gripper_std_momentum` must be"),
        (with(|s| s.max_step_m = 0.0), "`max_step_m` must be above 0, got 0"),
        (with(|s| s.max_step_m = f64::INFINITY), "`max_step_m` must be above 0"),
        (with(|s| s.max_gripper = 1.5), "`max_gripper` must be from 0 to 1, got 1.5"),
        (with(|s| s.gripper_dead_zone = -1.0), "`gripper_dead_zone` must be"),
        (with(|s| s.fixed_m[1] = Some(f64::NAN)), "`fixed_m` must be a finite number"),
        (
            with(|s| s.close_gripper = Some(2)),
            "`close_gripper` must be a step of the plan, which has 2, got 2",
        ),
    ] {
        assert!(error.starts_with(want), "`{error}` does not begin with `{want}`");
    }
}

/// A world whose energies are no distances.
struct Broken(Vec<f64>);

impl WorldModel for Broken {
    type State = usize;
    type Error = Infallible;

    fn start(&self, samples: usize) -> Result<usize, Infallible> {
        Ok(samples)
    }

    fn step(&self, state: usize, _actions: &[Action]) -> Result<usize, Infallible> {
        Ok(state)
    }

    fn energies(&self, samples: &usize) -> Result<Vec<f64>, Infallible> {
        Ok(self.0.iter().copied().cycle().take(samples + self.0.len() / 3).collect())
    }
}

#[test]
fn what_is_no_energy_is_refused() {
    let settings = CemSettings::default();
    let error = plan(&Broken(vec![1.0, f64::NAN]), &settings).unwrap_err();
    assert!(matches!(error, PlanError::Energy { energy } if energy.is_nan()));
    assert!(matches!(plan(&Broken(vec![f64::INFINITY]), &settings), Err(PlanError::Energy { .. })));
    assert!(matches!(
        plan(&Broken(vec![1.0; 3]), &settings),
        Err(PlanError::Count { expected: 8, found: 9 })
    ));
    assert!(plan(&Broken(vec![1.0]), &settings).is_ok());
}
