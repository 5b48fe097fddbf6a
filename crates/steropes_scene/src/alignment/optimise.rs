//! The two stages: Adam with a step length that falls along half a cosine.

use super::device::OnDevice;
use super::initial::initial_parameters;
use super::parameters::{Backward, Forward, ImageParameters, Model, Parameters, VALUES};
use super::{
    AlignedImages, AlignmentError, AlignmentImage, AlignmentOptions, AlignmentPair, AlignmentProblem,
    KinematicTree, StageOptions, Start, TreeChoice, maximum_spanning, ward,
};
use rayon::prelude::*;
use steropes_ops::geometry::sparse_alignment::{
    FrameTargets, MatchedPixel, PairMatches, SparseAlignment, ViewShape,
};
use steropes_tensor::Device;

/// One of the two stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Rigid clouds with sizes; distances of world points.
    Coarse,
    /// Cameras, intrinsics and depths; distances of projections and pixels.
    Fine,
}

/// Loss, its derivatives and the scene at some parameters.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The loss with all its terms.
    pub loss: f64,
    /// Derivatives of the loss.
    pub gradient: Parameters,
    /// Cameras and depths.
    pub images: AlignedImages,
}

/// A problem made ready for repeated evaluation.
pub struct Aligner {
    setting: Setting,
    engine: Engine,
}

/// What stays the same from step to step.
pub(super) struct Setting {
    pub(super) options: AlignmentOptions,
    pub(super) model: Model,
    /// Starting values; the priors pull towards them.
    pub(super) identity: Parameters,
}

/// Where the steps are taken.
enum Engine {
    Host(Box<Host>),
    Device(Box<OnDevice>),
}

/// What the losses are made of.
pub(super) struct Observations<'a> {
    pub(super) pairs: Vec<PairMatches<'a>>,
    /// Matched pixels per image, for pairs that use targets.
    pub(super) matched: Vec<Vec<MatchedPixel>>,
    pub(super) targets: Vec<FrameTargets>,
}

impl Aligner {
    /// Checks and packs the problem and builds the kinematic tree.
    ///
    /// # Errors
    /// [`AlignmentError`] if problem and options do not fit together, or the device of the options cannot take them.
    pub fn new(problem: &AlignmentProblem, options: &AlignmentOptions) -> Result<Self, AlignmentError> {
        problem.check()?;
        let images = &problem.images;
        let tree = tree(problem, &options.tree)?;
        let model = Model::new(images, tree);
        let identity = model.identity(images, options.shared_intrinsics);
        let setting = Setting { options: options.clone(), model, identity };
        let observations = Observations::new(problem, options.weak_pair_confidence);
        let engine = match &options.device {
            Device::Cpu => Engine::Host(Box::new(Host::new(&setting, images, observations)?)),
            Device::Gpu(gpu) => Engine::Device(Box::new(OnDevice::new(&setting, gpu, &observations)?)),
        };
        Ok(Self { setting, engine })
    }

    /// The kinematic tree.
    pub fn tree(&self) -> &KinematicTree {
        self.setting.model.tree()
    }

    /// The parameters where the options start.
    ///
    /// # Errors
    /// [`AlignmentError`] if the given cameras or parameters do not fit the problem.
    pub fn start(&self, problem: &AlignmentProblem) -> Result<Parameters, AlignmentError> {
        let Setting { options, model, identity } = &self.setting;
        match &options.start {
            Start::Identity => Ok(identity.clone()),
            Start::Cameras(cameras) => initial_parameters(problem, cameras, model, identity.clone()),
            Start::Parameters(p) => {
                self.setting.check(p)?;
                Ok(p.clone())
            }
        }
    }

    /// Loss, derivatives and scene at `parameters`.
    ///
    /// # Errors
    /// [`AlignmentError`] if the parameters do not fit the problem.
    pub fn evaluate(&mut self, stage: Stage, parameters: &Parameters) -> Result<Evaluation, AlignmentError> {
        self.setting.check(parameters)?;
        match &mut self.engine {
            Engine::Host(host) => host.evaluate(&self.setting, stage, parameters),
            Engine::Device(device) => device.evaluate(&self.setting, stage, parameters),
        }
    }

    /// Runs all steps of a stage on `parameters`. Returns the loss before every step, and the scene before the last
    /// one (or at `parameters` if there is no step). A GPU takes all steps before the host looks at any.
    ///
    /// # Errors
    /// [`AlignmentError::NotFinite`] if the loss is not finite.
    pub fn run(
        &mut self,
        stage: Stage,
        parameters: &mut Parameters,
    ) -> Result<(Vec<f64>, AlignedImages), AlignmentError> {
        self.setting.check(parameters)?;
        match &mut self.engine {
            Engine::Host(host) => host.run(&self.setting, stage, parameters),
            Engine::Device(device) => device.run(&self.setting, stage, parameters),
        }
    }
}

impl<'a> Observations<'a> {
    fn new(problem: &'a AlignmentProblem, weak_pair_confidence: f32) -> Self {
        let strong = |p: &&AlignmentPair| p.confidence.iter().any(|&c| c > weak_pair_confidence);
        let pairs = problem.pairs.iter().filter(strong).map(packed_pair).collect();
        let weak = |t: &&FrameTargets| {
            let pair = [t.view.min(t.frame), t.view.max(t.frame)];
            let same =
                |p: &&AlignmentPair| [p.images[0].min(p.images[1]), p.images[0].max(p.images[1])] == pair;
            problem.pairs.iter().find(same).is_some_and(|p| !strong(&p))
        };
        let targets: Vec<_> = problem.targets.iter().filter(weak).cloned().collect();
        let matched = if targets.is_empty() { Vec::new() } else { matched_pixels(problem) };
        Self { pairs, matched, targets }
    }
}

impl Setting {
    fn check(&self, p: &Parameters) -> Result<(), AlignmentError> {
        let (found, expected) =
            ([p.images.len(), p.depths.len()], [self.identity.images.len(), self.model.anchors()]);
        if found == expected {
            return Ok(());
        }
        let expected = format!("{} images with {} anchors", expected[0], expected[1]);
        Err(AlignmentError::value("parameters", expected, format!("{} and {}", found[0], found[1])))
    }

    /// The steps of a stage.
    pub(super) fn schedule(&self, stage: Stage) -> StageOptions {
        match stage {
            Stage::Coarse => self.options.coarse,
            Stage::Fine => self.options.fine,
        }
    }

    /// Which values of [`ImageParameters`] a stage moves, and whether depths move.
    pub(super) fn moves(&self, stage: Stage) -> ([bool; VALUES], bool) {
        let mut image = [true; VALUES];
        if stage == Stage::Coarse {
            image[8..].fill(false);
            return (image, false);
        }
        image[9..].fill(self.options.optimise_principal);
        (image, self.options.optimise_depth)
    }
}

/// Steps on the CPU, in f64 but for the losses per match.
struct Host {
    kernel: SparseAlignment,
    matched: Vec<Vec<MatchedPixel>>,
    targets: Vec<FrameTargets>,
    forward: Forward,
    back: Backward,
    gradient: Parameters,
}

impl Host {
    fn new(
        setting: &Setting,
        images: &[AlignmentImage],
        observations: Observations<'_>,
    ) -> Result<Self, AlignmentError> {
        let shape = |i: &AlignmentImage| ViewShape { anchors: i.anchor_depths.len(), observes: true };
        let shapes: Vec<_> = images.iter().map(shape).collect();
        let Observations { pairs, matched, targets } = observations;
        Ok(Self {
            kernel: SparseAlignment::new(&shapes, &pairs, setting.options.precision)?,
            matched,
            targets,
            forward: Forward::default(),
            back: Backward::default(),
            gradient: setting.identity.clone(),
        })
    }

    fn evaluate(
        &mut self,
        setting: &Setting,
        stage: Stage,
        parameters: &Parameters,
    ) -> Result<Evaluation, AlignmentError> {
        self.prepare(setting, stage, parameters)?;
        let loss = self.step(setting, stage, parameters)?;
        let images = setting.model.aligned(&self.forward);
        Ok(Evaluation { loss, gradient: self.gradient.clone(), images })
    }

    fn run(
        &mut self,
        setting: &Setting,
        stage: Stage,
        parameters: &mut Parameters,
    ) -> Result<(Vec<f64>, AlignedImages), AlignmentError> {
        let options = setting.schedule(stage);
        self.prepare(setting, stage, parameters)?;
        let mut adam = Adam::new(parameters);
        let moves = setting.moves(stage);
        let mut losses = Vec::with_capacity(options.iterations);
        for iteration in 0..options.iterations {
            let loss = self.step(setting, stage, parameters)?;
            losses.push(loss);
            if !loss.is_finite() {
                return Err(AlignmentError::NotFinite { stage, iteration, loss });
            }
            let progress = iteration as f64 / options.iterations as f64;
            let rate = options.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
            adam.step(parameters, &self.gradient, rate, &moves);
            for image in &mut parameters.images {
                let norm = image.quaternion.iter().map(|v| v * v).sum::<f64>().sqrt();
                image.quaternion = image.quaternion.map(|v| v / norm);
            }
        }
        if options.iterations == 0 {
            setting.model.forward(parameters, &mut self.forward);
        }
        Ok((losses, setting.model.aligned(&self.forward)))
    }

    /// Freezes the clouds of the coarse stage.
    fn prepare(
        &mut self,
        setting: &Setting,
        stage: Stage,
        parameters: &Parameters,
    ) -> Result<(), AlignmentError> {
        if stage == Stage::Coarse {
            setting.model.forward(parameters, &mut self.forward);
            let depths = setting.model.unit_depths(parameters, &self.forward);
            self.kernel.freeze(&self.forward.views, &depths)?;
        }
        Ok(())
    }

    /// Fills `forward` and `gradient`; returns the loss.
    fn step(
        &mut self,
        setting: &Setting,
        stage: Stage,
        parameters: &Parameters,
    ) -> Result<f64, AlignmentError> {
        setting.model.forward(parameters, &mut self.forward);
        self.back.clear(parameters.images.len(), parameters.depths.len());
        let (f, b) = (&self.forward, &mut self.back);
        let mut loss = match stage {
            Stage::Coarse => self.kernel.coarse(&f.rigid, &mut b.rigid)?,
            Stage::Fine => self.kernel.fine(&f.views, &f.depths, &mut b.pinhole, &mut b.depths)?,
        };
        if !self.targets.is_empty() {
            let lists = (self.matched.as_slice(), self.targets.as_slice());
            let weight = setting.options.fallback_weight;
            let scene = (f.views.as_slice(), f.depths.as_slice());
            loss += weight * self.kernel.fallback(lists, scene, weight, &mut b.pinhole, &mut b.depths)?;
        }
        self.gradient.images.fill(ImageParameters::default());
        self.gradient.depths.fill(0.0);
        setting.model.backward(parameters, f, b, &mut self.gradient);
        loss += self.priors(setting, stage, parameters);
        if setting.options.shared_intrinsics {
            share(&mut self.gradient.images);
        }
        Ok(loss)
    }

    /// Adds the derivatives of the priors; returns their loss.
    fn priors(&mut self, setting: &Setting, stage: Stage, parameters: &Parameters) -> f64 {
        let (focal, principal) = (setting.options.focal_prior, setting.options.principal_prior);
        if stage == Stage::Coarse || (focal == 0.0 && principal == 0.0) {
            return 0.0;
        }
        let share = 1.0 / parameters.images.len() as f64;
        let mut loss = 0.0;
        let lists = parameters.images.iter().zip(&setting.identity.images).zip(&mut self.gradient.images);
        for ((p, start), gradient) in lists {
            let d = p.log_focal - start.log_focal;
            loss += share * focal * d * d;
            gradient.log_focal += 2.0 * share * focal * d;
            for k in 0..2 {
                let d = p.center[k] - start.center[k];
                loss += share * principal * d * d;
                gradient.center[k] += 2.0 * share * principal * d;
            }
        }
        loss
    }
}

/// Derivatives by one shared focal length and principal point: the same sum in every entry, so that equal values
/// stay equal and each is moved once per step.
fn share(images: &mut [ImageParameters]) {
    let mut total = ImageParameters::default();
    for image in images.iter() {
        total.log_focal += image.log_focal;
        total.center[0] += image.center[0];
        total.center[1] += image.center[1];
    }
    for image in images {
        (image.log_focal, image.center) = (total.log_focal, total.center);
    }
}

fn tree(problem: &AlignmentProblem, choice: &TreeChoice) -> Result<KinematicTree, AlignmentError> {
    let images = problem.images.len();
    match choice {
        TreeChoice::Given(tree) => KinematicTree::new(tree.root(), tree.edges().to_vec(), images),
        TreeChoice::MaximumSpanning => {
            KinematicTree::from_center(&maximum_spanning(&problem.counts())?, images)
        }
        TreeChoice::Ward => {
            let anchors: Vec<_> = problem.images.iter().map(|i| i.anchor_depths.len()).collect();
            KinematicTree::from_center(&ward(&problem.counts(), &anchors)?.edges, images)
        }
    }
}

fn packed_pair(p: &AlignmentPair) -> PairMatches<'_> {
    PairMatches {
        views: p.images,
        pixels: p.pixels.each_ref().map(Vec::as_slice),
        anchors: p.anchors.each_ref().map(Vec::as_slice),
        offsets: p.offsets.each_ref().map(Vec::as_slice),
        weights: &p.confidence,
    }
}

/// The matched pixels of each image over all of its pairs.
fn matched_pixels(problem: &AlignmentProblem) -> Vec<Vec<MatchedPixel>> {
    let mut matched = vec![Vec::new(); problem.images.len()];
    for pair in &problem.pairs {
        for side in 0..2 {
            let ends = pair.pixels[side].iter().zip(&pair.anchors[side]).zip(&pair.offsets[side]);
            matched[pair.images[side]].extend(ends.map(|((&pixel, &anchor), &offset)| MatchedPixel {
                pixel,
                anchor,
                offset,
            }));
        }
    }
    matched
}

/// Adam with both decay rates 0.9 (arXiv:1412.6980).
struct Adam {
    steps: i32,
    images: Vec<[[f64; 2]; VALUES]>,
    depths: [Vec<f64>; 2],
}

const DECAY: f64 = 0.9;
const EPSILON: f64 = 1e-8;
/// Depths that one thread takes at a time.
const SHARE: usize = 4096;

impl Adam {
    fn new(parameters: &Parameters) -> Self {
        let zeros = vec![0.0; parameters.depths.len()];
        let images = vec![[[0.0; 2]; VALUES]; parameters.images.len()];
        Self { steps: 0, images, depths: [zeros.clone(), zeros] }
    }

    fn step(
        &mut self,
        parameters: &mut Parameters,
        gradient: &Parameters,
        rate: f64,
        moves: &([bool; VALUES], bool),
    ) {
        self.steps += 1;
        let correction = 1.0 - DECAY.powi(self.steps);
        let images = parameters.images.iter_mut().zip(&gradient.images).zip(&mut self.images);
        for ((p, g), state) in images {
            let (mut values, g) = (p.to_array(), g.to_array());
            for k in (0..VALUES).filter(|&k| moves.0[k]) {
                let [mean, square] = &mut state[k];
                *mean += (1.0 - DECAY) * (g[k] - *mean);
                *square += (1.0 - DECAY) * (g[k] * g[k] - *square);
                values[k] -= rate / correction * *mean / ((*square / correction).sqrt() + EPSILON);
            }
            *p = ImageParameters::from_array(values);
        }
        if moves.1 {
            self.step_depths(&mut parameters.depths, &gradient.depths, (rate / correction, correction));
        }
    }

    fn step_depths(&mut self, depths: &mut [f64], gradient: &[f64], (rate, correction): (f64, f64)) {
        let root = 1.0 / correction.sqrt();
        let [means, squares] = &mut self.depths;
        let state = means.par_chunks_mut(SHARE).zip(squares.par_chunks_mut(SHARE));
        let work = depths.par_chunks_mut(SHARE).zip(gradient.par_chunks(SHARE)).zip(state);
        work.for_each(|((depths, gradient), (means, squares))| {
            for i in 0..depths.len() {
                means[i] += (1.0 - DECAY) * (gradient[i] - means[i]);
                squares[i] += (1.0 - DECAY) * (gradient[i] * gradient[i] - squares[i]);
                depths[i] -= rate * means[i] / (squares[i].sqrt() * root + EPSILON);
            }
        });
    }
}
