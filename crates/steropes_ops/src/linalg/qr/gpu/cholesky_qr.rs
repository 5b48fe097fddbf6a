//! Tall and narrow matrices of full rank (CholeskyQR2): R is the Cholesky factor of AᵀA, Q the solution of Q R = A, and both once more
//! for that Q, whose columns are nearly orthonormal already. Three passes over the rows, which take little longer than reading and
//! writing them. A matrix whose columns come close to depending on each other shows it in its factors; it is left to the tree of
//! blocks.

use super::parts::arrange;
use super::{new, tall};
use crate::error::OpError;
use crate::gpu::{bind, column_sums};
use std::fmt::Write as _;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// The most columns: an invocation makes at most 8 x 8 values of AᵀA, a workgroup 64 times as many.
const MOST_COLUMNS: usize = 64;

/// The fewest rows: below, starting the kernels takes longer than the tree.
const LEAST_ROWS: usize = 1 << 15;

/// Rows that a workgroup takes at once, the most that its memory has room for: a GPU may run one such workgroup on a processor.
const ROWS: [usize; 3] = [128, 64, 32];

/// Invocations of a workgroup: teams of 64 that have sums of their own.
const THREADS: usize = 256;
const TEAMS: usize = THREADS / 64;

/// Workgroups that fill a large GPU.
const GROUPS: usize = 256;

/// Values that an invocation loads before it stores any.
const BATCH: usize = 13;

/// Invocations of the workgroup that makes a Cholesky factor.
const FACTOR_THREADS: u32 = 256;

/// R and, if it is asked for, Q of a matrix; `None` if it is not tall, or its columns are too close to depending on each other. Waits
/// for the device once.
pub(super) fn factors(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    [m, n]: [usize; 2],
    wants_q: bool,
) -> Result<Option<[Tensor; 2]>, OpError> {
    let capabilities = gpu.capabilities();
    let room = capabilities.workgroup_bytes as usize;
    let solving = ROWS.map(|rows| Pass { n, rows, solves: true, adds: true });
    let factor_bytes = 4 * (n * (n + 1) + FACTOR_THREADS as usize);
    let fits = |pass: &Pass| pass.workgroup_bytes().max(factor_bytes) <= room;
    let Some(solving) = solving.into_iter().find(fits).filter(|_| n <= MOST_COLUMNS && m >= LEAST_ROWS)
    else {
        return Ok(None);
    };
    if capabilities.workgroup_threads < THREADS as u32 {
        return Ok(None);
    }
    let bad = Tensor::on_gpu(gpu, op, DType::U32, &[2])?;
    let square = || new(gpu, op, 1, n * n);
    let (first, second, r, inverse) = (square()?, square()?, square()?, square()?);
    let nearly = new(gpu, op, 1, m * n)?;
    let sums = Pass { solves: false, ..solving }.run(gpu, op, [a, &first, &nearly], m)?;
    factor(gpu, n, [&sums, a], [&bad, &first], None)?;
    let sums = solving.run(gpu, op, [a, &first, &nearly], m)?;
    factor(gpu, n, [&sums, a], [&bad, &second], Some([&first, &r, &inverse]))?;
    if bad.read::<u32>()? != [0, 0] {
        return Ok(None);
    }
    let kept = Tensor::zeros::<u32>(&a.device(), &[1]);
    let signs = tall::signs(gpu, op, [&nearly, &inverse, &kept, &r], [1, m, n], 1)?;
    if !wants_q {
        return Ok(Some([r, Tensor::zeros::<f32>(&a.device(), &[0])]));
    }
    let signed = square()?;
    arrange(gpu, &signed, [n, n], 0, &[&second, &signs], SIGNED_ROWS)?;
    let q = new(gpu, op, 1, m * n)?;
    Pass { adds: false, ..solving }.run(gpu, op, [&nearly, &signed, &q], m)?;
    Ok(Some([r, q]))
}

/// A matrix with the signs of its rows.
const SIGNED_ROWS: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    return a0[i * params.columns + j] * a1[i];
}
";

/// For a pass that solves nothing.
const NO_SOLUTION: &str = "fn load_triangle(thread: u32) {}\nfn solve(thread: u32) {}\nfn put_solved(i: u32, x: f32) {}\nconst SOLVES: bool = false;\n";

/// A pass over the rows.
#[derive(Clone, Copy)]
struct Pass {
    n: usize,
    /// Rows of a workgroup.
    rows: usize,
    /// Whether rows become the solutions of a triangular system, and are stored.
    solves: bool,
    /// Whether the products of the columns with each other are added up.
    adds: bool,
}

impl Pass {
    /// Columns of an invocation, eight apart.
    fn each(self) -> usize {
        self.n.div_ceil(8)
    }

    /// Length of a row in workgroup memory; odd, so that a column is spread over its banks.
    fn stride(self) -> usize {
        (8 * self.each()) | 1
    }

    /// Vectors of four values of a row.
    fn vectors(self) -> usize {
        self.n.div_ceil(4)
    }

    fn workgroup_bytes(self) -> usize {
        4 * self.rows * self.stride() + if self.solves { 16 * (self.n + 1) * self.vectors() } else { 0 }
    }

    /// Solves the rows of the first tensor with the upper triangle in the second into the third, if it solves, and returns the sums of
    /// products, of which a pass that adds nothing has none.
    fn run(
        self,
        gpu: &Gpu,
        op: &'static str,
        [source, triangle, to]: [&Tensor; 3],
        m: usize,
    ) -> Result<Tensor, OpError> {
        let n = self.n;
        let groups = GROUPS.min(m.div_ceil(self.rows));
        let partial = new(gpu, op, groups * TEAMS, if self.adds { n * n } else { 1 })?;
        let mut arrays = String::new();
        let mut bindings = vec![bind(source)];
        for (is_used, access, name, tensor) in [
            (self.adds, "read_write", "partial", &partial),
            (self.solves, "read", "triangle", triangle),
            (self.solves, "read_write", "solved", to),
        ] {
            if is_used {
                let binding = bindings.len();
                arrays +=
                    &format!("@group(0) @binding({binding}) var<storage, {access}> {name}: array<f32>;\n");
                bindings.push(bind(tensor));
            }
        }
        let header = Header::new()
            .count("N", n as u32)
            .count("ROWS", self.rows as u32)
            .count("THREADS", THREADS as u32)
            .count("TEAMS", TEAMS as u32)
            .count("STRIDE", self.stride() as u32)
            .count("VECTORS", self.vectors() as u32)
            .text(&arrays)
            .text(if self.solves { include_str!("../cholesky_solve.wgsl") } else { NO_SOLUTION })
            .text(&self.loads())
            .text(&self.sums());
        let kernel = Kernel::new("qr_cholesky_rows", &header, include_str!("../cholesky_rows.wgsl"));
        gpu.launch(&kernel, &bindings, &[m as u32, groups as u32], spread(groups as u64))?;
        let total = new(gpu, op, 1, n * n)?;
        if self.adds {
            column_sums(gpu, op, partial, &total, false)?;
        }
        Ok(total)
    }

    /// The rows from `first` on to workgroup memory, zeros behind the last; written out, so that many loads are on their way at once.
    fn loads(self) -> String {
        let mut text = "fn load_rows(first: u32, count: u32, thread: u32) {\n".to_owned();
        let each: Vec<usize> = (0..(self.rows * self.n).div_ceil(THREADS)).collect();
        for batch in each.chunks(BATCH) {
            for i in batch {
                text += &format!("    let x{i} = value_at(first, count, thread + {}u);\n", i * THREADS);
            }
            for i in batch {
                text += &format!("    put_row(thread + {}u, x{i});\n", i * THREADS);
            }
        }
        text + "}\n"
    }

    /// The products of eight-times-eight invocations' columns, added up over the rows in workgroup memory; written out, because arrays
    /// with computed indices would not stay in registers.
    fn sums(self) -> String {
        let mut text = String::new();
        self.write_sums(&mut text).expect("writing to a string");
        text
    }

    fn write_sums(self, text: &mut String) -> std::fmt::Result {
        let each = if self.adds { self.each() } else { 0 };
        let pairs = || (0..each).flat_map(move |a| (0..each).map(move |b| (a, b)));
        writeln!(text, "struct Sums {{ unused: f32,")?;
        pairs().try_for_each(|(a, b)| writeln!(text, "    s{a}_{b}: f32,"))?;
        writeln!(text, "}}\nfn add(sums: ptr<function, Sums>, thread: u32) {{")?;
        writeln!(
            text,
            "    for (var row = thread / 64u; row < {}u; row += TEAMS) {{\n        let r = row * STRIDE;",
            if self.adds { self.rows } else { 0 }
        )?;
        for i in 0..each {
            writeln!(text, "        let a{i} = rows[r + thread % 64u / 8u + {}u];", 8 * i)?;
            writeln!(text, "        let b{i} = rows[r + thread % 8u + {}u];", 8 * i)?;
        }
        pairs().try_for_each(|(a, b)| {
            writeln!(text, "        (*sums).s{a}_{b} = fma(a{a}, b{b}, (*sums).s{a}_{b});")
        })?;
        writeln!(text, "    }}\n}}\nfn put(sums: ptr<function, Sums>, group: u32, thread: u32) {{")?;
        for (a, b) in pairs() {
            let [i, j] = [format!("(thread % 64u / 8u + {}u)", 8 * a), format!("(thread % 8u + {}u)", 8 * b)];
            writeln!(
                text,
                "    if ({i} < N && {j} < N) {{ partial[(group * TEAMS + thread / 64u) * N * N + {i} * N + {j}] = (*sums).s{a}_{b}; }}"
            )?;
        }
        writeln!(text, "}}")
    }
}

/// The Cholesky factor of `sums`, the products of the columns of a matrix with each other, goes to `r`, and whether it is of no use to
/// `bad`. The second time, `more` has the factor before and receives its product with the new one, and the inverse of that.
fn factor(
    gpu: &Gpu,
    n: usize,
    [sums, a]: [&Tensor; 2],
    [bad, r]: [&Tensor; 2],
    more: Option<[&Tensor; 3]>,
) -> Result<(), OpError> {
    let arrays = "@group(0) @binding(4) var<storage, read> before: array<f32>;\n\
                  @group(0) @binding(5) var<storage, read_write> product: array<f32>;\n\
                  @group(0) @binding(6) var<storage, read_write> inverse: array<f32>;\n\
                  fn before_at(i: u32) -> f32 { return before[i]; }\n\
                  fn put_product(i: u32, x: f32) { product[i] = x; }\n\
                  fn put_inverse(i: u32, x: f32) { inverse[i] = x; }\n";
    let none = "fn before_at(i: u32) -> f32 { return 0.0; }\n\
                fn put_product(i: u32, x: f32) {}\nfn put_inverse(i: u32, x: f32) {}\n";
    let header = Header::new()
        .count("N", n as u32)
        .count("THREADS", FACTOR_THREADS)
        .flag("SECOND", more.is_some())
        .text(if more.is_some() { arrays } else { none });
    let kernel = Kernel::new("qr_cholesky_factor", &header, include_str!("../cholesky_factor.wgsl"));
    let mut bindings = vec![bind(sums), bind(a), bind(bad), bind(r)];
    bindings.extend(more.into_iter().flatten().map(bind));
    Ok(gpu.launch(&kernel, &bindings, &[], [1, 1, 1])?)
}
