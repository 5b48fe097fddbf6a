//! Sums, means and maxima of bags of rows.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::{check_below, integers};
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use steropes_tensor::Tensor;

const OP: &str = "indexing::embedding_bag";

/// What becomes of the rows of a bag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BagMode {
    /// Their sum.
    Sum,
    /// Their mean.
    #[default]
    Mean,
    /// The largest value of each column.
    Max,
}

/// Options of [`embedding_bag`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EmbeddingBagOptions {
    /// What becomes of the rows of a bag.
    pub mode: BagMode,
    /// A row that is left out of all bags, and that a mean does not count.
    pub padding_idx: Option<usize>,
    /// Whether the last offset is not that of a bag but the end of the last one.
    pub include_last_offset: bool,
}

/// What a bag is made of.
#[derive(Clone, Copy, Debug)]
pub struct Bags<'a> {
    /// Numbers of rows, those of a bag one after another: `[entries]`, i32, u32 or i64.
    pub indices: &'a Tensor,
    /// Where each bag begins: `[bags]`, or `[bags + 1]` with the end; the dtype of `indices`. The first is 0, and none is below the one
    /// before.
    pub offsets: &'a Tensor,
    /// A factor for each entry of a sum: `[entries]`, the dtype of the weight.
    pub per_sample_weights: Option<&'a Tensor>,
}

/// What [`embedding_bag_backward`] gives.
#[derive(Clone, Debug)]
pub struct EmbeddingBagGradient {
    /// For the weight, dense.
    pub weight: Tensor,
    /// For the factors, if there are any.
    pub per_sample_weights: Option<Tensor>,
}

/// A row for each bag: the sum, mean or maximum of the rows of `weight` that it names.
///
/// # Shapes
/// - `weight`: `[rows, width]`, f32, on a GPU also f16
/// - `bags`: as in [`Bags`]
/// - returns: `[bags, width]`, the dtype of `weight`; zeros for a bag without rows
///
/// # Numerics
/// f32, in the order of the entries; within `Tolerance::Sum` of the longest bag, maxima are exact. f16 results are rounded once.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above; [`OpError::Value`] if there are factors without a
/// sum, `padding_idx` is no row or, on the CPU, an index is not a row or the offsets are not as in [`Bags`]. On a GPU a bag with such an index is
/// not a number; offsets are cut off at the number of entries, and a bag that ends before it begins is empty. [`OpError::Unsupported`]
/// on a GPU if a tensor does not fit one binding.
///
/// # Source
/// Written from the definition; arguments are those of `torch.nn.functional.embedding_bag`.
pub fn embedding_bag(
    weight: &Tensor,
    bags: &Bags<'_>,
    options: &EmbeddingBagOptions,
) -> Result<Tensor, OpError> {
    let shape = check(weight, bags, options)?;
    match place(OP, &arguments(weight, bags))? {
        Place::Cpu => {
            let numbers = Numbers::new(weight, bags, options)?;
            let y = cpu::embedding_bag(values(weight), shape[1], &numbers, options);
            Ok(on_cpu(&shape, y))
        }
        Place::Gpu(gpu) => gpu::embedding_bag(&gpu, weight, bags, options, &shape),
    }
}

/// The gradients of [`embedding_bag`].
///
/// # Shapes
/// - `grad`: `[bags, width]`, the dtype of `weight`
/// - others: as in the forward pass
/// - returns: the shapes and dtype of `weight` and of the factors
///
/// # Numerics
/// f32, in the order of the entries, the same every time; within `Tolerance::Sum` of the most entries of a row and, for factors,
/// of the width. Of equal maxima the first entry has the gradient. f16 results are rounded once.
///
/// # Errors
/// As [`embedding_bag`]; on a GPU an index that is no row is left out.
///
/// # Source
/// Written from the definition.
pub fn embedding_bag_backward(
    grad: &Tensor,
    weight: &Tensor,
    bags: &Bags<'_>,
    options: &EmbeddingBagOptions,
) -> Result<EmbeddingBagGradient, OpError> {
    let shape = check(weight, bags, options)?;
    if grad.shape() != shape {
        return Err(OpError::shape(OP, "grad", format!("{shape:?} as the result"), grad.shape()));
    }
    let mut arguments = arguments(weight, bags);
    arguments.push(("grad", grad, Holds::Float));
    match place(OP, &arguments)? {
        Place::Cpu => {
            let numbers = Numbers::new(weight, bags, options)?;
            let (grad, rows) = (values(grad), values(weight));
            let gradient = cpu::weight_gradient(grad, rows, shape[1], &numbers, options);
            Ok(EmbeddingBagGradient {
                weight: on_cpu(weight.shape(), gradient),
                per_sample_weights: bags.per_sample_weights.map(|factors| {
                    on_cpu(factors.shape(), cpu::factor_gradient(grad, rows, shape[1], &numbers, options))
                }),
            })
        }
        Place::Gpu(gpu) => gpu::embedding_bag_backward(&gpu, grad, weight, bags, options),
    }
}

fn arguments<'a>(weight: &'a Tensor, bags: &Bags<'a>) -> Vec<(&'static str, &'a Tensor, Holds)> {
    let mut arguments = vec![
        ("weight", weight, Holds::Float),
        ("indices", bags.indices, Holds::Index),
        ("offsets", bags.offsets, Holds::Index),
    ];
    arguments.extend(bags.per_sample_weights.map(|t| ("per_sample_weights", t, Holds::Float)));
    arguments
}

/// The shape of the result.
fn check(weight: &Tensor, bags: &Bags<'_>, options: &EmbeddingBagOptions) -> Result<[usize; 2], OpError> {
    let &[rows, width] = weight.shape() else {
        return Err(OpError::shape(OP, "weight", "[rows, width]", weight.shape()));
    };
    let &[entries] = bags.indices.shape() else {
        return Err(OpError::shape(OP, "indices", "[entries]", bags.indices.shape()));
    };
    let count = match (bags.offsets.shape(), options.include_last_offset) {
        (&[count], false) => count,
        (&[count], true) if count > 0 => count - 1,
        (found, with_end) => {
            let expected = if with_end { "[bags + 1]" } else { "[bags]" };
            return Err(OpError::shape(OP, "offsets", expected, found));
        }
    };
    if bags.offsets.dtype() != bags.indices.dtype() {
        let (expected, found) = ("the dtype of `indices`", bags.offsets.dtype());
        return Err(OpError::DType { op: OP, argument: "offsets", expected, found });
    }
    if let Some(factors) = bags.per_sample_weights {
        if factors.shape() != [entries] {
            return Err(OpError::shape(OP, "per_sample_weights", format!("[{entries}]"), factors.shape()));
        }
        if options.mode != BagMode::Sum {
            return Err(OpError::value(
                OP,
                "mode",
                "a sum with per_sample_weights",
                format!("{:?}", options.mode),
            ));
        }
    }
    match options.padding_idx {
        Some(row) if row >= rows => Err(OpError::value(OP, "padding_idx", format!("below {rows}"), row)),
        _ => Ok([count, width]),
    }
}

/// The numbers of bags on the CPU, checked.
struct Numbers<'a> {
    indices: std::borrow::Cow<'a, [i64]>,
    /// Where bags begin, and the end of the last.
    bounds: Vec<usize>,
    factors: Option<&'a [f32]>,
}

impl<'a> Numbers<'a> {
    fn new(weight: &Tensor, bags: &Bags<'a>, options: &EmbeddingBagOptions) -> Result<Self, OpError> {
        let (indices, offsets) = (integers(bags.indices), integers(bags.offsets));
        check_below(OP, "indices", &indices, weight.shape()[0])?;
        let entries = indices.len() as i64;
        let mut bounds = vec![];
        for (bag, &offset) in offsets.iter().enumerate() {
            let before = bounds.last().map_or(0, |&b| b as i64);
            if !(before..=entries).contains(&offset) || (bag == 0 && offset != 0) {
                let expected = format!("0 first, then ever larger ones up to {entries}");
                return Err(OpError::value(OP, "offsets", expected, format!("{offset} at place {bag}")));
            }
            bounds.push(offset as usize);
        }
        if !options.include_last_offset {
            bounds.push(indices.len());
        }
        let factors = bags.per_sample_weights.map(values::<f32>);
        Ok(Self { indices, bounds, factors })
    }

    fn factor(&self, entry: usize) -> f32 {
        self.factors.map_or(1.0, |factors| factors[entry])
    }
}
