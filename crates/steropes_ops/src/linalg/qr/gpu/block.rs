//! Matrices that fit the registers of an invocation or the memory of a workgroup.

use super::Matrices;
use crate::error::OpError;
use crate::gpu::bind;
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

/// The most rows and columns of a matrix in registers.
pub(super) const TINY: usize = 8;

/// Invocations of a workgroup of matrices in registers.
const TINY_THREADS: usize = 64;

/// Array `r`, and where Q goes if there is one.
fn results(columns: usize) -> String {
    let r = "@group(0) @binding(1) var<storage, read_write> r: array<f32>;\n";
    let q = if columns > 0 {
        "@group(0) @binding(2) var<storage, read_write> q_result: array<f32>;\n\
         fn store_q(i: u32, x: f32) { q_result[i] = x; }\n"
    } else {
        "fn store_q(i: u32, x: f32) {}\n"
    };
    format!("{r}{q}")
}

/// Factors matrices of at most [`TINY`] rows and columns.
pub(super) fn tiny(
    gpu: &Gpu,
    a: &Tensor,
    &Matrices { count, m, n }: &Matrices,
    r: &Tensor,
    q: &Tensor,
    [rows, columns]: [usize; 2],
) -> Result<(), OpError> {
    let header = Header::new()
        .count("M", m as u32)
        .count("N", n as u32)
        .count("STEPS", m.min(n) as u32)
        .count("R_ROWS", rows as u32)
        .count("Q_COLUMNS", columns as u32)
        .count("THREADS", TINY_THREADS as u32)
        .text(&results(columns));
    let kernel = Kernel::new("qr_tiny", &header, include_str!("../tiny.wgsl"));
    let mut bindings = vec![bind(a), bind(r)];
    bindings.extend((columns > 0).then(|| bind(q)));
    let groups = spread(count.div_ceil(TINY_THREADS) as u64);
    Ok(gpu.launch(&kernel, &bindings, &[count as u32], groups)?)
}

/// A block of rows in the memory of a workgroup.
pub(super) struct Block {
    pub(super) rows: usize,
    columns: usize,
    width: usize,
    steps: usize,
    q_columns: usize,
    threads: usize,
}

/// Values in workgroup memory beside the block: the reflector, its factors, sums and norms.
fn values_beside(rows: usize, steps: usize, threads: usize) -> usize {
    rows + steps + threads + 64
}

impl Block {
    /// A block for `columns` columns, reduced by `steps` reflectors, and `q_columns` columns of Q; `None` if it does not fit.
    pub(super) fn choose(
        gpu: &Gpu,
        [rows, columns]: [usize; 2],
        steps: usize,
        q_columns: usize,
    ) -> Option<Self> {
        let capabilities = gpu.capabilities();
        let room = capabilities.workgroup_bytes as usize / 4;
        // An odd width spreads a column over the banks of the memory.
        let widest = columns.max(q_columns);
        let width = widest | 1;
        let most = (capabilities.workgroup_threads as usize).min(256);
        let threads = (rows * widest / 8).next_power_of_two().clamp(32, most);
        let fits = rows * width + values_beside(rows, steps, threads) <= room;
        fits.then_some(Self { rows, columns, width, steps, q_columns, threads })
    }

    /// The block of the most rows, a multiple of 16, for `n` columns and as many of Q.
    pub(super) fn tallest(gpu: &Gpu, n: usize) -> Option<Self> {
        let room = gpu.capabilities().workgroup_bytes as usize / 4;
        let rows = room.saturating_sub(values_beside(0, n, 256)) / ((n | 1) + 1) / 16 * 16;
        if rows < n { None } else { Self::choose(gpu, [rows, n], n, n) }
    }

    fn header(&self) -> Header {
        let lanes = self.columns.max(self.q_columns).min(self.threads);
        Header::new()
            .count("ROWS", self.rows as u32)
            .count("COLUMNS", self.columns as u32)
            .count("WIDTH", self.width as u32)
            .count("STEPS", self.steps as u32)
            .count("Q_COLUMNS", self.q_columns as u32)
            .count("THREADS", self.threads as u32)
            .count("LANES", lanes as u32)
            .count("PARTS", (self.threads / lanes) as u32)
    }

    /// Workgroups and parameters for `count` matrices of `m` rows.
    fn launch(
        &self,
        gpu: &Gpu,
        kernel: &Kernel,
        tensors: &[&Tensor],
        [count, m]: [usize; 2],
    ) -> Result<(), OpError> {
        let blocks = m.div_ceil(self.rows);
        let bindings: Vec<_> = tensors.iter().map(|tensor| bind(tensor)).collect();
        let params = [count * blocks, blocks, m].map(|x| x as u32);
        Ok(gpu.launch(kernel, &bindings, &params, spread((count * blocks) as u64))?)
    }

    /// `rows` rows of R for each block and `columns` columns of Q for its rows. `kept` receives the number of leading columns of each
    /// block that are like those of a matrix with nothing below its diagonal.
    pub(super) fn qr(
        &self,
        gpu: &Gpu,
        [a, r, q]: [&Tensor; 3],
        kept: Option<&Tensor>,
        matrices: [usize; 2],
        [rows, columns]: [usize; 2],
    ) -> Result<(), OpError> {
        let mut tensors = vec![a, r];
        tensors.extend((columns > 0).then_some(q));
        let store_kept = match kept {
            Some(kept) => {
                tensors.push(kept);
                format!(
                    "@group(0) @binding({}) var<storage, read_write> kept: array<u32>;\n\
                     fn store_kept(i: u32, x: u32) {{ kept[i] = x; }}\n",
                    tensors.len() - 1
                )
            }
            None => "fn store_kept(i: u32, x: u32) {}\n".to_owned(),
        };
        let header = self
            .header()
            .count("R_ROWS", rows as u32)
            .text(&results(columns))
            .text(&store_kept)
            .text(include_str!("../block.wgsl"));
        let kernel = Kernel::new("qr_block", &header, include_str!("../block_qr.wgsl"));
        self.launch(gpu, &kernel, &tensors, matrices)
    }

    /// The reduced matrices and the factors of their reflectors.
    pub(super) fn geqrf(
        &self,
        gpu: &Gpu,
        tensors: [&Tensor; 3],
        matrices: [usize; 2],
    ) -> Result<(), OpError> {
        let header = self.header().text(include_str!("../block.wgsl"));
        let kernel = Kernel::new("geqrf_block", &header, include_str!("../block_geqrf.wgsl"));
        self.launch(gpu, &kernel, &tensors, matrices)
    }

    /// The product of the reflectors.
    pub(super) fn product(
        &self,
        gpu: &Gpu,
        tensors: [&Tensor; 3],
        matrices: [usize; 2],
    ) -> Result<(), OpError> {
        let header = self.header().text(include_str!("../block.wgsl"));
        let kernel = Kernel::new("householder_product_block", &header, include_str!("../block_product.wgsl"));
        self.launch(gpu, &kernel, &tensors, matrices)
    }
}
