//! The tape.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use steropes_ops::OpError;
use steropes_ops::elementwise::add::add;
use steropes_tensor::{DType, Device, Tensor, TensorError};

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
    /// Whether steps are recorded: not while gradients are computed that need none themselves.
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
        self.unrecorded(|| self.gradients_from(loss, Var::constant(ones(&loss.value)?)))
    }

    /// As [`Tape::gradients`], recorded themselves, so that they have gradients too.
    ///
    /// # Errors
    /// As [`Tape::gradients`].
    pub fn recorded_gradients(&self, loss: &Var) -> Result<Gradients, TapeError> {
        if loss.value.len() != 1 {
            return Err(TapeError::NotANumber(loss.shape().to_vec()));
        }
        self.gradients_from(loss, Var::constant(ones(&loss.value)?))
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
                .map(|(value, &wanted)| {
                    if wanted { inner.variable(value.clone()) } else { Var::constant(value.clone()) }
                })
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

    /// `a + b`, of equal shapes.
    ///
    /// # Errors
    /// [`TapeError`] if the op refuses them.
    pub fn add(&self, a: &Var, b: &Var) -> Result<Var, TapeError> {
        let sum = add(a.value.clone(), &b.value)?;
        self.step(sum, &[a, b], |_, gradient| Ok(vec![Some(gradient.clone()), Some(gradient.clone())]))
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

/// Ones in the shape and dtype of `like`, on its device.
fn ones(like: &Tensor) -> Result<Tensor, TensorError> {
    let device: Device = like.device();
    match like.dtype() {
        DType::F64 => Tensor::new(&device, like.shape(), vec![1.0f64; like.len()]),
        _ => Tensor::new(&device, like.shape(), vec![1.0f32; like.len()]),
    }
}
