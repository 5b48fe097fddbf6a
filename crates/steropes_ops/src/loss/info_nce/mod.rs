//! The contrastive loss of corresponding descriptors.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::reduction::check_gradient;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "loss::info_nce";

/// What the similarity of a correspondence is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum InfoNceMode {
    /// The sum of its row, and the sum of its column: `-log max(e/row, ε) - log max(e/column, ε)`.
    #[default]
    Proper,
    /// Both at once: `-log max(e²/(row column), ε)`.
    Dual,
    /// The sum of all similarities of its item: `-log max(e/all, ε)`.
    All,
}

/// How similar two descriptors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Similarity {
    /// Their product, divided by the temperature.
    #[default]
    Dot,
    /// `1 / (1 + distance)`, divided by the temperature.
    Euclidean,
}

/// Options of [`info_nce`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoNceOptions {
    /// What a correspondence is compared with.
    pub mode: InfoNceMode,
    /// How similar two descriptors are.
    pub similarity: Similarity,
    /// Above 0.
    pub temperature: f32,
    /// The least share, above 0 and below 1.
    pub epsilon: f32,
}

impl Default for InfoNceOptions {
    /// Those of MASt3R's training: proper, products, 0.05 and 1e-8.
    fn default() -> Self {
        Self { mode: InfoNceMode::Proper, similarity: Similarity::Dot, temperature: 0.05, epsilon: 1e-8 }
    }
}

/// The InfoNCE loss of each correspondence: row `i` of both descriptors belongs together, all other pairs of rows of an item do not.
///
/// # Shapes
/// - `descriptors`: two tensors `[items, rows, width]`, f32, on a GPU also f16 and up to 256 wide
/// - `valid`: `[items, rows]`, u8; rows with 0 have no loss, but count in the sums of others
/// - returns: `[items, rows]`, f32; 0 for rows that are not valid
///
/// # Numerics
/// With `e = exp(similarity)`, whose matrix is never stored: tiles of it pass by, and sums of rows and columns are kept relative to the largest
/// similarity so far, so that no temperature overflows. f32; within `Tolerance::OfLargest(5e-6)` of the larger of the loss and the largest
/// similarity. On the CPU a similarity that is not a number is one of minus infinity, on a GPU values are finite.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above, [`OpError::Value`] if an option is not,
/// [`OpError::Unsupported`] on a GPU for wider descriptors or a tensor that does not fit one binding.
///
/// # Source
/// arXiv:2406.09756, section 3.2; written from its formulas. More rows than fit one matrix are items: blocks of a random order.
pub fn info_nce(
    descriptors: [&Tensor; 2],
    valid: &Tensor,
    options: &InfoNceOptions,
) -> Result<Tensor, OpError> {
    let [items, rows, width] = check(descriptors, valid, options)?;
    let [a, b] = descriptors;
    let arguments = [
        ("descriptors[0]", a, Holds::Float),
        ("descriptors[1]", b, Holds::Float),
        ("valid", valid, Holds::Mask),
    ];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let problem = cpu::Problem { rows, width, options };
            Ok(on_cpu(&[items, rows], problem.forward([values(a), values(b)], values(valid))))
        }
        Place::Gpu(gpu) => gpu::info_nce(&gpu, descriptors, valid, options),
    }
}

/// The gradients of [`info_nce`] for both descriptors.
///
/// # Shapes
/// - `grad`: `[items, rows]`, f32; what it holds for rows that are not valid is not looked at
/// - returns: two tensors of the shape and dtype of the descriptors
///
/// # Numerics
/// As [`info_nce`], with the similarities computed again. For unit descriptors within 2e-5 of the largest and `4e-7 / temperature²` beside: a
/// similarity is rounded before its exponential is taken. A share below `epsilon` has no gradient. f16 results are rounded once.
///
/// # Errors
/// As [`info_nce`].
///
/// # Source
/// Written from the formula.
pub fn info_nce_backward(
    grad: &Tensor,
    descriptors: [&Tensor; 2],
    valid: &Tensor,
    options: &InfoNceOptions,
) -> Result<[Tensor; 2], OpError> {
    let [items, rows, width] = check(descriptors, valid, options)?;
    check_gradient(OP, grad, &[items, rows])?;
    let [a, b] = descriptors;
    let arguments = [
        ("descriptors[0]", a, Holds::Float),
        ("descriptors[1]", b, Holds::Float),
        ("valid", valid, Holds::Mask),
        ("grad", grad, Holds::F32),
    ];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let problem = cpu::Problem { rows, width, options };
            let gradients = problem.backward(values(grad), [values(a), values(b)], values(valid));
            Ok(gradients.map(|gradient| on_cpu(a.shape(), gradient)))
        }
        Place::Gpu(gpu) => gpu::info_nce_backward(&gpu, grad, descriptors, valid, options),
    }
}

fn check([a, b]: [&Tensor; 2], valid: &Tensor, options: &InfoNceOptions) -> Result<[usize; 3], OpError> {
    let &[items, rows, width] = a.shape() else {
        return Err(OpError::shape(OP, "descriptors[0]", "[items, rows, width]", a.shape()));
    };
    if width == 0 {
        return Err(OpError::shape(OP, "descriptors[0]", "[items, rows, width] with a width", a.shape()));
    }
    if b.shape() != a.shape() {
        return Err(OpError::shape(OP, "descriptors[1]", format!("{:?}", a.shape()), b.shape()));
    }
    if valid.shape() != [items, rows] {
        return Err(OpError::shape(OP, "valid", format!("{:?}", [items, rows]), valid.shape()));
    }
    if !(options.temperature.is_finite() && options.temperature > 0.0) {
        return Err(OpError::value(OP, "temperature", "a finite number above 0", options.temperature));
    }
    if !(options.epsilon > 0.0 && options.epsilon < 1.0) {
        return Err(OpError::value(OP, "epsilon", "above 0 and below 1", options.epsilon));
    }
    Ok([items, rows, width])
}
