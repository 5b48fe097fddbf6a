//! Outputs of the embedded model that are stored with it, to see whether a device gives them too.

use super::{Encoded, Model, ViewOutput};
use crate::ModelError;
use safetensors::SafeTensors;
use steropes_nn::WeightType;
use steropes_testkit::{Verdict, floats};

/// Two images and what the embedded model said about them in f32.
static STORED: &[u8] = include_bytes!("../../../../models/steropes-tiny/golden_forward.safetensors");

/// The stored pair of the embedded model.
#[derive(Debug)]
pub struct StoredPair {
    file: SafeTensors<'static>,
}

/// How far outputs may be from the stored ones, relative to the largest stored value of each tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairTolerance {
    /// Largest error of a point or confidence.
    pub points: f64,
    /// Largest error of a descriptor or its confidence.
    pub descriptors: f64,
    /// Root mean square error of any tensor.
    pub rms: f64,
}

impl PairTolerance {
    /// What the rounding of weights and between layers explains in a precision.
    pub fn of(precision: WeightType) -> Self {
        match precision {
            WeightType::F16 => Self { points: 1e-2, descriptors: 1.2e-2, rms: 2e-3 },
            WeightType::Bf16 | WeightType::Q8 => Self { points: 3e-2, descriptors: 5e-2, rms: 1e-2 },
            WeightType::Int8 => Self { points: 6e-2, descriptors: 1e-1, rms: 2e-2 },
            WeightType::Q4 => Self { points: 3e-1, descriptors: 5e-1, rms: 1e-1 },
            WeightType::F32 => Self { points: 5e-5, descriptors: 1e-5, rms: 3e-6 },
        }
    }
}

impl StoredPair {
    /// The stored pair.
    ///
    /// # Panics
    /// Never: the file is part of the program.
    pub fn embedded() -> Self {
        Self { file: SafeTensors::deserialize(STORED).expect("the file was checked when it was stored") }
    }

    /// The outputs of `model`, which is the embedded one, for both stored images.
    ///
    /// # Errors
    /// [`ModelError`] if the device failed.
    pub fn run(&self, model: &Model) -> Result<[ViewOutput; 2], ModelError> {
        let [one, two] = ["img1", "img2"].map(|name| self.encode(model, name));
        let (view1, view2) = model.decode(&one?, &two?)?;
        Ok([view1, view2])
    }

    fn encode(&self, model: &Model, name: &str) -> Result<Encoded, ModelError> {
        let view = self.file.tensor(name).expect("the file holds both images");
        let &[_, _, height, width] = view.shape() else { unreachable!("images have four extents") };
        let planes = self.values(name);
        let pixels = (0..height * width).flat_map(|p| [0, 1, 2].map(|c| planes[c * height * width + p]));
        model.encode(&model.image([1, height, width, 3], pixels.collect())?)
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let view = self.file.tensor(name).expect("the file holds all outputs");
        view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
    }

    /// Compares outputs with the stored ones; the worst tensor in one line.
    ///
    /// # Errors
    /// What differs by more than `tolerance`, or what the device said.
    pub fn check(&self, outputs: &[ViewOutput; 2], tolerance: &PairTolerance) -> Verdict {
        for (view, output) in ["view1", "view2"].into_iter().zip(outputs) {
            for (part, tensor, largest) in [
                ("pts3d", Some(&output.points), tolerance.points),
                ("conf", Some(&output.confidence), tolerance.points),
                ("desc", output.descriptors.as_ref(), tolerance.descriptors),
                ("desc_conf", output.descriptor_confidence.as_ref(), tolerance.descriptors),
            ] {
                let name = format!("{view}.{part}");
                let tensor = tensor.ok_or_else(|| format!("{name} is missing"))?;
                let stored = self.file.tensor(&name).expect("the file holds all outputs");
                if tensor.shape() != stored.shape() {
                    let (got, want) = (tensor.shape(), stored.shape());
                    return Err(format!("{name} has shape {got:?}, expected {want:?}"));
                }
                let errors = errors(&floats(tensor)?, &self.values(&name));
                errors.check(&name, largest, tolerance.rms)?;
            }
        }
        Ok(())
    }
}

/// Errors relative to the largest expected value.
struct Errors {
    largest: f64,
    at: usize,
    rms: f64,
}

fn errors(got: &[f32], want: &[f32]) -> Errors {
    let scale = want.iter().fold(0.0f64, |m, &w| m.max(f64::from(w).abs())).max(1e-30);
    let (mut largest, mut at, mut squares) = (0.0f64, 0, 0.0f64);
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - f64::from(w)).abs() / scale;
        let error = if error.is_nan() { f64::INFINITY } else { error };
        squares += error * error;
        if error > largest {
            (largest, at) = (error, i);
        }
    }
    Errors { largest, at, rms: (squares / want.len() as f64).sqrt() }
}

impl Errors {
    fn check(&self, name: &str, largest: f64, rms: f64) -> Verdict {
        let Self { largest: error, at, rms: mean } = self;
        log::info!("{name}: largest error {error:.1e}, root mean square {mean:.1e} of the largest value");
        if *error > largest {
            return Err(format!(
                "{name}, element {at}: error {error:.1e} of the largest value, allowed {largest:.1e}"
            ));
        }
        if *mean > rms {
            return Err(format!(
                "{name}: root mean square error {mean:.1e} of the largest value, allowed {rms:.1e}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_and_nan_is_one() {
        let close = errors(&[2.0, 1.0], &[2.0, 1.1]);
        assert!((close.largest - 0.05).abs() < 1e-6 && close.at == 1);
        assert!(close.check("x", 0.06, 0.04).is_ok());
        assert!(close.check("x", 0.04, 0.04).is_err() && close.check("x", 0.06, 0.03).is_err());
        assert!(errors(&[f32::NAN], &[1.0]).check("x", 1.0, 1.0).is_err());
    }
}
