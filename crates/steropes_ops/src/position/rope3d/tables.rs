//! Sines and cosines for `rope3d`.

use crate::error::OpError;
use half::{bf16, f16};
use rayon::prelude::*;
use steropes_tensor::{Device, Tensor, TensorError};

const OP: &str = "position::rope3d_tables";

/// Values of a head of `head_dim` that an axis turns: `2 floor(floor(head_dim / 3) / 2)`. What is left after three axes stays.
///
/// 10 for heads of 32, 20 for 64, 26 for 80, 28 for 88.
pub fn rope3d_axis_width(head_dim: usize) -> usize {
    head_dim / 3 / 2 * 2
}

/// Which angle belongs to which value of an axis. With `F` frequencies `w_k = base^(-k / F)`, half as many as an axis has values, value
/// `i` turns by the position times
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rope3dAngles {
    /// `w_(i mod F)`: V-JEPA 2.0. The two values of a pair have different angles, so this is no rotation.
    Tiled,
    /// `w_(i div 2)`: V-JEPA 2.1. Each pair is rotated.
    Pairs,
}

impl Rope3dAngles {
    /// Which of `count` frequencies value `i` of an axis has.
    pub(super) fn frequency_of(self, i: usize, count: usize) -> usize {
        match self {
            Self::Tiled => i % count,
            Self::Pairs => i / 2,
        }
    }
}

/// How each step from frequencies to sines is rounded. The rounded forms are those of programs that make the tables in the type of
/// the network's weights: angles are off by up to 0.07 at bf16 and 0.006 at f16 for positions below 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rope3dRounding {
    /// All in f64, rounded to f32 at the end.
    #[default]
    Exact,
    /// To f16.
    F16,
    /// To bf16.
    Bf16,
}

impl Rope3dRounding {
    fn of(self, value: f64) -> f64 {
        match self {
            Self::Exact => value,
            Self::F16 => f16::from_f32(value as f32).into(),
            Self::Bf16 => bf16::from_f32(value as f32).into(),
        }
    }

    /// Radians of frequency `k` of `count` at position 1.
    fn frequency(self, k: usize, count: usize, base: f64) -> f64 {
        let share = self.of(k as f64 / count as f64);
        match self {
            Self::Exact => base.powf(-share),
            Self::F16 | Self::Bf16 => self.of(1.0 / self.of(base.powf(share))),
        }
    }
}

/// What [`rope3d`](super::rope3d()) multiplies by: the cosine and the sine for each value of a head at each token. Cloning shares the
/// memory.
#[derive(Clone, Debug)]
pub struct Rope3dTables {
    /// `[batch, tokens, head_dim]`; 1 for what stays.
    pub(super) cos: Tensor,
    /// `[batch, tokens, head_dim]`; 0 for what stays.
    pub(super) sin: Tensor,
}

impl Rope3dTables {
    /// Batch elements (1 stands for any number), tokens, and values of a head.
    pub fn extents(&self) -> [usize; 3] {
        self.cos.shape().try_into().expect("tables have three extents")
    }
}

/// The tables of [`rope3d`](super::rope3d()) for tokens at `positions`, each in time, height and width: `batch` batch elements with as
/// many tokens each, one after the other. One batch element stands for any number.
///
/// # Shapes
/// - returns: tables of `[batch, positions / batch, head_dim]`, f32
///
/// # Units
/// Positions count tubelets and patches; they may be fractions. Angles are radians.
///
/// # Numerics
/// Frequencies, angles, sines and cosines in f64, rounded once; or each step rounded, as `rounding` says.
///
/// # Errors
/// [`OpError::Value`] if `batch` does not divide the positions, one of them is not finite, or `base` is not a finite number above 0;
/// [`OpError::Failed`] if a GPU has no memory for the tables.
///
/// # Source
/// As [`rope3d`](super::rope3d()).
pub fn rope3d_tables(
    device: &Device,
    positions: &[[f64; 3]],
    batch: usize,
    head_dim: usize,
    base: f64,
    angles: Rope3dAngles,
    rounding: Rope3dRounding,
) -> Result<Rope3dTables, OpError> {
    if batch == 0 || !positions.len().is_multiple_of(batch) {
        let expected = format!("a number that divides {} positions", positions.len());
        return Err(OpError::value(OP, "batch", expected, batch));
    }
    if !(base.is_finite() && base > 0.0) {
        return Err(OpError::value(OP, "base", "a finite number above 0", base));
    }
    if let Some(place) = positions.iter().find(|place| place.iter().any(|p| !p.is_finite())) {
        return Err(OpError::value(OP, "positions", "finite numbers", format!("{place:?}")));
    }
    let width = rope3d_axis_width(head_dim);
    let frequencies: Vec<f64> = (0..width / 2).map(|k| rounding.frequency(k, width / 2, base)).collect();
    let frequencies: Vec<f64> = (0..width).map(|i| frequencies[angles.frequency_of(i, width / 2)]).collect();
    // Tokens share the positions of their axes, and sines are most of the work.
    let mut distinct: Vec<f64> = positions.iter().flatten().copied().collect();
    distinct.sort_unstable_by(f64::total_cmp);
    distinct.dedup_by(|a, b| a.to_bits() == b.to_bits());
    let row_of =
        |p: &f64| distinct.binary_search_by(|known| known.total_cmp(p)).expect("every position is known");
    let table = |f: fn(f64) -> f64, rest: f32| {
        let angles = distinct.iter().flat_map(|p| frequencies.iter().map(move |w| rounding.of(p * w)));
        let axes: Vec<f32> = angles.map(|angle| rounding.of(f(angle)) as f32).collect();
        let mut values = vec![rest; positions.len() * head_dim];
        let rows = values.par_chunks_exact_mut(head_dim.max(1)).zip(positions).with_min_len(64);
        rows.for_each(|(row, place)| {
            for (axis, p) in place.iter().enumerate() {
                row[axis * width..][..width].copy_from_slice(&axes[row_of(p) * width..][..width]);
            }
        });
        Tensor::new(device, &[batch, positions.len() / batch, head_dim], values).map_err(
            |error| match error {
                TensorError::Device(error) => OpError::Failed(error),
                _ => unreachable!("a value for each place"),
            },
        )
    };
    Ok(Rope3dTables { cos: table(f64::cos, 1.0)?, sin: table(f64::sin, 0.0)? })
}
