//! The AdamW optimiser.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod reference;
pub(crate) mod tests;

use crate::error::{Holds, OpError, Place, common_place, place};
use steropes_tensor::{DType, Device, Tensor};

const OP: &str = "optim::adamw";

/// The numbers and choices of AdamW, with the defaults of `torch.optim.AdamW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// Learning rate, from 0 on.
    pub lr: f64,
    /// Decay of the first and of the second moment, from 0 to below 1.
    pub betas: [f64; 2],
    /// Added to the root of the second moment, from 0 on.
    pub eps: f64,
    /// Decoupled weight decay, from 0 on.
    pub weight_decay: f64,
    /// Whether the largest second moment so far takes the place of the second moment.
    pub amsgrad: bool,
    /// Whether the objective grows instead of falling.
    pub maximize: bool,
    /// The seed of stochastic rounding, for bf16 parameters on the CPU without master weights.
    pub stochastic_rounding: Option<u64>,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            lr: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 1e-2,
            amsgrad: false,
            maximize: false,
            stochastic_rounding: None,
        }
    }
}

/// What AdamW keeps about a parameter. It can be read, stored and made again from its parts; the steps after that give the same
/// bits as they would have.
#[derive(Clone, Debug)]
pub struct AdamWState {
    /// Steps so far.
    pub step: u64,
    /// Running mean of the gradient, f32.
    pub first: Tensor,
    /// Running mean of the squared gradient, f32.
    pub second: Tensor,
    /// The largest `second` so far, f32; for `amsgrad`.
    pub largest: Option<Tensor>,
    /// The parameter in f32, of which a parameter in 16 bits is the rounded copy.
    pub master: Option<Tensor>,
}

/// A parameter with its state.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// f32, on a GPU also f16, on the CPU also bf16.
    pub value: Tensor,
    /// What AdamW keeps about it.
    pub state: AdamWState,
}

impl Parameter {
    /// `value` before the first step: moments of zeros; master weights where it has 16 bits, unless `options` say that it is
    /// rounded stochastically.
    ///
    /// # Errors
    /// [`OpError::DType`] if `value` cannot be a parameter, [`OpError::Value`] if a number of `options` is out of its range,
    /// [`OpError::Failed`] if a device has no memory for the state.
    pub fn new(value: Tensor, options: &AdamW) -> Result<Self, OpError> {
        options.check()?;
        common_place(OP, &[("value", &value, Holds::Factor)])?;
        let (device, shape) = (value.device(), value.shape());
        let zeros = || new_f32(&device, shape, vec![0.0; value.len()]);
        let (first, second) = (zeros()?, zeros()?);
        let largest = if options.amsgrad { Some(zeros()?) } else { None };
        let master = match value.dtype() {
            DType::F32 => None,
            DType::F16 => Some(widened::<half::f16>(&value)?),
            _ if options.stochastic_rounding.is_some() => None,
            _ => Some(widened::<half::bf16>(&value)?),
        };
        Ok(Self { value, state: AdamWState { step: 0, first, second, largest, master } })
    }
}

fn widened<T: steropes_tensor::Element + Into<f32>>(value: &Tensor) -> Result<Tensor, OpError> {
    let wide = value.read::<T>()?.into_iter().map(Into::into).collect();
    new_f32(&value.device(), value.shape(), wide)
}

fn new_f32(device: &Device, shape: &[usize], values: Vec<f32>) -> Result<Tensor, OpError> {
    Tensor::new(device, shape, values).map_err(|error| match error {
        steropes_tensor::TensorError::Device(error) => OpError::Failed(error),
        _ => unreachable!("a value for each place"),
    })
}

/// A step of AdamW for all `parameters` at once; `gradients[i]` is that of `parameters[i]`.
///
/// With the gradient `g` (negative for `maximize`), step `t` is
///
/// ```text
/// p = p - lr weight_decay p
/// m = m + (1 - beta1) (g - m)            v = beta2 v + (1 - beta2) g^2
/// p = p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
/// ```
///
/// with the largest `v` so far in the place of `v` in the last line for `amsgrad`. Memory that nobody else holds is written over;
/// other clones of a value or of a state keep what they hold.
///
/// On the CPU the ranges of all tensors are shared among threads in one pass. On a GPU each tensor is one launch, because a
/// kernel sees a handful of arrays, four to six of which are those of one parameter; all launches are recorded together, and nothing
/// waits. Parameters that lie one after another in one tensor are one launch.
///
/// # Shapes
/// - `parameters`, `gradients`: any, the same for a value, its gradient and all parts of its state; the gradient has the dtype of
///   the value: f32, on a GPU also f16, on the CPU also bf16
///
/// # Numerics
/// f32 throughout, factors that all elements share in f64, rounded once; a GPU's roots and quotients may miss by some ulp. After 20
/// steps within `Tolerance::OfLargest(2e-6)`. A parameter in 16 bits is its master weight rounded to nearest. Without master
/// weights a bf16 parameter is rounded up or down at random, so that the mean of the result is what would have been stored in
/// f32; the random numbers depend on the seed, the step, the place of the parameter among `parameters` and that of the element, and
/// not on threads.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`], [`OpError::Device`] or [`OpError::Value`] if an argument is not as above, a number is
/// out of its range, or a state lacks what `options` ask for. Nothing is computed then. If the device fails, values and states
/// are lost.
///
/// # Source
/// arXiv:1711.05101, AMSGrad arXiv:1904.09237 as `torch.optim.AdamW` documents them.
pub fn adamw(options: &AdamW, parameters: &mut [Parameter], gradients: &[&Tensor]) -> Result<(), OpError> {
    options.check()?;
    if gradients.len() != parameters.len() {
        let expected = format!("as many as the {} parameters", parameters.len());
        return Err(OpError::value(OP, "gradients", expected, gradients.len()));
    }
    let mut arguments = Vec::new();
    for (i, (parameter, gradient)) in parameters.iter().zip(gradients).enumerate() {
        arguments.extend(checked(options, i, parameter, gradient)?);
    }
    if parameters.is_empty() {
        return Ok(());
    }
    match place(OP, &arguments)? {
        Place::Cpu => cpu::adamw(options, parameters, gradients),
        Place::Gpu(gpu) => gpu::adamw(&gpu, options, parameters, gradients)?,
    }
    Ok(())
}

type Argument<'a> = (&'static str, &'a Tensor, Holds);

/// The tensors of parameter `i`.
fn checked<'a>(
    options: &AdamW,
    i: usize,
    Parameter { value, state }: &'a Parameter,
    gradient: &'a Tensor,
) -> Result<Vec<Argument<'a>>, OpError> {
    let mut arguments = vec![("value", value, Holds::Factor), ("gradient", gradient, Holds::Factor)];
    arguments.push(("first", &state.first, Holds::F32));
    arguments.push(("second", &state.second, Holds::F32));
    arguments.extend(state.largest.iter().map(|largest| ("largest", largest, Holds::F32)));
    arguments.extend(state.master.iter().map(|master| ("master", master, Holds::F32)));
    common_place(OP, &arguments)?;
    for &(name, tensor, _) in &arguments {
        if tensor.shape() != value.shape() {
            let expected = format!("{:?} as parameter {i}", value.shape());
            return Err(OpError::shape(OP, name, expected, tensor.shape()));
        }
    }
    if gradient.dtype() != value.dtype() {
        let expected = "the dtype of its parameter";
        return Err(OpError::DType { op: OP, argument: "gradient", expected, found: gradient.dtype() });
    }
    let missing = |name, expected| {
        Err(OpError::value(OP, name, expected, format!("none for parameter {i}, {}", value.dtype())))
    };
    if options.amsgrad && state.largest.is_none() {
        return missing("largest", "a tensor for amsgrad");
    }
    let stochastic = options.stochastic_rounding.is_some() && value.dtype() == DType::BF16;
    match (value.dtype(), state.master.is_some()) {
        (DType::F32, true) => {
            Err(OpError::value(OP, "master", "none for an f32 parameter", format!("one for parameter {i}")))
        }
        (DType::F16 | DType::BF16, false) if !stochastic => {
            missing("master", "a tensor for 16 bits without stochastic rounding")
        }
        _ => Ok(arguments),
    }
}

impl AdamW {
    fn check(&self) -> Result<(), OpError> {
        for (name, number) in [("lr", self.lr), ("eps", self.eps), ("weight_decay", self.weight_decay)] {
            if !(number.is_finite() && number >= 0.0) {
                return Err(OpError::value(OP, name, "a finite number from 0 on", number));
            }
        }
        match self.betas.iter().find(|beta| !(0.0..1.0).contains(*beta)) {
            Some(beta) => Err(OpError::value(OP, "betas", "from 0 to below 1", beta)),
            None => Ok(()),
        }
    }

    /// The factors of step `step`, the first of which is 1.
    fn factors(&self, step: u64) -> Factors {
        let [first, second] = self.betas;
        let step = step as f64;
        Factors {
            direction: if self.maximize { -1.0 } else { 1.0 },
            keep: (1.0 - self.lr * self.weight_decay) as f32,
            first: (1.0 - first) as f32,
            second: [second as f32, (1.0 - second) as f32],
            rate: (self.lr / (1.0 - first.powf(step))) as f32,
            root: (1.0 - second.powf(step)).sqrt() as f32,
            eps: self.eps as f32,
        }
    }
}

/// What all elements of a step share.
#[derive(Clone, Copy, Debug)]
struct Factors {
    /// Of the gradient: 1 or -1.
    direction: f32,
    /// Share of the parameter that weight decay leaves.
    keep: f32,
    /// Weight of the gradient in the first moment.
    first: f32,
    /// Weights of the old second moment and of the squared gradient.
    second: [f32; 2],
    /// Learning rate over the bias correction of the first moment.
    rate: f32,
    /// Root of the bias correction of the second moment.
    root: f32,
    eps: f32,
}
