//! What the ops around a factorisation are made of: products of parts of matrices, triangular systems, and values put elsewhere.

use crate::error::OpError;
use crate::gpu::bind;
use std::fmt::Write as _;
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

/// A part of every matrix of a stack, as a product sees it.
#[derive(Clone, Copy)]
pub(in crate::linalg) struct Part<'a> {
    pub(in crate::linalg) tensor: &'a Tensor,
    first: usize,
    row: usize,
    matrix: usize,
    transposed: bool,
}

impl<'a> Part<'a> {
    /// Whole matrices `[m, n]`.
    pub(in crate::linalg) fn whole(tensor: &'a Tensor, [m, n]: [usize; 2]) -> Self {
        Self { tensor, first: 0, row: n, matrix: m * n, transposed: false }
    }

    /// The columns of matrices `[m, n]` from `first` on.
    pub(in crate::linalg) fn of_columns(tensor: &'a Tensor, extents: [usize; 2], first: usize) -> Self {
        Self { first, ..Self::whole(tensor, extents) }
    }

    /// The same with matrices from value `first` on, of `size` values each.
    pub(super) fn from(self, first: usize, matrix: usize) -> Self {
        Self { first, matrix, ..self }
    }

    /// The transpose.
    pub(in crate::linalg) fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn params(&self) -> [u32; 3] {
        [self.first, self.row, self.matrix].map(|x| x as u32)
    }
}

/// `c = factor a b`, or that added to `c`, for `count` matrices of the extents `[m, k, n]`.
pub(in crate::linalg) fn multiply(
    gpu: &Gpu,
    count: usize,
    extents: [usize; 3],
    a: Part<'_>,
    b: Part<'_>,
    c: Part<'_>,
    how: (f32, bool),
) -> Result<(), OpError> {
    multiply_rows(gpu, (count, count * extents[0]), extents, a, b, c, how)
}

/// As [`multiply`], where all matrices together have `rows` rows, so that the last may have fewer.
pub(super) fn multiply_rows(
    gpu: &Gpu,
    (count, rows): (usize, usize),
    [m, k, n]: [usize; 3],
    a: Part<'_>,
    b: Part<'_>,
    c: Part<'_>,
    (factor, adds): (f32, bool),
) -> Result<(), OpError> {
    let header = Header::new().flag("A_TRANSPOSED", a.transposed).flag("B_TRANSPOSED", b.transposed);
    let kernel = Kernel::new("qr_product", &header, include_str!("../product.wgsl"));
    let (tiles_m, tiles_n) = (m.div_ceil(64), n.div_ceil(64));
    let groups = count * tiles_m * tiles_n;
    let mut params: Vec<u32> = [m, n, k, tiles_m, tiles_n, groups, rows].map(|x| x as u32).to_vec();
    params.extend([a, b, c].iter().flat_map(Part::params));
    params.extend([factor.to_bits(), u32::from(adds)]);
    let bindings = [bind(a.tensor), bind(b.tensor), bind(c.tensor)];
    Ok(gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?)
}

/// The vectors of a stack of systems: how many for each matrix, and how far apart their values, they, and those of the next matrix
/// are.
pub(in crate::linalg) struct Vectors {
    pub(in crate::linalg) each: usize,
    pub(in crate::linalg) step: usize,
    pub(in crate::linalg) vector: usize,
    pub(in crate::linalg) matrix: usize,
}

/// Solves `R x = y`, or `Rᵀ x = y`, in place of y, with R the upper triangles of `n` rows in a tensor whose rows and matrices are that
/// far apart. If `strict`, a zero on a diagonal makes the solutions of its matrix NaN.
pub(in crate::linalg) fn solve(
    gpu: &Gpu,
    count: usize,
    n: usize,
    (r, row, matrix): (&Tensor, usize, usize),
    (x, vectors): (&Tensor, Vectors),
    [transposed, strict]: [bool; 2],
) -> Result<(), OpError> {
    let threads = if n <= 64 { 32 } else { 128 };
    let header =
        Header::new().count("THREADS", threads).flag("TRANSPOSED", transposed).flag("STRICT", strict);
    let kernel = Kernel::new("qr_solve", &header, include_str!("../solve.wgsl"));
    let groups = count * vectors.each;
    let Vectors { each, step, vector, matrix: of_matrix } = vectors;
    let mut params = [n, groups, each, row, matrix, step, vector, of_matrix].map(|x| x as u32).to_vec();
    params.push(f32::NAN.to_bits());
    Ok(gpu.launch(&kernel, &[bind(r), bind(x)], &params, spread(groups as u64))?)
}

/// Fills the matrices `[rows, columns]` of `to` by `value_at`, WGSL text that may read the arrays `a0`, `a1`.. of f32, and
/// `params.source`, `params.rows` and `params.columns`.
pub(in crate::linalg) fn arrange(
    gpu: &Gpu,
    to: &Tensor,
    [rows, columns]: [usize; 2],
    source: u32,
    arrays: &[&Tensor],
    value_at: &str,
) -> Result<(), OpError> {
    let mut text = String::new();
    for i in 0..arrays.len() {
        writeln!(text, "@group(0) @binding({}) var<storage, read> a{i}: array<f32>;", i + 1)
            .expect("writing to a string");
    }
    let kernel =
        Kernel::new("qr_arrange", &Header::new().text(&text).text(value_at), include_str!("../arrange.wgsl"));
    let bindings: Vec<_> = std::iter::once(bind(to)).chain(arrays.iter().map(|array| bind(array))).collect();
    let params = [to.len() as u32, rows as u32, columns as u32, source];
    Ok(gpu.launch(&kernel, &bindings, &params, spread(to.len().div_ceil(256) as u64))?)
}
