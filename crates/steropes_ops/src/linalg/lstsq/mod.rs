//! Least squares.

mod backward;
pub(crate) mod bench;
mod cpu;
mod gpu;
mod pivoted;
pub(crate) mod reference;
pub(crate) mod tests;

pub use backward::lstsq_backward;

use crate::cpu::lanes::Real;
use crate::error::{Holds, OpError, Place, on_cpu, place, values};
use crate::linalg::stack::{Broadcast, Stack, place_in};
use steropes_tensor::{DType, Tensor};

const OP: &str = "linalg::lstsq";

/// How least squares are solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LstsqDriver {
    /// QR, for matrices of full rank; the fast one.
    Gels,
    /// QR with column pivoting and a complete orthogonal factorisation, for any rank. On the CPU only.
    Gelsy,
}

/// What [`lstsq`] returns.
#[derive(Clone, Debug)]
pub struct Lstsq {
    /// The solutions, `[.., n, k]`, or `[.., n]` for vectors.
    pub solution: Tensor,
    /// `|A x - b|^2` of every column of `b`, `[.., k]`, or `[..]` for vectors, if `m > n` and all matrices are of full rank.
    pub residuals: Option<Tensor>,
    /// The ranks, i64 `[..]`, with [`LstsqDriver::Gelsy`], which finds them.
    pub rank: Option<Tensor>,
}

/// The `x` of the smallest `|A x - b|`, and of these the smallest `|x|`: `torch.linalg.lstsq`.
///
/// # Shapes
/// - `a`: `[.., m, n]`, f32, on the CPU also f64
/// - `b`: `[.., m, k]`, or `[.., m]` if it has an extent less than `a`; the dtype of `a`. Batches are repeated to go together.
/// - `rcond`: [`LstsqDriver::Gelsy`] takes for the rank the most pivots whose condition is estimated below its inverse; `max(m, n) eps`
///   if it is `None`. The other driver does not look at it.
/// - returns: see [`Lstsq`]
///
/// # Numerics
/// Backward stable: reflections only, never the normal equations. With [`LstsqDriver::Gels`] and `m >= n` R of `[A b]` holds everything;
/// with `m < n` the solution of the smallest norm comes from QR of the transpose. For empty matrices the solution is 0 and there
/// are no residuals. A NaN or an infinity makes the solution of its matrix NaN, with rank 0.
///
/// # Errors
/// [`OpError::Shape`], [`OpError::DType`], [`OpError::Device`] or [`OpError::Value`] if an argument is not as above, and
/// [`OpError::Unsupported`] for [`LstsqDriver::Gelsy`] on a GPU, as in torch. [`OpError::Matrix`], which names the matrix and the column, if
/// [`LstsqDriver::Gels`] meets a matrix that is not of full rank in the sense of LAPACK: an exact 0 on the diagonal of R. On a
/// GPU, where nothing waits for the device, the solution of such a matrix is NaN instead.
///
/// # Source
/// Golub and Van Loan, "Matrix Computations", 5.3, 5.5 and 5.6; for the rank Bischof, "Incremental condition estimation", 1990.
pub fn lstsq(a: &Tensor, b: &Tensor, rcond: Option<f64>, driver: LstsqDriver) -> Result<Lstsq, OpError> {
    let system = System::of(a, b)?;
    if let Some(rcond) = rcond
        && !(rcond.is_finite() && rcond >= 0.0)
    {
        return Err(OpError::value(OP, "rcond", "a finite number from 0 on", rcond));
    }
    let place = place(OP, &[("a", a, Holds::Real), ("b", b, Holds::Real)])?;
    match place {
        Place::Gpu(gpu) if driver == LstsqDriver::Gelsy => Err(OpError::Unsupported {
            op: OP,
            device: gpu.capabilities().name.clone(),
            why: "driver `Gelsy`, whose pivots depend on each other, runs on the CPU; `Gels` runs here"
                .to_owned(),
        }),
        _ if system.is_empty() => Ok(system.of_nothing(a, driver)),
        Place::Gpu(gpu) => gpu::gels(&gpu, a, b, &system),
        Place::Cpu if a.dtype() == DType::F64 => on_cpu_as::<f64, 8>(a, b, rcond, driver, &system),
        Place::Cpu => on_cpu_as::<f32, 16>(a, b, rcond, driver, &system),
    }
}

fn on_cpu_as<T: Real, const N: usize>(
    a: &Tensor,
    b: &Tensor,
    rcond: Option<f64>,
    driver: LstsqDriver,
    system: &System,
) -> Result<Lstsq, OpError> {
    let a = system.expanded::<T>(values(a), 0);
    let b = system.expanded::<T>(values(b), 1);
    let (solution, residuals, rank) = match driver {
        LstsqDriver::Gels => {
            let (solution, residuals) = cpu::gels::<T, N>(&a, &b, system).map_err(|[matrix, column]| {
                let batch = place_in(&system.batch.batch, matrix);
                let problem = format!(
                    "is not of full rank: R is 0 at column {column}; driver `Gelsy` solves such systems"
                );
                OpError::Matrix { op: OP, argument: "a", batch, problem }
            })?;
            (solution, residuals, None)
        }
        LstsqDriver::Gelsy => {
            let eps = num_traits::cast::<T, f64>(T::epsilon()).expect("a float");
            let rcond = rcond.unwrap_or(eps * system.m.max(system.n) as f64);
            let (solution, residuals, rank) = pivoted::gelsy::<T, N>(&a, &b, rcond, system);
            (solution, residuals, Some(on_cpu(&system.batch.batch, rank)))
        }
    };
    let residuals = residuals.map(|residuals| on_cpu(&system.residual_shape(), residuals));
    Ok(Lstsq { solution: on_cpu(&system.solution_shape(), solution), residuals, rank })
}

/// The extents of a stack of systems.
struct System {
    batch: Broadcast,
    m: usize,
    n: usize,
    /// Columns of `b`.
    k: usize,
    /// Whether `b` are vectors.
    vectors: bool,
}

impl System {
    fn of(a: &Tensor, b: &Tensor) -> Result<Self, OpError> {
        let stack = Stack::of(OP, "a", a)?;
        let (m, n) = (stack.rows, stack.columns);
        let (batch, k, vectors) = match b.shape() {
            [batch @ .., rows] if *rows == m && b.shape().len() + 1 == a.shape().len() => (batch, 1, true),
            [batch @ .., rows, k] if *rows == m && b.shape().len() == a.shape().len() => (batch, *k, false),
            found => {
                return Err(OpError::shape(
                    OP,
                    "b",
                    format!("[.., {m}, k] or [.., {m}], with as many extents as `a` or one less"),
                    found,
                ));
            }
        };
        Ok(Self { batch: Broadcast::of(OP, "b", &stack.batch, batch)?, m, n, k, vectors })
    }

    fn count(&self) -> usize {
        self.batch.count()
    }

    fn is_empty(&self) -> bool {
        self.count() * self.m * self.n * self.k == 0
    }

    fn solution_shape(&self) -> Vec<usize> {
        let matrix = if self.vectors { vec![self.n] } else { vec![self.n, self.k] };
        [&self.batch.batch[..], &matrix].concat()
    }

    fn residual_shape(&self) -> Vec<usize> {
        let columns = if self.vectors { vec![] } else { vec![self.k] };
        [&self.batch.batch[..], &columns].concat()
    }

    /// What there is without a value in the matrices or `b`.
    fn of_nothing(&self, a: &Tensor, driver: LstsqDriver) -> Lstsq {
        let (device, shape) = (a.device(), self.solution_shape());
        let solution = match a.dtype() {
            DType::F64 => Tensor::zeros::<f64>(&device, &shape),
            _ => Tensor::zeros::<f32>(&device, &shape),
        };
        let rank = (driver == LstsqDriver::Gelsy).then(|| Tensor::zeros::<i64>(&device, &self.batch.batch));
        Lstsq { solution, residuals: None, rank }
    }

    /// The matrices of `a` (0) or `b` (1), repeated as the batch asks for.
    fn expanded<'a, T: Real>(&self, values: &'a [T], which: usize) -> std::borrow::Cow<'a, [T]> {
        if self.batch.is_plain() {
            return values.into();
        }
        let size = self.m * [self.n, self.k][which];
        let matrix = |i| &values[self.batch.sources(i)[which] * size..][..size];
        (0..self.count()).flat_map(matrix).copied().collect::<Vec<T>>().into()
    }
}
