//! Choice of the form by the size: matrices in registers, in workgroup memory, or in blocks over many launches.

mod backward;
mod blocks;
mod registers;
mod workgroup;

pub(super) use backward::backward;

use super::Uplo;
use crate::error::OpError;
use crate::gpu::unsupported;
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Gpu, Header, Tensor};

/// The largest matrices, whose launches are few enough to record.
const MOST: usize = 4096;

/// What the parts of this op have in common.
struct Job<'a> {
    op: &'static str,
    gpu: &'a Gpu,
    a: &'a Tensor,
    n: usize,
    uplo: Uplo,
    values: Tensor,
    vectors: Option<Tensor>,
}

pub(super) fn eigh(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    stack: &Stack,
    uplo: Uplo,
    with_vectors: bool,
) -> Result<(Tensor, Option<Tensor>), OpError> {
    let n = stack.rows;
    if n > MOST {
        return Err(unsupported(op, gpu, format!("matrices above {MOST} x {MOST} take too many launches")));
    }
    let new = |shape: &[usize]| Tensor::on_gpu(gpu, op, DType::F32, shape);
    let values = new(&stack.with(&[n]))?;
    let vectors = with_vectors.then(|| new(a.shape())).transpose()?;
    let job = Job { op, gpu, a, n, uplo, values, vectors };
    if !a.is_empty() {
        job.run()?;
    }
    Ok((job.values, job.vectors))
}

impl Job<'_> {
    fn run(&self) -> Result<(), OpError> {
        let form = workgroup::Form::choose(self.gpu.capabilities(), self.n, self.vectors.is_some());
        match form {
            _ if self.n <= registers::MOST => self.in_registers(),
            Some(form) => self.in_workgroups(form),
            None => self.in_blocks(),
        }
    }

    /// Matrices of the batch.
    fn count(&self) -> usize {
        self.a.len() / (self.n * self.n)
    }

    /// The header with `N`, `EPSILON` and `element(i, j)`, the place of an entry in the triangle that is read.
    fn header(&self) -> Header {
        let place = match self.uplo {
            Uplo::Lower => "max(i, j) * N + min(i, j)",
            Uplo::Upper => "min(i, j) * N + max(i, j)",
        };
        Header::new()
            .count("N", self.n as u32)
            .number("EPSILON", f32::EPSILON)
            .text(&format!("fn element(i: u32, j: u32) -> u32 {{ return {place}; }}\n"))
    }
}
