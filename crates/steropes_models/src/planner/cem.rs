//! The cross-entropy method.

use super::{Action, CemSettings, Draw, Noise, PlanError, WorldModel};

/// x, y, z and gripper of a step; rotations are not searched.
type Axes = [f64; 4];

/// Standard deviation of the gripper's change that the search begins with.
const GRIPPER_STD: f64 = 1.0;

/// The change of a gripper that closes.
const CLOSED: f64 = 1.0;

/// A plan and how it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// One action for each step; the first is to be taken next.
    pub actions: Vec<Action>,
    /// How far from the goal the world is imagined to be after all of them.
    pub energy: f64,
    /// The same if nothing is done. A plan that is not below it promises nothing.
    pub rest_energy: f64,
    /// The iterations of the search, in order.
    pub iterations: Vec<Iteration>,
}

/// One iteration of the search, with the mean and the standard deviation that follow from it, each `[x, y, z, gripper]` for every
/// step.
#[derive(Clone, Debug, PartialEq)]
pub struct Iteration {
    /// Mean of the plans that are drawn next.
    pub mean: Vec<Axes>,
    /// Their standard deviation.
    pub std: Vec<Axes>,
    /// Numbers of the best samples, the best first.
    pub best: Vec<usize>,
    /// Energies of these.
    pub energies: Vec<f64>,
}

/// The plan that brings the world nearest to its goal, as far as the search finds it.
///
/// # Numerics
/// f64. The same settings and seed give the same plan; batches have no effect if the world model's samples do not change each other.
///
/// # Errors
/// [`PlanError`]: settings that cannot be used, a mobile base, or what the world model said.
///
/// # Source
/// Rubinstein, "The cross-entropy method for combinatorial and continuous optimization", 1999; as in arXiv:2506.09985, with its
/// momenta, limits and rounding.
pub fn plan<W: WorldModel>(world: &W, settings: &CemSettings) -> Result<Plan, PlanError<W::Error>> {
    let noise = Noise::new(settings.seed);
    plan_with_noise(world, settings, |draw| noise.normal(draw))
}

/// [`plan`] with standard normal numbers of the caller's.
///
/// # Errors
/// As [`plan`].
pub fn plan_with_noise<W: WorldModel>(
    world: &W,
    settings: &CemSettings,
    noise: impl Fn(Draw) -> f64,
) -> Result<Plan, PlanError<W::Error>> {
    settings.check()?;
    let step = settings.max_step_m;
    let mut mean = vec![[0.0; 4]; settings.rollout];
    let mut std = vec![[step, step, step, GRIPPER_STD]; settings.rollout];
    let mut iterations = Vec::with_capacity(settings.steps);
    for iteration in 0..settings.steps {
        let draws = |sample, step, axis| noise(Draw { iteration, sample, step, axis });
        let samples = samples(settings, &mean, &std, draws);
        let all = energies(world, settings.batch, &samples)?;
        let best = smallest(&all, settings.top_k);
        (mean, std) = moved(settings, (&mean, &std), &samples, &best);
        let energies = best.iter().map(|&i| all[i]).collect();
        iterations.push(Iteration { mean: mean.clone(), std: std.clone(), best, energies });
    }
    let actions = settled(settings, &mean);
    let rest = vec![Action::default(); settings.rollout];
    let ends = energies(world, settings.batch, &[actions.clone(), rest])?;
    Ok(Plan { actions, energy: ends[0], rest_energy: ends[1], iterations })
}

/// Plans drawn around the mean, within the limits.
fn samples(
    settings: &CemSettings,
    mean: &[Axes],
    std: &[Axes],
    draw: impl Fn(usize, usize, usize) -> f64,
) -> Vec<Vec<Action>> {
    let value = |sample: usize, step: usize, axis: usize| {
        let limit = if axis < 3 { settings.max_step_m } else { settings.max_gripper };
        (mean[step][axis] + std[step][axis] * draw(sample, step, axis)).clamp(-limit, limit)
    };
    let action = |sample, step| given(settings, step, [0, 1, 2, 3].map(|axis| value(sample, step, axis)));
    (0..settings.samples).map(|i| (0..settings.rollout).map(|step| action(i, step)).collect()).collect()
}

/// The action of a step, in which what is given takes the place of what was searched.
fn given(settings: &CemSettings, step: usize, [x, y, z, gripper]: Axes) -> Action {
    let [fixed_x, fixed_y, fixed_z] = settings.fixed_m;
    let closes = settings.close_gripper.is_some_and(|first| step >= first);
    Action {
        translation_m: [fixed_x.unwrap_or(x), fixed_y.unwrap_or(y), fixed_z.unwrap_or(z)],
        angles_rad: [0.0; 3],
        gripper: if closes { CLOSED } else { gripper },
    }
}

/// The energy after each plan, `batch` plans at once.
fn energies<W: WorldModel>(
    world: &W,
    batch: usize,
    plans: &[Vec<Action>],
) -> Result<Vec<f64>, PlanError<W::Error>> {
    let mut energies = Vec::with_capacity(plans.len());
    for plans in plans.chunks(batch) {
        let mut state = world.start(plans.len())?;
        for step in 0..plans[0].len() {
            let actions: Vec<Action> = plans.iter().map(|plan| plan[step]).collect();
            state = world.step(state, &actions)?;
        }
        let found = world.energies(&state)?;
        if found.len() != plans.len() {
            return Err(PlanError::Count { expected: plans.len(), found: found.len() });
        }
        energies.extend(found);
    }
    match energies.iter().find(|energy| !energy.is_finite()) {
        Some(&energy) => Err(PlanError::Energy { energy }),
        None => Ok(energies),
    }
}

/// The numbers of the `count` smallest, the smallest first, of equal ones that with the lower number.
fn smallest(energies: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..energies.len()).collect();
    order.sort_by(|&a, &b| energies[a].partial_cmp(&energies[b]).expect("energies are finite"));
    order.truncate(count);
    order
}

/// Mean and standard deviation after the best samples; the deviation has the unbiased variance.
fn moved(
    settings: &CemSettings,
    (mean, std): (&[Axes], &[Axes]),
    samples: &[Vec<Action>],
    best: &[usize],
) -> (Vec<Axes>, Vec<Axes>) {
    let (mut mean, mut std) = (mean.to_vec(), std.to_vec());
    for step in 0..settings.rollout {
        for axis in 0..4 {
            let (of_mean, of_std) = if axis < 3 {
                (settings.mean_momentum, settings.std_momentum)
            } else {
                (settings.gripper_mean_momentum, settings.gripper_std_momentum)
            };
            let values: Vec<f64> = best.iter().map(|&i| axes(&samples[i][step])[axis]).collect();
            let (center, spread) = moments(&values);
            mean[step][axis] = (1.0 - of_mean) * center + of_mean * mean[step][axis];
            std[step][axis] = (1.0 - of_std) * spread + of_std * std[step][axis];
        }
    }
    (mean, std)
}

fn axes(action: &Action) -> Axes {
    let [x, y, z] = action.translation_m;
    [x, y, z, action.gripper]
}

/// Mean and unbiased standard deviation of at least two values.
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>();
    (mean, (squares / (count - 1.0)).sqrt())
}

/// The plan that a mean stands for: small changes of the gripper are none.
fn settled(settings: &CemSettings, mean: &[Axes]) -> Vec<Action> {
    let action = |(step, &[x, y, z, gripper]): (usize, &Axes)| {
        let gripper = if gripper.abs() < settings.gripper_dead_zone { 0.0 } else { gripper };
        given(settings, step, [x, y, z, gripper])
    };
    mean.iter().enumerate().map(action).collect()
}
