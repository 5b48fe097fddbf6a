//! Cross entropy of classes.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use super::Reduction;
use super::reduction::check_gradient;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use crate::indexing::integers;
use steropes_tensor::{Device, Tensor};

pub(super) use gpu::{Scale, logits_gradient, loss_pairs, valid_rows};

const OP: &str = "loss::cross_entropy";

/// Options of [`cross_entropy`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyOptions {
    /// Rows with this target have no loss and no gradient, and do not count in the mean.
    pub ignore_index: i64,
    /// The share of a target that is spread evenly over all classes, from 0 to 1.
    pub label_smoothing: f32,
    /// What becomes of the losses of rows; not [`Reduction::BatchMean`].
    pub reduction: Reduction,
}

impl Default for CrossEntropyOptions {
    /// -100, no smoothing, the mean.
    fn default() -> Self {
        Self { ignore_index: -100, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

/// `-log softmax(logits)[target]` of each row; with smoothing `s`, `(1 - s)` of that and `s` of the mean over all classes.
///
/// # Shapes
/// - `logits`: `[rows, classes]`, f32, on a GPU also f16
/// - `targets`: `[rows]`, i32, u32 or i64
/// - returns: f32, `[rows]` without a reduction (0 for ignored rows), else `[]`; the mean is over the rows that are not ignored,
///   and not a number if all are
///
/// # Numerics
/// A row is read once: its largest value and the sum of exponentials relative to it grow along. f32 inside, sums of rows on the CPU
/// in f64. Within `Tolerance::OfLargest(2e-6)` of the largest of the loss and the logits. A logit of minus infinity has the probability
/// 0; on the CPU a row with one that is not a number has no number as its loss, on a GPU values are finite.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above. [`OpError::Value`] if the smoothing
/// is out of its range, the reduction is a batch mean or, on the CPU, a target that is not ignored is not a class. On a GPU,
/// where nothing waits for the targets, the loss of such a row is not a number and so is its gradient. [`OpError::Unsupported`] on a GPU if a
/// single row, or for a mean or a sum all rows' targets or losses, do not fit one binding.
///
/// # Source
/// Written from the formula; the options are those of `torch.nn.functional.cross_entropy`; arXiv:1805.02867 for the sums.
pub fn cross_entropy(
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<Tensor, OpError> {
    let [rows, classes] = check(OP, logits, targets, options)?;
    let arguments = [("logits", logits, Holds::Float), ("targets", targets, Holds::Index)];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let targets = integers(targets);
            check_targets(OP, &targets, classes, options)?;
            let losses = cpu::losses(values(logits), &targets, classes, options);
            if options.reduction == Reduction::None {
                return Ok(on_cpu(&[rows], losses.into_iter().map(|loss| loss as f32).collect()));
            }
            let sum: f64 = losses.iter().sum();
            Ok(on_cpu(&[], vec![(sum * cpu::share(&targets, options)) as f32]))
        }
        Place::Gpu(gpu) => gpu::cross_entropy(&gpu, logits, targets, options),
    }
}

/// The gradient of [`cross_entropy`] for the logits.
///
/// # Shapes
/// - `grad`: f32, the shape of the loss
/// - `logits`, `targets`: as in the forward pass
/// - returns: the shape and dtype of `logits`; zeros in ignored rows
///
/// # Numerics
/// As [`cross_entropy`]; within `Tolerance::OfLargest(3e-6)`. f16 results are rounded once more.
///
/// # Errors
/// As [`cross_entropy`].
///
/// # Source
/// Written from the formula.
pub fn cross_entropy_backward(
    grad: &Tensor,
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<Tensor, OpError> {
    let [rows, classes] = check(OP, logits, targets, options)?;
    check_gradient(OP, grad, options.reduction.shape(&[rows]))?;
    let arguments =
        [("logits", logits, Holds::Float), ("targets", targets, Holds::Index), ("grad", grad, Holds::F32)];
    match place(OP, &arguments)? {
        Place::Cpu => {
            let targets = integers(targets);
            check_targets(OP, &targets, classes, options)?;
            let grad = values::<f32>(grad);
            let share = cpu::share(&targets, options) as f32;
            let scale = |row: usize| {
                if grad.len() == rows && options.reduction == Reduction::None {
                    grad[row]
                } else {
                    grad[0] * share
                }
            };
            Ok(on_cpu(logits.shape(), cpu::gradient(values(logits), &targets, classes, options, scale)))
        }
        Place::Gpu(gpu) => gpu::cross_entropy_backward(&gpu, grad, logits, targets, options),
    }
}

/// The losses of the rows of CPU logits and their gradients, each times `scale`, for targets that were checked.
pub(super) fn rows_on_cpu(
    logits: &[f32],
    targets: &[i64],
    classes: usize,
    options: &CrossEntropyOptions,
    scale: f32,
) -> (f64, Tensor) {
    let losses = cpu::losses(logits, targets, classes, options);
    let gradient = cpu::gradient(logits, targets, classes, options, |_| scale);
    (losses.iter().sum(), on_cpu(&[targets.len(), classes], gradient))
}

/// What the losses of CPU rows are multiplied by in their reduction.
pub(super) fn share_on_cpu(targets: &[i64], options: &CrossEntropyOptions) -> f64 {
    cpu::share(targets, options)
}

fn check(
    op: &'static str,
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<[usize; 2], OpError> {
    let &[rows, classes] = logits.shape() else {
        return Err(OpError::shape(op, "logits", "[rows, classes]", logits.shape()));
    };
    if classes == 0 {
        return Err(OpError::shape(op, "logits", "[rows, classes] with classes", logits.shape()));
    }
    if targets.shape() != [rows] {
        return Err(OpError::shape(op, "targets", format!("[{rows}]"), targets.shape()));
    }
    check_options(op, options)?;
    Ok([rows, classes])
}

/// Refuses options that no form takes.
pub(super) fn check_options(op: &'static str, options: &CrossEntropyOptions) -> Result<(), OpError> {
    if !(0.0..=1.0).contains(&options.label_smoothing) {
        return Err(OpError::value(op, "label_smoothing", "from 0 to 1", options.label_smoothing));
    }
    if options.reduction == Reduction::BatchMean {
        return Err(OpError::value(op, "reduction", "none, a mean or a sum", "a batch mean"));
    }
    Ok(())
}

/// Refuses targets that are neither classes nor ignored, naming the first.
pub(super) fn check_targets(
    op: &'static str,
    targets: &[i64],
    classes: usize,
    options: &CrossEntropyOptions,
) -> Result<(), OpError> {
    let wrong = |t: &i64| *t != options.ignore_index && !(0..classes as i64).contains(t);
    match targets.iter().position(wrong) {
        None => Ok(()),
        Some(row) => {
            let expected = format!("classes from 0 to below {classes}, or {}", options.ignore_index);
            Err(OpError::value(op, "targets", expected, format!("{} in row {row}", targets[row])))
        }
    }
}

/// A number as a tensor without axes.
pub(super) fn scalar(device: &Device, value: f32) -> Result<Tensor, OpError> {
    Tensor::new(device, &[], vec![value]).map_err(|error| match error {
        steropes_tensor::TensorError::Device(error) => error.into(),
        _ => unreachable!("one value for no axes"),
    })
}
