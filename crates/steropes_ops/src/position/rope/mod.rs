//! Rotary position embedding of sequences.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
mod tables;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::{DType, Tensor};

pub use tables::{RopeScaling, rope_tables};

const OP: &str = "position::rope";
const BACKWARD: &str = "position::rope_backward";

/// Which values of a head turn together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairs {
    /// `i` and `i + rotary_dim / 2`: GPT-NeoX, Llama and most others as Hugging Face stores them.
    Halves,
    /// `2 i` and `2 i + 1`: GPT-J, Llama as Meta stores it.
    Neighbours,
}

/// Rotates query or key heads by the position of their token.
///
/// The first `rotary_dim` values of a head are pairs `(u, v)`, which turn by the angle of their token and pair; the others
/// stay:
///
/// ```text
/// u' = u cos - v sin        v' = v cos + u sin
/// ```
///
/// The memory of `x` is reused when nobody else holds it.
///
/// # Shapes
/// - `x`: `[batch, seq, heads, head_dim]`, f32, on a GPU also f16
/// - `cos`, `sin`: `[rows, rotary_dim / 2]`, f32, with `rotary_dim` at most `head_dim`; [`rope_tables`] makes them
/// - `positions`: `[batch, seq]`, or `[1, seq]` for all batch elements alike, u8, i32, u32 or i64: the row of the tables for
///   each token. Without them token `t` takes row `t`, and there must be at least `seq` rows
/// - returns: the shape and dtype of `x`
///
/// # Numerics
/// Two products and a sum in f32: within `Tolerance::OfLargest(3e-7)` for the tables given; f16 results are rounded once more,
/// to within 5e-4 of the largest.
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if an argument is not as above, on the CPU also [`OpError::Value`] if a position
/// has no row. Nothing is computed then. A GPU knows positions too late for that: tokens without a row become NaN, all
/// `rotary_dim` values of each head. [`OpError::Unsupported`] if tables do not fit a binding.
///
/// # Source
/// RoFormer, arXiv:2104.09864. Written from the paper.
pub fn rope(
    x: Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: Option<&Tensor>,
    pairs: RopePairs,
) -> Result<Tensor, OpError> {
    rotate(OP, "x", x, Turn { cos, sin, positions, pairs, backwards: false })
}

/// The gradient of [`rope`] with respect to `x`, from the gradient of its result: the turn by the negative angles, which also
/// undoes [`rope`].
///
/// The memory of `gradient` is reused when nobody else holds it.
///
/// # Shapes
/// As [`rope`], with `gradient` in the place of `x`
///
/// # Numerics
/// As [`rope`].
///
/// # Errors
/// As [`rope`].
///
/// # Source
/// Written from the formula: the transposed rotation.
pub fn rope_backward(
    gradient: Tensor,
    cos: &Tensor,
    sin: &Tensor,
    positions: Option<&Tensor>,
    pairs: RopePairs,
) -> Result<Tensor, OpError> {
    rotate(BACKWARD, "gradient", gradient, Turn { cos, sin, positions, pairs, backwards: true })
}

/// How far which pairs turn, and which way.
#[derive(Clone, Copy)]
struct Turn<'a> {
    cos: &'a Tensor,
    sin: &'a Tensor,
    positions: Option<&'a Tensor>,
    pairs: RopePairs,
    backwards: bool,
}

impl Turn<'_> {
    /// Rows of the tables.
    fn rows(&self) -> usize {
        self.cos.shape()[0]
    }

    /// Pairs of a head.
    fn half(&self) -> usize {
        self.cos.shape()[1]
    }

    /// 1, or -1 for the turn backwards.
    fn direction(&self) -> f32 {
        if self.backwards { -1.0 } else { 1.0 }
    }
}

fn rotate(op: &'static str, name: &'static str, x: Tensor, turn: Turn<'_>) -> Result<Tensor, OpError> {
    let &[batch, seq, _, head_dim] = x.shape() else {
        return Err(OpError::shape(op, name, "[batch, seq, heads, head_dim]", x.shape()));
    };
    check_tables(op, &turn, [batch, seq, head_dim])?;
    let mut arguments = vec![(name, &x, Holds::Float), ("cos", turn.cos, Holds::F32)];
    arguments.push(("sin", turn.sin, Holds::F32));
    arguments.extend(turn.positions.map(|positions| ("positions", positions, Holds::Integer)));
    match place(op, &arguments)? {
        Place::Cpu => {
            let rows = rows_of_tokens(op, &turn, [batch, seq])?;
            let shape = x.shape().to_vec();
            let mut turned = x.into_vec::<f32>().expect("the dtype was checked");
            cpu::rope(&mut turned, &shape, &rows, &turn);
            Ok(on_cpu(&shape, turned))
        }
        Place::Gpu(gpu) => gpu::rope(&gpu, op, x, &turn),
    }
}

fn check_tables(
    op: &'static str,
    turn: &Turn<'_>,
    [batch, seq, head_dim]: [usize; 3],
) -> Result<(), OpError> {
    let least = if turn.positions.is_none() { seq } else { (batch * seq).min(1) };
    if !matches!(turn.cos.shape(), &[rows, half] if rows >= least && 2 * half <= head_dim) {
        let expected = format!("[at least {least}, at most {}]", head_dim / 2);
        return Err(OpError::shape(op, "cos", expected, turn.cos.shape()));
    }
    if turn.sin.shape() != turn.cos.shape() {
        return Err(OpError::shape(op, "sin", format!("{:?}", turn.cos.shape()), turn.sin.shape()));
    }
    match turn.positions {
        Some(positions) if positions.shape() != [batch, seq] && positions.shape() != [1, seq] => {
            let expected = format!("[{batch}, {seq}] or [1, {seq}]");
            Err(OpError::shape(op, "positions", expected, positions.shape()))
        }
        _ => Ok(()),
    }
}

/// The row of the tables for each token of one or of all batch elements.
fn rows_of_tokens(
    op: &'static str,
    turn: &Turn<'_>,
    [batch, seq]: [usize; 2],
) -> Result<Vec<usize>, OpError> {
    let Some(positions) = turn.positions.filter(|_| batch > 0) else { return Ok((0..seq).collect()) };
    let rows = turn.rows();
    let row = |position: i64| {
        let found = usize::try_from(position).ok().filter(|&row| row < rows);
        found.ok_or_else(|| OpError::value(op, "positions", format!("from 0 to below {rows}"), position))
    };
    match positions.dtype() {
        DType::U8 => values::<u8>(positions).iter().map(|&p| row(p.into())).collect(),
        DType::I32 => values::<i32>(positions).iter().map(|&p| row(p.into())).collect(),
        DType::U32 => values::<u32>(positions).iter().map(|&p| row(p.into())).collect(),
        _ => values::<i64>(positions).iter().map(|&p| row(p)).collect(),
    }
}
