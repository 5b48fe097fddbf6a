//! The tape.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use steropes_ops::OpError;
use steropes_tensor::{DType, Tensor, TensorError};

/// Why no gradient came out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TapeError {
    /// An op did not run.
    #[error(transparent)]
    Op(#[from] OpError),
    /// A tensor could not be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Gradients are of one number.
    #[error("gradients are of one number, not of a tensor {0:?}")]
    NotANumber(Vec<usize>),
    /// A checkpoint recomputes gradients and records none of them.
    #[error("gradients of gradients do not go through a checkpoint")]
    Checkpoint,
    /// The gradient of a step cannot be recorded.
    #[error("{0} has no second derivative here")]
    FirstOrder(&'static str),
    /// Steps do not repeat operands.
    #[error("operands must have one shape, they have {0:?} and {1:?}")]
    Shapes(Vec<usize>, Vec<usize>),
    /// A network was run without one of its parameters.
    #[error("no parameter `{0}` was given")]
    Missing(String),
    /// The value was not computed on this tape.
    #[error("this value belongs to another tape")]
    OtherTape,
}

/// A tensor, and where on a tape it was computed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Var {
    value: Tensor,
    node: Option<Place>,
}

/// A node of a tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    tape: u64,
    index: usize,
}

impl Var {
    /// A tensor that no gradient goes to: data, or a parameter that is not trained.
    pub fn constant(value: Tensor) -> Self {
        Self { value, node: None }
    }

    /// The tensor.
    pub fn value(&self) -> &Tensor {
        &self.value
    }

    /// Its shape.
    pub fn shape(&self) -> &[usize] {
        self.value.shape()
    }

    /// Whether gradients go to it or through it.
    pub fn is_recorded(&self) -> bool {
        self.node.is_some()
    }
}

/// Gradients of the inputs of a step from that of its result, in the order of the inputs; none for inputs that have none.
type Backward = Rc<dyn Fn(&Tape, &Var) -> Result<Vec<Option<Var>>, TapeError>>;

struct Node {
    inputs: Vec<Option<usize>>,
    /// None of a variable.
    backward: Option<Backward>,
}

/// A record of steps on tensors, from which gradients follow in reverse.
///
/// Steps write their gradient as steps on the same tape, so that gradients have gradients where they are asked for.
pub struct Tape {
    id: u64,
    nodes: RefCell<Vec<Node>>,
    is_recording: Cell<bool>,
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl Tape {
    /// An empty tape.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { id, nodes: RefCell::default(), is_recording: Cell::new(true) }
    }

    /// A tensor that gradients go to: a parameter.
    pub fn variable(&self, value: Tensor) -> Var {
        self.push(value, Node { inputs: Vec::new(), backward: None })
    }

    /// Whether steps are recorded: not while gradients are computed that need none themselves.
    pub fn is_recording(&self) -> bool {
        self.is_recording.get()
    }

    /// Steps recorded so far, variables included.
    pub fn len(&self) -> usize {
        self.nodes.borrow().len()
    }

    /// Whether nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records a step: `value` was computed from `inputs`, and `backward` gives their gradients from that of `value`, in the same
    /// order. Without an input that gradients go to, nothing is recorded and `value` is a constant.
    ///
    /// # Errors
    /// [`TapeError::OtherTape`] if an input was recorded on another tape.
    pub fn step(
        &self,
        value: Tensor,
        inputs: &[&Var],
        backward: impl Fn(&Self, &Var) -> Result<Vec<Option<Var>>, TapeError> + 'static,
    ) -> Result<Var, TapeError> {
        let inputs = inputs.iter().map(|input| self.index(input)).collect::<Result<Vec<_>, _>>()?;
        if !self.is_recording.get() || inputs.iter().all(Option::is_none) {
            return Ok(Var::constant(value));
        }
        Ok(self.push(value, Node { inputs, backward: Some(Rc::new(backward)) }))
    }

    /// As [`Tape::step`] for a step whose gradient is an op of its own and has no gradient: asked for one, it says so.
    ///
    /// # Errors
    /// As [`Tape::step`].
    pub fn first_order_step(
        &self,
        name: &'static str,
        value: Tensor,
        inputs: &[&Var],
        backward: impl Fn(&Tensor) -> Result<Vec<Option<Tensor>>, TapeError> + 'static,
    ) -> Result<Var, TapeError> {
        self.step(value, inputs, move |tape, gradient| {
            if tape.is_recording.get() {
                return Err(TapeError::FirstOrder(name));
            }
            let parts = backward(gradient.value())?;
            Ok(parts.into_iter().map(|part| part.map(Var::constant)).collect())
        })
    }

    fn push(&self, value: Tensor, node: Node) -> Var {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        Var { value, node: Some(Place { tape: self.id, index: nodes.len() - 1 }) }
    }

    fn index(&self, var: &Var) -> Result<Option<usize>, TapeError> {
        match var.node {
            Some(place) if place.tape != self.id => Err(TapeError::OtherTape),
            place => Ok(place.map(|place| place.index)),
        }
    }

    /// The gradients of `loss`, a tensor of one element, of all variables that it depends on.
    ///
    /// # Errors
    /// [`TapeError`] if `loss` has more than one element or was computed elsewhere, or a step's gradient failed.
    pub fn gradients(&self, loss: &Var) -> Result<Gradients, TapeError> {
        if loss.value.len() != 1 {
            return Err(TapeError::NotANumber(loss.shape().to_vec()));
        }
        self.unrecorded(|| self.gradients_from(loss, Var::constant(filled(&loss.value, loss.shape(), 1.0)?)))
    }

    /// As [`Tape::gradients`], recorded themselves, so that they have gradients too.
    ///
    /// # Errors
    /// As [`Tape::gradients`].
    pub fn recorded_gradients(&self, loss: &Var) -> Result<Gradients, TapeError> {
        if loss.value.len() != 1 {
            return Err(TapeError::NotANumber(loss.shape().to_vec()));
        }
        self.gradients_from(loss, Var::constant(filled(&loss.value, loss.shape(), 1.0)?))
    }

    /// What `result`, of which `seed` is the gradient of something, passes on to all variables.
    ///
    /// # Errors
    /// As [`Tape::gradients`].
    fn gradients_from(&self, result: &Var, seed: Var) -> Result<Gradients, TapeError> {
        let mut found: HashMap<usize, Var> = HashMap::new();
        let Some(last) = self.index(result)? else {
            return Ok(Gradients { tape: self.id, found });
        };
        found.insert(last, seed);
        for index in (0..=last).rev() {
            // A variable keeps its gradient; of a step it is not needed any more once passed on.
            let (inputs, backward) = match &self.nodes.borrow()[index] {
                Node { inputs, backward: Some(backward) } => (inputs.clone(), Rc::clone(backward)),
                Node { backward: None, .. } => continue,
            };
            let Some(gradient) = found.remove(&index) else { continue };
            let parts = backward(self, &gradient)?;
            debug_assert_eq!(parts.len(), inputs.len(), "a gradient or none for every input");
            for (input, part) in inputs.into_iter().zip(parts) {
                if let (Some(input), Some(part)) = (input, part) {
                    let sum = match found.remove(&input) {
                        None => part,
                        Some(before) => self.add(&before, &part)?,
                    };
                    found.insert(input, sum);
                }
            }
        }
        Ok(Gradients { tape: self.id, found })
    }

    /// Runs `body` on a tape of its own and keeps nothing of what it computes on the way: when gradients are asked for, it runs again.
    /// Memory for time.
    ///
    /// # Errors
    /// What `body` returns.
    pub fn checkpoint(
        &self,
        inputs: &[&Var],
        body: impl Fn(&Self, &[Var]) -> Result<Var, TapeError> + 'static,
    ) -> Result<Var, TapeError> {
        let values: Vec<Tensor> = inputs.iter().map(|input| input.value.clone()).collect();
        let wanted: Vec<bool> = inputs.iter().map(|input| input.is_recorded()).collect();
        let constants: Vec<Var> = values.iter().cloned().map(Var::constant).collect();
        let result = body(&Self::new(), &constants)?.value;
        self.step(result, inputs, move |tape, gradient| {
            if tape.is_recording.get() {
                return Err(TapeError::Checkpoint);
            }
            let inner = Self::new();
            let again: Vec<Var> = values
                .iter()
                .zip(&wanted)
                .map(
                    |(value, &wanted)| {
                        if wanted { inner.variable(value.clone()) } else { Var::constant(value.clone()) }
                    },
                )
                .collect();
            let result = body(&inner, &again)?;
            let seed = Var::constant(gradient.value.clone());
            let gradients = inner.unrecorded(|| inner.gradients_from(&result, seed))?;
            Ok(again.iter().map(|var| gradients.of(var).cloned().map(Var::constant)).collect())
        })
    }

    fn unrecorded<T>(&self, body: impl FnOnce() -> T) -> T {
        struct Restore<'a>(&'a Cell<bool>, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        let _restore = Restore(&self.is_recording, self.is_recording.replace(false));
        body()
    }
}

/// Gradients of one number, by variable.
#[derive(Debug)]
pub struct Gradients {
    tape: u64,
    found: HashMap<usize, Var>,
}

impl Gradients {
    /// The gradient of a variable, in its shape; none if the number does not depend on it.
    pub fn of(&self, variable: &Var) -> Option<&Tensor> {
        self.recorded(variable).map(Var::value)
    }

    /// As [`Gradients::of`], with its place on the tape if it was recorded.
    pub fn recorded(&self, variable: &Var) -> Option<&Var> {
        let place = variable.node.filter(|place| place.tape == self.tape)?;
        self.found.get(&place.index)
    }
}

/// `value` in every place of `shape`, in the dtype and on the device of `like`.
pub(crate) fn filled(like: &Tensor, shape: &[usize], value: f64) -> Result<Tensor, TensorError> {
    let (device, len) = (like.device(), shape.iter().product());
    match like.dtype() {
        DType::F64 => Tensor::new(&device, shape, vec![value; len]),
        DType::F16 => Tensor::new(&device, shape, vec![half::f16::from_f64(value); len]),
        _ => Tensor::new(&device, shape, vec![value as f32; len]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steropes_tensor::Device;

    fn number(value: f64) -> Tensor {
        Tensor::new(&Device::Cpu, &[], vec![value]).unwrap()
    }

    fn read(tensor: &Tensor) -> f64 {
        tensor.read::<f64>().unwrap()[0]
    }

    #[test]
    fn what_is_used_twice_gets_both_gradients() {
        let tape = Tape::new();
        let x = tape.variable(number(3.0));
        let square = tape.mul(&x, &x).unwrap();
        let cube = tape.mul(&square, &x).unwrap();
        let gradients = tape.gradients(&cube).unwrap();
        assert_eq!(read(gradients.of(&x).unwrap()), 27.0);
    }

    #[test]
    fn constants_cost_nothing() {
        let tape = Tape::new();
        let x = Var::constant(number(3.0));
        assert!(!tape.mul(&x, &x).unwrap().is_recorded());
        assert!(tape.is_empty());
        let unused = tape.variable(number(1.0));
        let gradients = tape.gradients(&tape.mul(&x, &x).unwrap()).unwrap();
        assert!(gradients.of(&unused).is_none() && gradients.of(&x).is_none());
    }

    #[test]
    fn second_and_third_derivatives() {
        let tape = Tape::new();
        let x = tape.variable(number(2.0));
        let square = tape.mul(&x, &x).unwrap();
        let fourth = tape.mul(&square, &square).unwrap();
        let first = tape.recorded_gradients(&fourth).unwrap().recorded(&x).unwrap().clone();
        let second = tape.recorded_gradients(&first).unwrap().recorded(&x).unwrap().clone();
        let third = tape.gradients(&second).unwrap();
        assert_eq!(
            [read(first.value()), read(second.value()), read(third.of(&x).unwrap())],
            [32.0, 48.0, 48.0]
        );
    }

    #[test]
    fn a_checkpoint_gives_the_same_gradient_and_records_one_step() {
        let plain = Tape::new();
        let body = |tape: &Tape, v: &[Var]| {
            let square = tape.mul(&v[0], &v[0])?;
            tape.mul(&square, &v[1])
        };
        let [x, y] = [2.0, 5.0].map(|value| plain.variable(number(value)));
        let want = plain.gradients(&body(&plain, &[x.clone(), y.clone()]).unwrap()).unwrap();
        let tape = Tape::new();
        let [u, v] = [2.0, 5.0].map(|value| tape.variable(number(value)));
        let result = tape.checkpoint(&[&u, &v], body).unwrap();
        assert_eq!((read(result.value()), tape.len()), (20.0, 3));
        let got = tape.gradients(&result).unwrap();
        for (a, b) in [(&u, &x), (&v, &y)] {
            assert_eq!(read(got.of(a).unwrap()), read(want.of(b).unwrap()));
        }
        let error = tape.recorded_gradients(&result).unwrap_err();
        assert_eq!(error.to_string(), "gradients of gradients do not go through a checkpoint");
    }

    #[test]
    fn what_cannot_be_is_said() {
        let (tape, other) = (Tape::new(), Tape::new());
        let x = tape.variable(number(2.0));
        let y = other.variable(number(2.0));
        assert_eq!(tape.mul(&x, &y).unwrap_err().to_string(), "this value belongs to another tape");
        let pair = tape.variable(Tensor::new(&Device::Cpu, &[2], vec![1.0f64, 2.0]).unwrap());
        let error = tape.gradients(&pair).unwrap_err();
        assert_eq!(error.to_string(), "gradients are of one number, not of a tensor [2]");
        let single = tape.variable(Tensor::new(&Device::Cpu, &[1], vec![0.5f32]).unwrap());
        let smooth = tape.gelu(&single).unwrap();
        let error = tape.recorded_gradients(&smooth).unwrap_err();
        assert_eq!(error.to_string(), "gelu has no second derivative here");
        assert!(tape.gradients(&smooth).is_ok());
    }
}
