//! `steropes linalg`.

mod arrays;
mod check;

use crate::Common;
use crate::device::DeviceArgs;
use arrays::{Array, Precision, Source};
use check::{distance, orthogonality, product, scaled_columns, wide};
use clap::Subcommand;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use steropes_ops::elementwise::transpose::transpose;
use steropes_ops::linalg::cholesky::cholesky;
use steropes_ops::linalg::cond::{CondNorm, cond};
use steropes_ops::linalg::det::{det, slogdet};
use steropes_ops::linalg::eigh::{Uplo, eigh, eigvalsh};
use steropes_ops::linalg::lstsq::{LstsqDriver, lstsq};
use steropes_ops::linalg::lu::lu;
use steropes_ops::linalg::matmul::{Transposed, matmul};
use steropes_ops::linalg::matrix_exp::matrix_exp;
use steropes_ops::linalg::pinv::{matrix_rank, pinv};
use steropes_ops::linalg::qr::{QrMode, qr};
use steropes_ops::linalg::solve::{inv, solve};
use steropes_ops::linalg::svd::{svd, svdvals};
use steropes_ops::linalg::svd_lowrank::{LowRank, svd_lowrank};
use steropes_tensor::{DType, Device, Tensor};

/// Factor and solve arrays in files
///
/// Arrays are .npy files or tensors of .safetensors files (file.safetensors:name). The last two extents are a matrix, others a
/// batch. Names, order and signs of results are those of torch.linalg. How good the result is, is computed in f64 and printed.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  steropes linalg svd a.npy -o svd.safetensors        U, S and Vh
  steropes linalg solve a.npy b.npy -o x.npy
  steropes linalg eigh layer.safetensors:cov --device cpu --dtype f64 -o eigen.safetensors
  steropes linalg cond a.npy                          prints what the result holds")]
pub(crate) struct Args {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Subcommand)]
enum Operation {
    /// Singular values and vectors: A = U diag(S) Vh
    Svd {
        /// Whole orthogonal matrices instead of the first min(m, n) vectors
        #[arg(long)]
        full_matrices: bool,
        #[command(flatten)]
        io: Io,
    },
    /// Singular values, largest first
    Svdvals {
        #[command(flatten)]
        io: Io,
    },
    /// The largest singular values and their vectors, of a random range: A is close to U diag(S) Vᵀ
    SvdLowrank {
        /// Values that come out, somewhat more than are wanted
        #[arg(short, long, default_value_t = LowRank::default().q)]
        q: usize,
        /// Power iterations: more are more exact
        #[arg(long, default_value_t = LowRank::default().niter)]
        niter: usize,
        /// What the random vectors depend on
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Take the mean of the rows off first
        #[arg(long)]
        center: bool,
        #[command(flatten)]
        io: Io,
    },
    /// Orthogonal and upper triangular factors: A = Q R
    Qr {
        /// The whole orthogonal matrix instead of the first min(m, n) columns
        #[arg(long)]
        complete: bool,
        #[command(flatten)]
        io: Io,
    },
    /// Eigenvalues, smallest first, and vectors of symmetric matrices: A V = V diag(L)
    Eigh {
        /// Read the upper triangle instead of the lower
        #[arg(long)]
        upper: bool,
        #[command(flatten)]
        io: Io,
    },
    /// Eigenvalues of symmetric matrices, smallest first
    Eigvalsh {
        /// Read the upper triangle instead of the lower
        #[arg(long)]
        upper: bool,
        #[command(flatten)]
        io: Io,
    },
    /// Triangular factor of positive definite matrices: A = L Lᵀ
    Cholesky {
        /// The upper factor, of A = Uᵀ U
        #[arg(long)]
        upper: bool,
        #[command(flatten)]
        io: Io,
    },
    /// Permutation and triangular factors: A = P L U
    Lu {
        #[command(flatten)]
        io: Io,
    },
    /// X with A X = B
    Solve {
        #[command(flatten)]
        io: TwoIo,
    },
    /// X with the least |A X - B|
    Lstsq {
        /// Matrices may lack rank: the shortest X of those
        #[arg(long)]
        rank_revealing: bool,
        #[command(flatten)]
        io: TwoIo,
    },
    /// Inverses
    Inv {
        #[command(flatten)]
        io: Io,
    },
    /// Pseudo-inverses
    Pinv {
        /// Singular values below this share of the largest count as 0; max(m, n) times the rounding if not given
        #[arg(long, value_name = "SHARE")]
        rtol: Option<f64>,
        #[command(flatten)]
        io: Io,
    },
    /// Determinants
    Det {
        #[command(flatten)]
        io: Io,
    },
    /// Signs of determinants and logarithms of their magnitudes
    Slogdet {
        #[command(flatten)]
        io: Io,
    },
    /// Numbers of singular values that are not 0
    MatrixRank {
        /// Singular values below this share of the largest count as 0; max(m, n) times the rounding if not given
        #[arg(long, value_name = "SHARE")]
        rtol: Option<f64>,
        #[command(flatten)]
        io: Io,
    },
    /// Condition numbers, |A| |A^-1|; infinite for singular matrices
    Cond {
        /// The norm: 2 (largest by smallest singular value), -2, 1, -1, inf, -inf, fro or nuc
        #[arg(short, long, value_name = "NORM", default_value_t = CondNorm::Two, allow_hyphen_values = true)]
        p: CondNorm,
        #[command(flatten)]
        io: Io,
    },
    /// Exponentials of square matrices
    MatrixExp {
        #[command(flatten)]
        io: Io,
    },
}

/// An array, and what is done with it.
#[derive(clap::Args)]
struct Io {
    /// The array: file.npy, file.safetensors or file.safetensors:name
    a: Source,
    #[command(flatten)]
    common: IoCommon,
}

/// Two arrays, and what is done with them.
#[derive(clap::Args)]
struct TwoIo {
    /// The matrices: file.npy, file.safetensors or file.safetensors:name
    a: Source,
    /// The right sides, likewise
    b: Source,
    #[command(flatten)]
    common: IoCommon,
}

#[derive(clap::Args)]
struct IoCommon {
    /// The file to write: .safetensors, or .npy if the result is one array
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
    /// Compute in this type; that of the file if not given, f32 for smaller ones and integers
    #[arg(long)]
    dtype: Option<Precision>,
    #[command(flatten)]
    place: DeviceArgs,
}

/// What came out, and how good it is.
struct Outcome {
    arrays: Vec<(&'static str, Tensor)>,
    checks: Vec<(&'static str, f64)>,
}

impl Outcome {
    fn of<const N: usize, const M: usize>(
        arrays: [(&'static str, Tensor); N],
        checks: [(&'static str, f64); M],
    ) -> Self {
        Self { arrays: arrays.into(), checks: checks.into() }
    }
}

pub(crate) fn run(args: &Args, common: &Common, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    let (sources, io) = match &args.operation {
        Operation::Solve { io } | Operation::Lstsq { io, .. } => (vec![&io.a, &io.b], &io.common),
        Operation::Svd { io, .. }
        | Operation::Svdvals { io }
        | Operation::SvdLowrank { io, .. }
        | Operation::Qr { io, .. }
        | Operation::Eigh { io, .. }
        | Operation::Eigvalsh { io, .. }
        | Operation::Cholesky { io, .. }
        | Operation::Lu { io }
        | Operation::Inv { io }
        | Operation::Pinv { io, .. }
        | Operation::Det { io }
        | Operation::Slogdet { io }
        | Operation::MatrixRank { io, .. }
        | Operation::Cond { io, .. }
        | Operation::MatrixExp { io } => (vec![&io.a], &io.common),
    };
    let read = sources.into_iter().map(Array::read).collect::<anyhow::Result<Vec<_>>>()?;
    let precision = io.dtype.unwrap_or_else(|| read[0].precision());
    for array in &read {
        log::info!("elements of the file: {}", array.stored());
    }
    // f64 is a matter of the CPU; a GPU that was named says so itself.
    let device = match (precision, &io.place.device) {
        (Precision::F64, None) => Device::Cpu,
        _ => io.place.open()?,
    };
    let arrays =
        read.iter().map(|array| array.tensor(&device, precision)).collect::<anyhow::Result<Vec<_>>>()?;
    let start = Instant::now();
    let outcome = args.operation.apply(&arrays)?;
    let seconds = start.elapsed().as_secs_f64();
    if let Some(place) = &io.output {
        arrays::write(place, io.force, &outcome.arrays)?;
    }
    report(&outcome, io, common, &device, precision, seconds, out)?;
    Ok(ExitCode::SUCCESS)
}

fn report(
    outcome: &Outcome,
    io: &IoCommon,
    common: &Common,
    device: &Device,
    precision: Precision,
    seconds: f64,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    /// Values of an array that are printed.
    const SHOWN: usize = 8;
    let precision = match precision {
        Precision::F32 => "f32",
        Precision::F64 => "f64",
    };
    if common.json {
        let arrays: serde_json::Map<_, _> = outcome
            .arrays
            .iter()
            .map(|(name, tensor)| ((*name).to_owned(), json!({ "shape": tensor.shape() })))
            .collect();
        let checks: serde_json::Map<_, _> =
            outcome.checks.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let result = json!({
            "file": io.output, "arrays": arrays, "checks": checks,
            "device": device.name(), "dtype": precision, "seconds_with_checks": seconds,
        });
        writeln!(out, "{result:#}")?;
        return Ok(());
    }
    writeln!(out, "in {precision} on {}", device.name())?;
    for (name, tensor) in &outcome.arrays {
        write!(out, "{name:<10} {:?}", tensor.shape())?;
        if tensor.len() <= SHOWN {
            write!(out, "  {:?}", arrays::values(tensor)?)?;
        }
        writeln!(out)?;
    }
    for (name, value) in &outcome.checks {
        writeln!(out, "{name:<28} {value:.1e}")?;
    }
    Ok(())
}

impl Operation {
    /// The result, and how far it is from what it should be.
    fn apply(&self, arrays: &[Tensor]) -> anyhow::Result<Outcome> {
        let a = &arrays[0];
        Ok(match self {
            Self::Svd { full_matrices, .. } => {
                let (u, s, vh) = svd(a, *full_matrices)?;
                svd_outcome(a, u, s, vh)?
            }
            Self::Svdvals { .. } => Outcome::of([("S", svdvals(a)?)], []),
            Self::SvdLowrank { q, niter, seed, center, .. } => {
                let options = LowRank { q: *q, niter: *niter, seed: *seed };
                low_rank_outcome(a, options, *center)?
            }
            Self::Qr { complete, .. } => {
                let (q, r) = qr(a, if *complete { QrMode::Complete } else { QrMode::Reduced })?;
                let wide_q = wide(&q)?;
                let residual = distance(&product(&wide_q, &wide(&r)?)?, a)?;
                let orthogonality = orthogonality(&wide_q, false)?;
                Outcome::of(
                    [("Q", q), ("R", r)],
                    [("|A - Q R| / |A|", residual), ("max |Q' Q - 1|", orthogonality)],
                )
            }
            Self::Eigh { upper, .. } => {
                let (values, vectors) = eigh(a, uplo(*upper))?;
                let wide_vectors = wide(&vectors)?;
                let own = product(&wide(&symmetric(a, *upper)?)?, &wide_vectors)?;
                let residual = distance(&own, &scaled_columns(&wide_vectors, &values)?)?;
                let orthogonality = orthogonality(&wide_vectors, false)?;
                Outcome::of(
                    [("L", values), ("V", vectors)],
                    [("|A V - V L| / |A|", residual), ("max |V' V - 1|", orthogonality)],
                )
            }
            Self::Eigvalsh { upper, .. } => Outcome::of([("L", eigvalsh(a, uplo(*upper))?)], []),
            Self::Cholesky { upper, .. } => {
                let factor = cholesky(a, *upper)?;
                let wide_factor = wide(&factor)?;
                let transposed = if *upper { Transposed::A } else { Transposed::B };
                let residual =
                    distance(&matmul(&wide_factor, &wide_factor, transposed)?, &symmetric(a, *upper)?)?;
                let name = if *upper { "U" } else { "L" };
                Outcome::of([(name, factor)], [("|A - L L'| / |A|", residual)])
            }
            Self::Lu { .. } => {
                let (p, l, u) = lu(a)?;
                let residual = distance(&product(&product(&wide(&p)?, &wide(&l)?)?, &wide(&u)?)?, a)?;
                Outcome::of([("P", p), ("L", l), ("U", u)], [("|A - P L U| / |A|", residual)])
            }
            Self::Solve { .. } => {
                let x = solve(a, &arrays[1])?;
                let residual = distance(&applied(a, &x, &arrays[1])?, &arrays[1])?;
                Outcome::of([("X", x)], [("|A X - B| / |B|", residual)])
            }
            Self::Lstsq { rank_revealing, .. } => {
                let driver = if *rank_revealing { LstsqDriver::Gelsy } else { LstsqDriver::Gels };
                let found = lstsq(a, &arrays[1], None, driver)?;
                let residual = distance(&applied(a, &found.solution, &arrays[1])?, &arrays[1])?;
                let mut outcome = Outcome::of([("X", found.solution)], [("|A X - B| / |B|", residual)]);
                outcome.arrays.extend(found.rank.map(|rank| ("rank", rank)));
                outcome
            }
            Self::Inv { .. } => {
                let inverse = inv(a)?;
                let product = product(&wide(a)?, &wide(&inverse)?)?;
                let residual = distance(&product, &identity(&product)?)?;
                Outcome::of([("inverse", inverse)], [("|A X - 1| / |1|", residual)])
            }
            Self::Pinv { rtol, .. } => {
                let inverse = pinv(a, *rtol)?;
                let wide_a = wide(a)?;
                let back = product(&product(&wide_a, &wide(&inverse)?)?, &wide_a)?;
                let residual = distance(&back, a)?;
                Outcome::of([("pinv", inverse)], [("|A X A - A| / |A|", residual)])
            }
            Self::Det { .. } => Outcome::of([("det", det(a)?)], []),
            Self::Slogdet { .. } => {
                let (sign, logarithm) = slogdet(a)?;
                Outcome::of([("sign", sign), ("logabsdet", logarithm)], [])
            }
            Self::MatrixRank { rtol, .. } => Outcome::of([("rank", matrix_rank(a, *rtol)?)], []),
            Self::Cond { p, .. } => Outcome::of([("cond", cond(a, *p)?)], []),
            Self::MatrixExp { .. } => Outcome::of([("exp", matrix_exp(a)?)], []),
        })
    }
}

fn svd_outcome(a: &Tensor, u: Tensor, s: Tensor, vh: Tensor) -> anyhow::Result<Outcome> {
    let (wide_u, wide_vh) = (wide(&u)?, wide(&vh)?);
    let count = s.shape().last().copied().unwrap_or(0);
    let first = product(&scaled_columns(&columns(&wide_u, count)?, &s)?, &rows(&wide_vh, count)?)?;
    let residual = distance(&first, a)?;
    let checks = [
        ("|A - U S Vh| / |A|", residual),
        ("max |U' U - 1|", orthogonality(&wide_u, false)?),
        ("max |Vh Vh' - 1|", orthogonality(&wide_vh, true)?),
    ];
    Ok(Outcome::of([("U", u), ("S", s), ("Vh", vh)], checks))
}

fn low_rank_outcome(a: &Tensor, options: LowRank, center: bool) -> anyhow::Result<Outcome> {
    let mean = center.then(|| row_means(a)).transpose()?;
    let (u, s, v) = svd_lowrank(a, options, mean.as_ref())?;
    let (wide_u, wide_v) = (wide(&u)?, wide(&v)?);
    let found = product(&scaled_columns(&wide_u, &s)?, &transpose(&wide_v)?)?;
    let whole = match &mean {
        None => wide(a)?,
        Some(mean) => less(&wide(a)?, &wide(mean)?)?,
    };
    let checks = [
        ("|A - U S V'| / |A|", distance(&found, &whole)?),
        ("max |U' U - 1|", orthogonality(&wide_u, false)?),
        ("max |V' V - 1|", orthogonality(&wide_v, false)?),
    ];
    let mut outcome = Outcome::of([("U", u), ("S", s), ("V", v)], checks);
    outcome.arrays.extend(mean.map(|mean| ("mean", mean)));
    Ok(outcome)
}

/// The mean of the rows of every matrix, `[.., 1, n]`, in the dtype and on the device of `a`.
fn row_means(a: &Tensor) -> anyhow::Result<Tensor> {
    let &[ref batch @ .., rows, columns] = a.shape() else {
        anyhow::bail!("a matrix has two extents, this array has {:?}", a.shape());
    };
    let values = arrays::values(a)?;
    let mean = |matrix: &[f64]| -> Vec<f64> {
        let of = |j: usize| matrix.iter().skip(j).step_by(columns).sum::<f64>() / rows as f64;
        (0..columns).map(of).collect()
    };
    let means: Vec<f64> = values.chunks((rows * columns).max(1)).flat_map(mean).collect();
    let shape = [batch, &[1, columns]].concat();
    let count = shape.iter().product::<usize>();
    // Without rows there is nothing to take a mean of.
    let means = if means.len() == count { means } else { vec![0.0; count] };
    Ok(match a.dtype() {
        DType::F64 => Tensor::new(&Device::Cpu, &shape, means)?,
        _ => Tensor::new(&a.device(), &shape, means.into_iter().map(|x| x as f32).collect())?,
    })
}

/// Each row of `a` less the row of its matrix in `means`.
fn less(a: &Tensor, means: &Tensor) -> anyhow::Result<Tensor> {
    let (values, offsets) = (arrays::values(a)?, arrays::values(means)?);
    let &[.., rows, columns] = a.shape() else { return Ok(a.clone()) };
    let each = (rows * columns).max(1);
    let at = |(e, x): (usize, &f64)| x - offsets[e / each * columns + e % columns];
    Ok(Tensor::new(&Device::Cpu, a.shape(), values.iter().enumerate().map(at).collect::<Vec<f64>>())?)
}

fn uplo(upper: bool) -> Uplo {
    if upper { Uplo::Upper } else { Uplo::Lower }
}

/// `A X` in the shape of `b`, which may be vectors.
fn applied(a: &Tensor, x: &Tensor, b: &Tensor) -> anyhow::Result<Tensor> {
    let x = wide(x)?;
    let is_vector = b.shape().len() + 1 == a.shape().len() || b.shape().len() == 1;
    let columns = if is_vector { [x.shape(), &[1]].concat() } else { x.shape().to_vec() };
    let product = product(&wide(a)?, &x.reshape(&columns)?)?;
    let shape = if is_vector { &product.shape()[..product.shape().len() - 1] } else { product.shape() };
    let shape = shape.to_vec();
    Ok(product.reshape(&shape)?)
}

/// The symmetric matrices of which one triangle of `a` is read.
fn symmetric(a: &Tensor, upper: bool) -> anyhow::Result<Tensor> {
    let values = arrays::values(a)?;
    let n = a.shape().last().copied().unwrap_or(1).max(1);
    let all = (0..values.len()).map(|index| {
        let (matrix, row, column) = (index / (n * n), index / n % n, index % n);
        let (row, column) = if (row < column) == upper { (row, column) } else { (column, row) };
        values[matrix * n * n + row * n + column]
    });
    Ok(Tensor::new(&Device::Cpu, a.shape(), all.collect::<Vec<f64>>())?)
}

/// Identities in the shape of `like`.
fn identity(like: &Tensor) -> anyhow::Result<Tensor> {
    let n = like.shape().last().copied().unwrap_or(1).max(1);
    let all = (0..like.len()).map(|index| if index / n % n == index % n { 1.0 } else { 0.0 });
    Ok(Tensor::new(&Device::Cpu, like.shape(), all.collect::<Vec<f64>>())?)
}

/// The first `count` columns of a stack of matrices.
fn columns(a: &Tensor, count: usize) -> anyhow::Result<Tensor> {
    let values = arrays::values(a)?;
    let width = a.shape()[a.shape().len() - 1];
    let kept = values.chunks(width.max(1)).flat_map(|row| &row[..count]).copied().collect::<Vec<_>>();
    let mut shape = a.shape().to_vec();
    *shape.last_mut().expect("a matrix") = count;
    Ok(Tensor::new(&Device::Cpu, &shape, kept)?)
}

/// The first `count` rows of a stack of matrices.
fn rows(a: &Tensor, count: usize) -> anyhow::Result<Tensor> {
    let values = arrays::values(a)?;
    let at = a.shape().len() - 2;
    let (height, width) = (a.shape()[at], a.shape()[at + 1]);
    let each = (height * width).max(1);
    let kept = values.chunks(each).flat_map(|matrix| &matrix[..count * width]).copied().collect::<Vec<_>>();
    let mut shape = a.shape().to_vec();
    shape[at] = count;
    Ok(Tensor::new(&Device::Cpu, &shape, kept)?)
}
