//! Fine-tuning of the descriptors of a two-view network on generated scenes.

use crate::scenes::{Pair, Pixel, mixed};
use crate::{Named, Network, Parameters, Source, Tape, TrainError, Var, Views, state};
use rayon::prelude::*;
use serde::Serialize;
use std::path::Path;
use steropes_ops::loss::conf_matching_loss::ConfMatchingOptions;
use steropes_ops::loss::info_nce::InfoNceOptions;
use steropes_ops::optim::adamw::{AdamW, adamw};
use steropes_ops::optim::clip_grad_norm::clip_grad_norm;
use steropes_tensor::{Device, Tensor};

/// Which parts of a network are trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Trained {
    /// The descriptor heads: points stay as they are.
    Heads,
    /// The descriptor heads and the decoder.
    #[default]
    Decoder,
    /// These and the encoder.
    All,
}

impl Trained {
    /// What the names of the parameters begin with.
    fn prefixes(self) -> &'static [&'static str] {
        const ALL: [&str; 9] = [
            "downstream_head1.head_local_features.",
            "downstream_head2.head_local_features.",
            "decoder_embed.",
            "dec_blocks.",
            "dec_blocks2.",
            "dec_norm.",
            "patch_embed.",
            "enc_blocks.",
            "enc_norm.",
        ];
        match self {
            Self::Heads => &ALL[..2],
            Self::Decoder => &ALL[..6],
            Self::All => &ALL,
        }
    }
}

/// How a network is trained. Together with the weights they decide every bit of the result on one device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// What is trained.
    pub trained: Trained,
    /// Height and width of the pictures, multiples of the patch.
    pub size: [usize; 2],
    /// Pairs of pictures in a step.
    pub pairs: usize,
    /// Correspondences of each pair.
    pub matches: usize,
    /// Pixels of each pair that correspond to nothing: they only count in the denominators.
    pub negatives: usize,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps in which the learning rate grows from 0.
    pub warm_up: u64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub max_norm: f32,
    /// Of InfoNCE.
    pub temperature: f32,
    /// Weight of the logarithm of a confidence.
    pub alpha: f32,
    /// Decides all scenes.
    pub seed: u64,
    /// Whether blocks keep nothing for the gradients and run again: less memory, more time, and sums in another order.
    pub checkpoints: bool,
}

impl Default for Settings {
    /// Pictures of 160x128 pixels, 4 pairs a step with 256 matches each; losses as in MASt3R's training.
    fn default() -> Self {
        Self {
            trained: Trained::Decoder,
            size: [128, 160],
            pairs: 4,
            matches: 256,
            negatives: 128,
            learning_rate: 1e-4,
            warm_up: 20,
            weight_decay: 0.0,
            max_norm: 1.0,
            temperature: 0.05,
            alpha: 10.0,
            seed: 0,
            checkpoints: false,
        }
    }
}

impl Settings {
    fn check(&self, patch: usize) -> Result<(), TrainError> {
        let wrong = |name, expected, found: String| Err(TrainError::Setting { name, expected, found });
        if self.size.iter().any(|&side| side == 0 || !side.is_multiple_of(patch)) {
            return wrong(
                "size",
                "two multiples of the patch",
                format!("{:?} for patches of {patch}", self.size),
            );
        }
        if self.pairs == 0 {
            return wrong("pairs", "at least 1", "0".to_owned());
        }
        if self.matches < 2 {
            return wrong("matches", "at least 2", self.matches.to_string());
        }
        Ok(())
    }

    fn optimiser(&self, step: u64) -> AdamW {
        let warmth = (step as f64 / self.warm_up.max(1) as f64).min(1.0);
        // Second moments of few steps: a longer memory would be that of the first of them.
        let betas = [0.9, 0.99];
        AdamW { lr: self.learning_rate * warmth, betas, weight_decay: self.weight_decay, ..AdamW::default() }
    }
}

/// Pairs of views with sampled pixels, on a device.
#[derive(Clone, Debug)]
pub struct Batch {
    views: [Views; 2],
    /// (image, row, column) of the rows of all pairs.
    pixels: [Vec<[u32; 3]>; 2],
    /// `[pairs, rows]`.
    valid: Tensor,
}

impl Batch {
    /// The pairs of `seeds`.
    ///
    /// # Errors
    /// [`TrainError`] if the device has no memory for them.
    pub fn new(
        device: &Device,
        patch: usize,
        settings: &Settings,
        seeds: &[u64],
    ) -> Result<Self, TrainError> {
        let [height, width] = settings.size;
        let pairs: Vec<Pair> = seeds.par_iter().map(|&seed| Pair::new(seed, settings.size)).collect();
        let views = |view: usize| {
            let values: Vec<f32> = pairs.iter().flat_map(|pair| pair.values(view)).collect();
            Views::new(device, [pairs.len(), height, width], patch, &values)
        };
        let rows = settings.matches + settings.negatives;
        let (mut pixels, mut valid) = ([Vec::new(), Vec::new()], Vec::new());
        for (image, pair) in pairs.iter().enumerate() {
            let sample = pair.sample(settings.matches, rows);
            for (all, own) in pixels.iter_mut().zip(&sample.pixels) {
                all.extend(own.iter().map(|&[row, column]| [image as u32, row, column]));
            }
            valid.extend(sample.valid);
        }
        let valid = Tensor::new(device, &[pairs.len(), rows], valid)?;
        Ok(Self { views: [views(0)?, views(1)?], pixels, valid })
    }
}

/// What a step says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// The loss that was made smaller: InfoNCE weighted by confidences.
    pub loss: f32,
    /// The mean InfoNCE of a correspondence.
    pub info_nce: f32,
    /// The norm of the gradient before it was clipped; 0 where none was computed.
    pub gradient_norm: f32,
}

/// A network in training.
#[derive(Debug)]
pub struct Trainer {
    network: Network,
    parameters: Parameters,
    settings: Settings,
    step: u64,
}

impl Trainer {
    /// Before the first step.
    ///
    /// # Errors
    /// [`TrainError`] if the network cannot be trained, or a setting is out of its range.
    pub fn new(source: Source, device: &Device, settings: Settings) -> Result<Self, TrainError> {
        let optimiser = settings.optimiser(0);
        let (mut network, parameters) =
            Parameters::load(source, device, settings.trained.prefixes(), &optimiser)?;
        settings.check(network.patch())?;
        network.checkpoints = settings.checkpoints;
        Ok(Self { network, parameters, settings, step: 0 })
    }

    /// The parameters as they are now.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// How it is trained.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// A step on the scenes that are its own.
    ///
    /// # Errors
    /// [`TrainError::Diverged`], or another if an op or the device failed.
    pub fn step(&mut self) -> Result<Report, TrainError> {
        let pairs = self.settings.pairs as u64;
        let seeds: Vec<u64> = (0..pairs).map(|i| self.seed(TRAINING, self.step * pairs + i)).collect();
        self.step_on(&self.batch(&seeds)?)
    }

    /// The pairs of `seeds` as this trainer reads them.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn batch(&self, seeds: &[u64]) -> Result<Batch, TrainError> {
        Batch::new(self.parameters.device(), self.network.patch(), &self.settings, seeds)
    }

    fn seed(&self, purpose: u64, number: u64) -> u64 {
        mixed(mixed(self.settings.seed, purpose), number)
    }

    /// A step on a batch.
    ///
    /// # Errors
    /// As [`Trainer::step`]; parameters are then as they were.
    pub fn step_on(&mut self, batch: &Batch) -> Result<Report, TrainError> {
        let tape = Tape::new();
        let (named, variables) = self.parameters.on(&tape);
        let [loss, info_nce] = self.loss(&tape, &named, batch)?;
        let gradients = tape.gradients(&loss)?;
        let zeros = |var: &Var| Tensor::zeros::<f32>(&var.value().device(), var.shape());
        let mut own: Vec<Tensor> =
            variables.iter().map(|var| gradients.of(var).cloned().unwrap_or_else(|| zeros(var))).collect();
        drop((tape, gradients, named, variables));
        let norm = clip_grad_norm(&mut own, self.settings.max_norm)?;
        let report = Report {
            loss: number(loss.value())?,
            info_nce: number(info_nce.value())?,
            gradient_norm: number(&norm)?,
        };
        if !(report.loss.is_finite() && report.gradient_norm.is_finite()) {
            return Err(TrainError::Diverged(self.step + 1));
        }
        let optimiser = self.settings.optimiser(self.step + 1);
        adamw(&optimiser, &mut self.parameters.trained, &own.iter().collect::<Vec<_>>())?;
        self.step += 1;
        Ok(report)
    }

    /// The loss of a batch with the parameters as they are, without a step.
    ///
    /// # Errors
    /// [`TrainError`] if an op or the device failed.
    pub fn measure(&self, batch: &Batch) -> Result<Report, TrainError> {
        let [loss, info_nce] = self.loss(&Tape::new(), &self.parameters.constants(), batch)?;
        Ok(Report { loss: number(loss.value())?, info_nce: number(info_nce.value())?, gradient_norm: 0.0 })
    }

    /// The loss `[]` of parameters that are given by their names, and the mean InfoNCE of the correspondences.
    ///
    /// # Errors
    /// [`TrainError`] if a parameter is missing, or an op or the device failed.
    pub fn loss(&self, tape: &Tape, named: &Named, batch: &Batch) -> Result<[Var; 2], TrainError> {
        let rows = batch.valid.shape().to_vec();
        let views = self.network.forward(tape, named, [&batch.views[0], &batch.views[1]])?;
        let view = |i: usize| -> Result<[Var; 2], TrainError> {
            let [unit, confidence] = self.network.descriptors(tape, named, i, &views[i], &batch.pixels[i])?;
            let shape = [rows[0], rows[1], self.network.descriptor_dim()];
            Ok([tape.reshape(&unit, &shape)?, tape.reshape(&confidence, &rows)?])
        };
        let ([one, sure1], [other, sure2]) = (view(0)?, view(1)?);
        let options = InfoNceOptions { temperature: self.settings.temperature, ..InfoNceOptions::default() };
        let each = tape.info_nce([&one, &other], &batch.valid, &options)?;
        let options = ConfMatchingOptions { alpha: self.settings.alpha, ..ConfMatchingOptions::default() };
        let loss = tape.conf_matching_loss(&each, [&sure1, &sure2], &batch.valid, &options)?;
        let matches = batch.valid.read::<u8>()?.iter().filter(|&&valid| valid != 0).count();
        let sum = tape.sum_all(&Var::constant(each.value().clone()))?;
        Ok([loss, tape.scale(&sum, 1.0 / matches as f64)?])
    }

    /// `scenes` scenes that no step sees.
    ///
    /// # Errors
    /// As [`Batch::new`].
    pub fn held_out(&self, scenes: u64) -> Result<Batch, TrainError> {
        self.batch(&(0..scenes).map(|scene| self.seed(HELD_OUT, scene)).collect::<Vec<_>>())
    }

    /// The share of the correspondences of the scenes of [`Trainer::held_out`] whose descriptor has its nearest one of all pixels of the
    /// other picture within 2 pixels of where it belongs.
    ///
    /// # Errors
    /// [`TrainError`] if an op or the device failed.
    pub fn evaluate(&self, scenes: u64) -> Result<f64, TrainError> {
        let named = self.parameters.constants();
        let (mut right, mut all) = (0, 0);
        for scene in 0..scenes {
            let pair = Pair::new(self.seed(HELD_OUT, scene), self.settings.size);
            let [found, count] = self.matched(&named, &pair)?;
            (right, all) = (right + found, all + count);
        }
        Ok(right as f64 / all.max(1) as f64)
    }

    /// How many of the correspondences of a pair are found, and of how many.
    fn matched(&self, named: &Named, pair: &Pair) -> Result<[usize; 2], TrainError> {
        let (tape, [height, width]) = (Tape::new(), pair.size);
        let views = |i: usize| {
            let values: Vec<f32> = pair.values(i).collect();
            Views::new(self.parameters.device(), [1, height, width], self.network.patch(), &values)
        };
        let tokens = self.network.forward(&tape, named, [&views(0)?, &views(1)?])?;
        let sample = pair.sample(self.settings.matches, self.settings.matches);
        let wanted: Vec<Pixel> = sample.pixels[0]
            .iter()
            .zip(&sample.valid)
            .filter(|(_, v)| **v != 0)
            .map(|(&pixel, _)| pixel)
            .collect();
        let every: Vec<Pixel> =
            (0..height as u32).flat_map(|row| (0..width as u32).map(move |column| [row, column])).collect();
        let read = |i: usize, pixels: &[Pixel]| -> Result<Vec<f32>, TrainError> {
            let pixels: Vec<_> = pixels.iter().map(|&[row, column]| [0, row, column]).collect();
            let [unit, _] = self.network.descriptors(&tape, named, i, &tokens[i], &pixels)?;
            Ok(unit.value().read()?)
        };
        let dim = self.network.descriptor_dim();
        let (queries, keys) = (read(0, &wanted)?, read(1, &every)?);
        let is_right = |(query, &pixel): (&[f32], &Pixel)| {
            let product = |key: &[f32]| query.iter().zip(key).map(|(a, b)| a * b).sum::<f32>();
            let best = keys.chunks_exact(dim).map(product).enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
            best.is_some_and(|(i, _)| pair.error(pixel, every[i]) <= 2.0)
        };
        let right = queries.par_chunks_exact(dim).zip(&wanted).filter(|&(q, p)| is_right((q, p))).count();
        Ok([right, wanted.len()])
    }

    /// Writes a folder that `--model` takes.
    ///
    /// # Errors
    /// [`TrainError::File`] if a file is not written.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        self.parameters.write(folder)
    }

    /// Writes what [`Trainer::resume`] goes on from.
    ///
    /// # Errors
    /// [`TrainError::File`] if the file is not written.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        state::write(path, &self.parameters, &self.settings, self.step)
    }

    /// Goes on from a file of [`Trainer::save`]: steps give the same bits as they would have given without the break.
    ///
    /// # Errors
    /// [`TrainError::State`] if it is not the state of a training of the same network with the same settings, or [`TrainError::File`].
    pub fn resume(&mut self, path: &Path) -> Result<(), TrainError> {
        self.step = state::read(path, &mut self.parameters, &self.settings)?;
        Ok(())
    }
}

/// What scenes are for.
const TRAINING: u64 = 0;
const HELD_OUT: u64 = 1;

fn number(tensor: &Tensor) -> Result<f32, TrainError> {
    Ok(tensor.read::<f32>()?[0])
}
