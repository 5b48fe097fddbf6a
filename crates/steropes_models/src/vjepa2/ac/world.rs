//! A present and a goal to plan in.

use super::predictor::Conditions;
use super::{AcCache, AcModel};
use crate::ModelError;
use crate::planner::{Action, Pose, WorldModel};
use crate::vjepa2::Tokens;
use crate::vjepa2::pooler::repeated;
use half::f16;
use rayon::prelude::*;
use steropes_ops::OpError;
use steropes_ops::norm::layer_norm::layer_norm_over;
use steropes_tensor::{DType, Tensor};

/// What is added to the variance where predicted features are normalised.
const FEATURE_EPS: f32 = 1e-5;

/// What was seen and where the gripper was then.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Features of one frame: [`AcModel::features`].
    pub features: Tokens,
    /// Where the gripper was.
    pub pose: Pose,
}

/// The world as V-JEPA 2-AC imagines it: a present, perhaps with a past, and a goal.
#[derive(Debug)]
pub struct AcWorld<'a> {
    model: &'a AcModel,
    grid: [usize; 2],
    present: Tensor,
    pose: Pose,
    past: AcCache,
    /// Features of the goal.
    goal: Vec<f32>,
}

/// What is imagined for several samples at one time.
#[derive(Clone, Debug)]
pub struct Imagined {
    /// Normalised features, `[samples, rows * columns, features]`.
    features: Tensor,
    poses: Vec<Pose>,
    past: AcCache,
}

impl Imagined {
    /// Normalised features, `[samples, rows * columns, features]`.
    pub fn features(&self) -> &Tensor {
        &self.features
    }

    /// Where the gripper is in each sample.
    pub fn poses(&self) -> &[Pose] {
        &self.poses
    }
}

impl<'a> AcWorld<'a> {
    /// The world after `observations`, in the order of time, one time step of the training (a quarter of a second) apart; the last is
    /// the present. `goal` is what the camera should see in the end. Actions of the past are the differences between its poses; all
    /// samples share what is computed of it.
    ///
    /// # Errors
    /// [`ModelError::Input`] if there is no observation, it is not of one frame, a pose is not finite, sizes of frames differ, or the model
    /// has tokens for the place of the camera, which a pose does not say; [`ModelError::Device`] if the device has no memory for it.
    pub fn new(model: &'a AcModel, observations: &[Observation], goal: &Tokens) -> Result<Self, ModelError> {
        let Some((now, past)) = observations.split_last() else {
            return Err(OpError::value("plan", "observations", "at least one", "none").into());
        };
        if model.predictor().config().has_extrinsics {
            let (expected, found) = ("a predictor without the place of the camera", "one with it");
            return Err(OpError::value("plan", "model", expected, found).into());
        }
        let kind = |tokens: &Tokens| (tokens.values().shape().to_vec(), tokens.grid());
        for tokens in observations.iter().map(|seen| &seen.features).chain([goal]) {
            if tokens.batch() != 1 || tokens.ids().is_some() || kind(tokens) != kind(goal) {
                let expected = "features of single frames of one size";
                let found = format!("{:?} beside {:?}", kind(tokens), kind(goal));
                return Err(OpError::value("plan", "features", expected, found).into());
            }
        }
        for pose in observations.iter().map(|seen| &seen.pose) {
            if pose.to_array().iter().any(|number| !number.is_finite()) {
                return Err(OpError::value("plan", "pose", "finite numbers", format!("{pose:?}")).into());
            }
        }
        let grid = [now.features.grid().rows, now.features.grid().columns];
        let mut cache = AcCache::default();
        for (seen, next) in past.iter().zip(&observations[1..]) {
            let actions = [row(seen.pose.action_to(&next.pose).to_array())];
            let states = [row(seen.pose.to_array())];
            let conditions = Conditions { actions: &actions, states: &states, extrinsics: &[] };
            // What it predicts was seen meanwhile.
            drop(model.predictor().step(&mut cache, seen.features.values(), grid, &conditions)?);
        }
        let goal = floats(goal.values())?;
        Ok(Self { model, grid, present: now.features.values().clone(), pose: now.pose, past: cache, goal })
    }
}

impl WorldModel for AcWorld<'_> {
    type State = Imagined;
    type Error = ModelError;

    fn start(&self, samples: usize) -> Result<Imagined, ModelError> {
        let features = repeated(&self.present, samples)?;
        Ok(Imagined { features, poses: vec![self.pose; samples], past: self.past.clone() })
    }

    fn step(&self, state: Imagined, actions: &[Action]) -> Result<Imagined, ModelError> {
        let Imagined { features, poses, mut past } = state;
        let states: Vec<[f32; 7]> = poses.iter().map(|pose| row(pose.to_array())).collect();
        let rows: Vec<[f32; 7]> = actions.iter().map(|action| row(action.to_array())).collect();
        let conditions = Conditions { actions: &rows, states: &states, extrinsics: &[] };
        let predictor = self.model.predictor();
        let predicted = predictor.step(&mut past, &features, self.grid, &conditions)?;
        let width = predictor.config().features;
        Ok(Imagined {
            features: layer_norm_over(&predicted, &[width], None, None, FEATURE_EPS)?,
            poses: poses.iter().zip(actions).map(|(pose, action)| pose.after(action)).collect(),
            past,
        })
    }

    /// The mean of `|features - goal|` over all tokens and their values, in f64.
    fn energies(&self, state: &Imagined) -> Result<Vec<f64>, ModelError> {
        let features = floats(&state.features)?;
        let energy = |sample: &[f32]| {
            let distances =
                sample.iter().zip(&self.goal).map(|(&z, &goal)| (f64::from(z) - f64::from(goal)).abs());
            distances.sum::<f64>() / sample.len() as f64
        };
        Ok(features.par_chunks_exact(self.goal.len()).map(energy).collect())
    }
}

fn row(values: [f64; 7]) -> [f32; 7] {
    values.map(|value| value as f32)
}

/// The values of a tensor of f32 or f16.
fn floats(x: &Tensor) -> Result<Vec<f32>, ModelError> {
    match x.dtype() {
        DType::F16 => Ok(x.read::<f16>()?.into_iter().map(f16::to_f32).collect()),
        _ => Ok(x.read::<f32>()?),
    }
}
