//! Sines and cosines for `rope`.

use crate::error::OpError;
use rayon::prelude::*;
use std::f64::consts::TAU;
use steropes_tensor::{Device, Tensor, TensorError};

const OP: &str = "position::rope_tables";

/// How frequencies are stretched for sequences longer than those of the training. `f` is the frequency
/// `base^(-2 i / rotary_dim)` of pair `i`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// `f`.
    None,
    /// `f / factor`: position interpolation, arXiv:2306.15595.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// `f` for the base `base factor^(rotary_dim / (rotary_dim - 2))`: the slowest pair is stretched by `factor`, the fastest
    /// not at all ("NTK-aware"). The dynamic form for a sequence of `len` tokens and a training on `original_len` is this one with
    /// `factor len / original_len - (factor - 1)` in the place of its factor.
    Ntk {
        /// At least 1.
        factor: f64,
    },
    /// That of Llama 3.1. With the turns `t = original_len f / (2 pi)` of a pair over the context of the training, `f` for `t` from
    /// `high_freq_factor` on, `f / factor` for `t` up to `low_freq_factor`, between them
    /// `(1 - s) f / factor + s f` with `s = (t - low_freq_factor) / (high_freq_factor - low_freq_factor)`.
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Above 0.
        low_freq_factor: f64,
        /// Above `low_freq_factor`.
        high_freq_factor: f64,
        /// Tokens of the context of the training.
        original_len: usize,
    },
}

impl RopeScaling {
    fn check(self) -> Result<(), OpError> {
        let check = |name, fits: bool, expected: &str, found: f64| {
            if fits && found.is_finite() { Ok(()) } else { Err(OpError::value(OP, name, expected, found)) }
        };
        let check_factor = |factor| check("factor", factor >= 1.0, "a finite number from 1 on", factor);
        match self {
            Self::None => Ok(()),
            Self::Linear { factor } | Self::Ntk { factor } => check_factor(factor),
            Self::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_len } => {
                check_factor(factor)?;
                check("low_freq_factor", low > 0.0, "a finite number above 0", low)?;
                check("high_freq_factor", high > low, "a finite number above low_freq_factor", high)?;
                check("original_len", original_len > 0, "above 0", original_len as f64)
            }
        }
    }

    /// Radians of pair `i` at position 1.
    fn frequency(self, i: usize, rotary_dim: usize, base: f64) -> f64 {
        let share = 2.0 * i as f64 / rotary_dim as f64;
        let plain = base.powf(-share);
        match self {
            Self::None => plain,
            Self::Linear { factor } => plain / factor,
            // With one pair the exponent of the factor is infinite, but its frequency is 1 for every base.
            Self::Ntk { .. } if i == 0 => plain,
            Self::Ntk { factor } => {
                let stretched = base * factor.powf(rotary_dim as f64 / (rotary_dim as f64 - 2.0));
                stretched.powf(-share)
            }
            Self::Llama3 { factor, low_freq_factor: low, high_freq_factor: high, original_len } => {
                let turns = original_len as f64 * plain / TAU;
                if turns >= high {
                    plain
                } else if turns <= low {
                    plain / factor
                } else {
                    let smooth = (turns - low) / (high - low);
                    (1.0 - smooth) * plain / factor + smooth * plain
                }
            }
        }
    }
}

/// The tables `(cos, sin)` of [`rope`](super::rope()): a row for each of `positions`, in their order, for example `0..4096`.
///
/// # Shapes
/// - returns: twice `[positions, rotary_dim / 2]`, f32
///
/// # Units
/// Angles are radians.
///
/// # Numerics
/// Frequencies, angles, sines and cosines in f64, rounded once.
///
/// # Errors
/// [`OpError::Value`] if `rotary_dim` is odd, `base` is not a finite number above 0, or a number of `scaling` is out of its range;
/// [`OpError::Failed`] if a GPU has no memory for the tables.
///
/// # Source
/// RoFormer, arXiv:2104.09864; scalings as [`RopeScaling`] says.
pub fn rope_tables(
    device: &Device,
    positions: impl IntoIterator<Item = i64>,
    rotary_dim: usize,
    base: f64,
    scaling: RopeScaling,
) -> Result<(Tensor, Tensor), OpError> {
    if !rotary_dim.is_multiple_of(2) {
        return Err(OpError::value(OP, "rotary_dim", "even", rotary_dim));
    }
    if !(base.is_finite() && base > 0.0) {
        return Err(OpError::value(OP, "base", "a finite number above 0", base));
    }
    scaling.check()?;
    let frequencies: Vec<f64> = (0..rotary_dim / 2).map(|i| scaling.frequency(i, rotary_dim, base)).collect();
    let positions: Vec<i64> = positions.into_iter().collect();
    let shape = [positions.len(), frequencies.len()];
    let table = |f: fn(f64) -> f64| {
        let row = |&position: &i64| {
            let angles = frequencies.iter().map(move |frequency| position as f64 * frequency);
            angles.map(move |angle| f(angle) as f32)
        };
        let values: Vec<f32> = positions.par_iter().flat_map_iter(row).collect();
        Tensor::new(device, &shape, values).map_err(|error| match error {
            TensorError::Device(error) => OpError::Failed(error),
            _ => unreachable!("a value for each place"),
        })
    };
    Ok((table(f64::cos)?, table(f64::sin)?))
}
