//! The two stages on a GPU.

use super::optimise::{Evaluation, Observations, Setting, Stage};
use super::parameters::{ImageParameters, Parameters};
use super::{AlignedImages, AlignmentError, Precision};
use steropes_ops::OpError;
use steropes_ops::geometry::alignment_loop::{
    AlignmentLoop, LoopOptions, LoopParameters, LoopProblem, LoopStage,
};
use steropes_tensor::Gpu;

/// Steps on a GPU, in f32.
pub(super) struct OnDevice {
    steps: AlignmentLoop,
}

impl OnDevice {
    pub(super) fn new(
        setting: &Setting,
        gpu: &Gpu,
        observations: &Observations<'_>,
    ) -> Result<Self, AlignmentError> {
        if setting.options.precision == Precision::Double {
            let why = "its kernels compute in f32; `Precision::Double` runs on the CPU".to_owned();
            let device = gpu.capabilities().name.clone();
            return Err(OpError::Unsupported { op: "alignment", device, why }.into());
        }
        let images = setting.model.loop_images(&setting.identity);
        let tree = setting.model.tree();
        let problem = LoopProblem {
            images: &images,
            root: tree.root(),
            tree: tree.edges(),
            pairs: &observations.pairs,
            matched: &observations.matched,
            targets: &observations.targets,
            target_weight: setting.options.fallback_weight,
        };
        Ok(Self { steps: AlignmentLoop::new(gpu, &problem)? })
    }

    pub(super) fn evaluate(
        &mut self,
        setting: &Setting,
        stage: Stage,
        parameters: &Parameters,
    ) -> Result<Evaluation, AlignmentError> {
        let (loss, gradient, scene) =
            self.steps.evaluate(&loop_options(setting, stage), &to_loop(parameters))?;
        Ok(Evaluation { loss, gradient: from_loop(gradient), images: setting.model.aligned_scene(&scene) })
    }

    pub(super) fn run(
        &mut self,
        setting: &Setting,
        stage: Stage,
        parameters: &mut Parameters,
    ) -> Result<(Vec<f64>, AlignedImages), AlignmentError> {
        let schedule = setting.schedule(stage);
        let mut moved = to_loop(parameters);
        let steps = (schedule.iterations, schedule.learning_rate);
        let (losses, scene) = self.steps.run(&loop_options(setting, stage), steps, &mut moved)?;
        if let Some(iteration) = losses.iter().position(|l| !l.is_finite()) {
            return Err(AlignmentError::NotFinite { stage, iteration, loss: losses[iteration] });
        }
        *parameters = from_loop(moved);
        Ok((losses, setting.model.aligned_scene(&scene)))
    }
}

fn loop_options(setting: &Setting, stage: Stage) -> LoopOptions {
    let (moves, move_depths) = setting.moves(stage);
    LoopOptions {
        stage: match stage {
            Stage::Coarse => LoopStage::Coarse,
            Stage::Fine => LoopStage::Fine,
        },
        moves,
        move_depths,
        shared_intrinsics: setting.options.shared_intrinsics,
        focal_prior: setting.options.focal_prior,
        principal_prior: setting.options.principal_prior,
    }
}

fn to_loop(p: &Parameters) -> LoopParameters {
    let images = p.images.iter().map(|i| i.to_array()).collect();
    LoopParameters { images, depths: p.depths.clone() }
}

fn from_loop(p: LoopParameters) -> Parameters {
    let images = p.images.into_iter().map(ImageParameters::from_array).collect();
    Parameters { images, depths: p.depths }
}
