//! The largest singular values and their vectors, of the range that random vectors find.

pub(crate) mod bench;
pub(crate) mod normals;
pub(crate) mod reference;
pub(crate) mod tests;

use super::matmul::{Transposed, matmul};
use super::qr::{QrMode, qr};
use super::stack::{Broadcast, Stack};
use super::svd::svd;
use crate::elementwise::arithmetic::sub;
use crate::elementwise::transpose::transpose;
use crate::error::{Holds, OpError, place};
use steropes_tensor::{DType, Device, Tensor};

const OP: &str = "linalg::svd_lowrank";

/// How [`svd_lowrank`] looks for the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LowRank {
    /// Random vectors, and so singular values that come out: somewhat more than are wanted. More than `min(m, n)` count as that.
    pub q: usize,
    /// Power iterations. Each raises the ratio of singular values by 2 powers, for two more products with the matrix.
    pub niter: usize,
    /// What the random vectors depend on.
    pub seed: u64,
}

impl Default for LowRank {
    /// 6 vectors, 2 iterations, as in torch.
    fn default() -> Self {
        Self { q: 6, niter: 2, seed: 0 }
    }
}

/// `(U, S, V)` with `U diag(S) V^T` close to `a`, or to `a` less its `mean`, of the rank `q`: `torch.svd_lowrank`.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64; any extent may be 0. `k = min(q, m, n)`
/// - `mean`: `[.., 1, n]` of a batch that goes with that of `a`, `[m, n]` for all matrices, or the shape of `a`; its dtype
/// - returns `U`: `[.., m, k]`; `S`: `[.., k]`, descending; `V` (not its transpose): `[.., n, k]`; all of the dtype of `a`
///
/// # Random numbers
/// The vectors are standard normal, the same ones for every matrix, and depend on the seed, their length and their number only: the same
/// arguments give the same bits in each run and for any number of threads, and other devices start from the same vectors.
///
/// # Signs
/// Those of [`svd`](super::svd::svd()) of the matrix in the basis that was found: fixed, but by no rule for the entries of `U`.
///
/// # Numerics
/// Each product is made orthonormal by [`qr`](super::qr::qr()) before the next, so that small values survive the iterations. `U` and `V` are
/// orthonormal to `max(m, n) * eps`. A matrix of rank `k` or less comes out within `max(m, n) * eps * S[0]`; of others the
/// expected error is `(1 + 4 sqrt(2 min(m, n) / (k - 1)))^(1 / (2 niter + 1))` times the first singular value left out. The mean is taken off
/// before all else: its size costs no digits. Sums of products must not overflow.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above. On the CPU [`OpError::Matrix`] names the
/// first matrix with NaN or an infinity; on a GPU all results of such a matrix are NaN. On a GPU [`OpError::Unsupported`] if `k`
/// is above 2048, or a matrix does not fit a binding.
///
/// # Source
/// Halko, Martinsson and Tropp, arXiv:0909.4061, algorithms 4.4 and 5.1.
pub fn svd_lowrank(
    a: &Tensor,
    options: LowRank,
    mean: Option<&Tensor>,
) -> Result<(Tensor, Tensor, Tensor), OpError> {
    let stack = Stack::of(OP, "a", a)?;
    let mut arguments = vec![("a", a, Holds::Real)];
    arguments.extend(mean.map(|mean| ("mean", mean, Holds::Real)));
    let repeat = mean.map(|mean| Repeat::of(&stack, mean)).transpose()?;
    place(OP, &arguments)?;
    let centred = match (mean, repeat) {
        (Some(mean), Some(repeat)) => sub(a.clone(), &repeat.applied(&stack, mean)?)?,
        _ => a.clone(),
    };
    // The random vectors have the length of the shorter side.
    let matrix = Seen { of: &centred, transposed: stack.rows < stack.columns };
    let (short, k) = (stack.rows.min(stack.columns), options.q.min(stack.rows).min(stack.columns));
    let mut basis = orthonormal(&matrix.times(&random(a, [short, k], options.seed))?)?;
    for _ in 0..options.niter {
        let back = orthonormal(&matrix.transposed_times(&basis)?)?;
        basis = orthonormal(&matrix.times(&back)?)?;
    }
    // The matrix in the basis: k rows.
    let small = product(&basis, matrix.of, Transposed { a: true, b: matrix.transposed })?;
    let (u, s, vh) = svd(&small, false).map_err(|error| error.of(OP))?;
    let long = product(&basis, &u, Transposed::NONE)?;
    let short = transpose(&vh).map_err(|error| error.of(OP))?;
    Ok(if matrix.transposed { (short, s, long) } else { (long, s, short) })
}

/// The matrices, or their transposes.
struct Seen<'a> {
    of: &'a Tensor,
    transposed: bool,
}

impl Seen<'_> {
    fn times(&self, x: &Tensor) -> Result<Tensor, OpError> {
        product(self.of, x, Transposed { a: self.transposed, b: false })
    }

    fn transposed_times(&self, x: &Tensor) -> Result<Tensor, OpError> {
        product(self.of, x, Transposed { a: !self.transposed, b: false })
    }
}

fn product(a: &Tensor, b: &Tensor, transposed: Transposed) -> Result<Tensor, OpError> {
    matmul(a, b, transposed).map_err(|error| error.of(OP))
}

fn orthonormal(a: &Tensor) -> Result<Tensor, OpError> {
    Ok(qr(a, QrMode::Reduced).map_err(|error| error.of(OP))?.0)
}

/// Standard normal vectors where `like` is, of its dtype.
fn random(like: &Tensor, shape: [usize; 2], seed: u64) -> Tensor {
    let values = normals::normals(seed, shape);
    match like.dtype() {
        DType::F64 => Tensor::new(&Device::Cpu, &shape, values),
        _ => Tensor::new(&like.device(), &shape, values.into_iter().map(|x| x as f32).collect()),
    }
    .expect("a number for each place")
}

/// How a mean is repeated.
enum Repeat {
    /// Not at all.
    Nothing,
    /// It is one matrix for all.
    Matrix,
    /// It is a row for each matrix.
    Rows,
}

impl Repeat {
    fn of(stack: &Stack, mean: &Tensor) -> Result<Self, OpError> {
        let Stack { rows, columns, .. } = *stack;
        let shape = mean.shape();
        let is_row = |batch: &[usize]| {
            let both = Broadcast::of(OP, "mean", &stack.batch, batch);
            both.is_ok_and(|both| both.batch == stack.batch)
        };
        match shape {
            shape if shape == stack.with(&[rows, columns]) => Ok(Self::Nothing),
            [m, n] if [*m, *n] == [rows, columns] => Ok(Self::Matrix),
            [batch @ .., 1, n] if *n == columns && is_row(batch) => Ok(Self::Rows),
            _ => {
                let expected = format!(
                    "[.., 1, {columns}] of a batch that goes with {:?}, or [.., {rows}, {columns}]",
                    stack.batch
                );
                Err(OpError::shape(OP, "mean", expected, shape))
            }
        }
    }

    /// The mean in the shape of the stack.
    fn applied(&self, stack: &Stack, mean: &Tensor) -> Result<Tensor, OpError> {
        let ones = |shape: &[usize]| {
            let len = shape.iter().product();
            match mean.dtype() {
                DType::F64 => Tensor::new(&Device::Cpu, shape, vec![1.0f64; len]),
                _ => Tensor::new(&mean.device(), shape, vec![1.0f32; len]),
            }
            .expect("a one for each place")
        };
        match self {
            Self::Nothing => Ok(mean.clone()),
            Self::Rows => product(&ones(&stack.with(&[stack.rows, 1])), mean, Transposed::NONE),
            Self::Matrix => {
                let row = mean.clone().reshape(&[1, mean.len()]).expect("as many elements");
                let all = product(&ones(&[stack.count(), 1]), &row, Transposed::NONE)?;
                Ok(all.reshape(&stack.with(&[stack.rows, stack.columns])).expect("as many elements"))
            }
        }
    }
}
