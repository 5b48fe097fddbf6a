//! Ranges of all tensors are shared among threads in one pass. A range goes through in blocks, whose gradients and values are
//! widened to f32 first where they have 16 bits; the update is a loop that the compiler makes vectors of.

use super::{AdamW, Factors, Parameter};
use crate::cpu::Isa;
use crate::cpu::simd::{Kernel, Simd};
use crate::error::values;
use half::bf16;
use rayon::prelude::*;
use steropes_tensor::{DType, Device, Element, Tensor};

/// Elements of a task.
const TASK: usize = 1 << 14;
/// Elements of a block.
const BLOCK: usize = 256;

pub(super) fn adamw(options: &AdamW, parameters: &mut [Parameter], gradients: &[&Tensor]) {
    let mut open: Vec<Open> = parameters.iter_mut().map(Open::new).collect();
    let mut tasks = Vec::new();
    for (i, ((open, parameter), gradient)) in open.iter_mut().zip(&*parameters).zip(gradients).enumerate() {
        let step = parameter.state.step + 1;
        let factors = options.factors(step);
        let seed = options.stochastic_rounding.unwrap_or(0);
        let key = mixed(mixed(mixed(seed) ^ step) ^ i as u64);
        open.tasks(gradient, factors, options.amsgrad, key, &mut tasks);
    }
    let isa = Isa::current();
    if tasks.len() == 1 {
        tasks.into_iter().for_each(|task| isa.run(task));
    } else {
        tasks.into_par_iter().for_each(|task| isa.run(task));
    }
    for (open, parameter) in open.into_iter().zip(parameters) {
        open.put_back(parameter);
    }
}

/// The memory of a parameter while it is written.
struct Open {
    shape: Vec<usize>,
    value: OpenValue,
    first: Vec<f32>,
    second: Vec<f32>,
    largest: Option<Vec<f32>>,
}

enum OpenValue {
    F32(Vec<f32>),
    Master(Vec<f32>, Vec<bf16>),
    Bf16(Vec<bf16>),
}

/// Takes the memory, or a copy where somebody else holds it too.
fn taken<T: Element>(tensor: &mut Tensor) -> Vec<T> {
    let empty = Tensor::zeros::<f32>(&Device::Cpu, &[0]);
    std::mem::replace(tensor, empty).into_vec().expect("the dtype was checked")
}

fn tensor<T: Element>(shape: &[usize], values: Vec<T>) -> Tensor {
    Tensor::new(&Device::Cpu, shape, values).expect("the memory of this shape")
}

impl Open {
    fn new(parameter: &mut Parameter) -> Self {
        let shape = parameter.value.shape().to_vec();
        let state = &mut parameter.state;
        let value = match (parameter.value.dtype(), &mut state.master) {
            (DType::F32, _) => OpenValue::F32(taken(&mut parameter.value)),
            (_, Some(master)) => OpenValue::Master(taken(master), taken(&mut parameter.value)),
            (_, None) => OpenValue::Bf16(taken(&mut parameter.value)),
        };
        let (first, second) = (taken(&mut state.first), taken(&mut state.second));
        Self { shape, value, first, second, largest: state.largest.as_mut().map(taken) }
    }

    fn put_back(self, parameter: &mut Parameter) {
        let shape = &self.shape;
        let state = &mut parameter.state;
        state.step += 1;
        state.first = tensor(shape, self.first);
        state.second = tensor(shape, self.second);
        state.largest = self.largest.map(|largest| tensor(shape, largest));
        match self.value {
            OpenValue::F32(value) => parameter.value = tensor(shape, value),
            OpenValue::Bf16(value) => parameter.value = tensor(shape, value),
            OpenValue::Master(master, value) => {
                state.master = Some(tensor(shape, master));
                parameter.value = tensor(shape, value);
            }
        }
    }

    fn tasks<'a>(
        &'a mut self,
        gradient: &'a Tensor,
        factors: Factors,
        amsgrad: bool,
        key: u64,
        tasks: &mut Vec<Range<'a>>,
    ) {
        let len = self.first.len();
        let mut first = self.first.chunks_mut(TASK);
        let mut second = self.second.chunks_mut(TASK);
        let mut largest = self.largest.as_mut().filter(|_| amsgrad).map(|largest| largest.chunks_mut(TASK));
        let mut value: Box<dyn Iterator<Item = Value<'a>> + 'a> = match &mut self.value {
            OpenValue::F32(value) => Box::new(value.chunks_mut(TASK).map(Value::F32)),
            OpenValue::Bf16(value) => Box::new(value.chunks_mut(TASK).map(Value::Bf16)),
            OpenValue::Master(master, value) => Box::new(
                master.chunks_mut(TASK).zip(value.chunks_mut(TASK)).map(|(m, v)| Value::Master(m, v)),
            ),
        };
        for start in (0..len).step_by(TASK) {
            let range = start..len.min(start + TASK);
            let gradient = match gradient.dtype() {
                DType::F32 => Gradient::F32(&values(gradient)[range]),
                _ => Gradient::Bf16(&values(gradient)[range]),
            };
            tasks.push(Range {
                value: value.next().expect("one for each range"),
                gradient,
                first: first.next().expect("one for each range"),
                second: second.next().expect("one for each range"),
                largest: largest.as_mut().map(|largest| largest.next().expect("one for each range")),
                factors,
                key,
                start: start as u64,
            });
        }
    }
}

enum Value<'a> {
    F32(&'a mut [f32]),
    /// In f32, and its rounded copy.
    Master(&'a mut [f32], &'a mut [bf16]),
    /// Rounded stochastically.
    Bf16(&'a mut [bf16]),
}

enum Gradient<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
}

/// A range of a tensor.
struct Range<'a> {
    value: Value<'a>,
    gradient: Gradient<'a>,
    first: &'a mut [f32],
    second: &'a mut [f32],
    largest: Option<&'a mut [f32]>,
    factors: Factors,
    /// Of the random numbers.
    key: u64,
    /// The first element among those of the tensor.
    start: u64,
}

impl Kernel for Range<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, _: S) {
        let len = self.first.len();
        let (mut wide_gradient, mut wide_value) = ([0.0; BLOCK], [0.0; BLOCK]);
        for at in (0..len).step_by(BLOCK) {
            let block = at..len.min(at + BLOCK);
            let gradient = match self.gradient {
                Gradient::F32(gradient) => &gradient[block.clone()],
                Gradient::Bf16(gradient) => widen(&gradient[block.clone()], &mut wide_gradient),
            };
            let value = match &mut self.value {
                Value::F32(value) | Value::Master(value, _) => &mut value[block.clone()],
                Value::Bf16(value) => {
                    widen(&value[block.clone()], &mut wide_value);
                    &mut wide_value[..block.len()]
                }
            };
            let (first, second) = (&mut self.first[block.clone()], &mut self.second[block.clone()]);
            match &mut self.largest {
                None => update::<false>(value, gradient, first, second, &mut [], self.factors),
                Some(largest) => {
                    update::<true>(value, gradient, first, second, &mut largest[block.clone()], self.factors);
                }
            }
            match &mut self.value {
                Value::F32(_) => {}
                Value::Master(master, value) => {
                    for (to, &from) in value[block.clone()].iter_mut().zip(&master[block]) {
                        *to = bf16::from_f32(from);
                    }
                }
                Value::Bf16(value) => {
                    let start = self.start + at as u64;
                    for (i, (to, &from)) in value[block].iter_mut().zip(&wide_value).enumerate() {
                        *to = rounded(from, random(self.key, start + i as u64));
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn widen<'a>(from: &[bf16], to: &'a mut [f32; BLOCK]) -> &'a [f32] {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f32::from_bits(u32::from(from.to_bits()) << 16);
    }
    &to[..from.len()]
}

/// The formula, element by element.
#[inline(always)]
fn update<const AMSGRAD: bool>(
    value: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    largest: &mut [f32],
    f: Factors,
) {
    let len = value.len();
    assert!(gradient.len() == len && first.len() == len && second.len() == len, "one element of each");
    assert!(!AMSGRAD || largest.len() == len, "one element of each");
    for i in 0..len {
        let g = f.direction * gradient[i];
        let m = first[i] + f.first * (g - first[i]);
        let v = f.second[0] * second[i] + f.second[1] * g * g;
        first[i] = m;
        second[i] = v;
        let v = if AMSGRAD {
            // A NaN must stay one.
            largest[i] = if v <= largest[i] { largest[i] } else { v };
            largest[i]
        } else {
            v
        };
        value[i] = value[i] * f.keep - f.rate * (m / (v.sqrt() / f.root + f.eps));
    }
}

/// `x` as one of the two bf16 beside it: the one away from zero if the bits behind are above `random`.
#[inline(always)]
fn rounded(x: f32, random: u16) -> bf16 {
    if !x.is_finite() {
        return bf16::from_f32(x);
    }
    bf16::from_bits(((x.to_bits() + u32::from(random)) >> 16) as u16)
}

/// Number `index` of the generator `key`.
#[inline(always)]
fn random(key: u64, index: u64) -> u16 {
    let word = mixed(key.wrapping_add((index / 4 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
    (word >> (16 * (index % 4))) as u16
}

/// The finaliser of splitmix64.
#[inline(always)]
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
