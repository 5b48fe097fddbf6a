//! How much matrices magnify errors.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::solve::inv_ex;
use super::stack::Stack;
use super::svd::svdvals;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use std::fmt::{Display, Formatter};
use std::str::FromStr;
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::cond";

/// The norm of a condition, named as in torch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CondNorm {
    /// `2`: the largest singular value over the smallest.
    #[default]
    Two,
    /// `-2`: the smallest singular value over the largest.
    MinusTwo,
    /// `1`: the largest sum of magnitudes of a column.
    One,
    /// `-1`: the smallest sum of magnitudes of a column.
    MinusOne,
    /// `inf`: the largest sum of magnitudes of a row.
    Inf,
    /// `-inf`: the smallest sum of magnitudes of a row.
    MinusInf,
    /// `fro`: the root of the sum of all squares.
    Fro,
    /// `nuc`: the sum of the singular values.
    Nuc,
}

impl CondNorm {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Two,
        Self::MinusTwo,
        Self::One,
        Self::MinusOne,
        Self::Inf,
        Self::MinusInf,
        Self::Fro,
        Self::Nuc,
    ];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Two => "2",
            Self::MinusTwo => "-2",
            Self::One => "1",
            Self::MinusOne => "-1",
            Self::Inf => "inf",
            Self::MinusInf => "-inf",
            Self::Fro => "fro",
            Self::Nuc => "nuc",
        }
    }

    /// Whether it is computed from singular values.
    fn is_spectral(self) -> bool {
        matches!(self, Self::Two | Self::MinusTwo | Self::Nuc)
    }
}

impl Display for CondNorm {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CondNorm {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|norm| norm.name() == name);
        found.ok_or_else(|| {
            format!("no norm is called {name:?}; they are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}

/// The condition of every matrix in the norm `p`, `|A| |A^-1|`: `torch.linalg.cond`.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64; any extent may be 0. Square but for [`CondNorm::Two`] and [`CondNorm::MinusTwo`]
/// - returns: `[..]`, the dtype of `a`; 0 for matrices without elements
///
/// # Numerics
/// In the dtype of `a`, from singular values for 2, -2 and `nuc`, else from the inverse by elimination: the relative error is that of the smallest
/// singular value or of the inverse, `n eps` times the condition. A singular matrix (a singular value, or a pivot, of exactly 0) has an
/// infinite condition, 0 for -2; there is no error for it. Rounding leaves most singular matrices with a finite one of about `1 / eps`.
/// A norm of squares does not overflow. NaN where the matrix has NaN and no zero pivot before it.
///
/// # Errors
/// [`OpError::Shape`], also for what is not square with the other norms, or [`OpError::DType`]; else, for 2, -2 and `nuc`, as
/// [`svd`](super::svd::svd()), for the others [`OpError::Unsupported`] on a GPU if the stack does not fit one binding.
///
/// # Source
/// Golub and Van Loan, Matrix Computations, 2.6.2.
pub fn cond(a: &Tensor, p: CondNorm) -> Result<Tensor, OpError> {
    let stack = match p {
        CondNorm::Two | CondNorm::MinusTwo => Stack::of(OP, "a", a)?,
        _ => Stack::square(OP, "a", a)?,
    };
    let place = place(OP, &[("a", a, Holds::Real)])?;
    if p.is_spectral() {
        let s = svdvals(a).map_err(|error| error.of(OP))?;
        return match place {
            Place::Cpu if a.dtype() == DType::F64 => {
                Ok(on_cpu(&stack.batch, cpu::of_values::<f64>(&stack, values(&s), p)))
            }
            Place::Cpu => Ok(on_cpu(&stack.batch, cpu::of_values::<f32>(&stack, values(&s), p))),
            Place::Gpu(gpu) => gpu::of_values(&gpu, &stack, &s, p),
        };
    }
    let (inverse, info) = inv_ex(a).map_err(|error| error.of(OP))?;
    match place {
        Place::Cpu if a.dtype() == DType::F64 => Ok(on_cpu(
            &stack.batch,
            cpu::of_inverses::<f64>(&stack, [values(a), values(&inverse)], values(&info), p),
        )),
        Place::Cpu => Ok(on_cpu(
            &stack.batch,
            cpu::of_inverses::<f32>(&stack, [values(a), values(&inverse)], values(&info), p),
        )),
        Place::Gpu(gpu) => gpu::of_inverses(&gpu, &stack, [a, &inverse, &info], p),
    }
}
