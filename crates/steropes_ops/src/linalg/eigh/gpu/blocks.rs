//! Larger matrices: block Jacobi. A round takes all blocks of 16 rows in pairs; each pair has a sweep of its own in
//! workgroup memory, whose rotations, as one product, then turn the rest of the matrix. All launches that could be needed are
//! recorded; those of a matrix that is done return at once, so nobody waits.

use super::Job;
use super::workgroup::sweep_header;
use crate::error::OpError;
use crate::gpu::{bind, row_ranges, window};
use std::ops::Range;
use steropes_tensor::{DType, Header, Kernel, Tensor, spread};

/// Rows of a pair of blocks.
const PAIR: usize = 32;

/// Sweeps at most; seven to eleven are usual. Even, so that the last one's record is in the first array of `turns`.
const SWEEPS: u32 = 18;

/// Bytes of scaled matrices at once.
const WORK_BYTES: usize = 1 << 28;

/// Invocations of the workgroups that look at a row.
const ROW_THREADS: u32 = 64;

/// Memory of the matrices that are worked on.
struct Work {
    count: usize,
    /// Rows of a matrix, a multiple of [`PAIR`].
    width: usize,
    a: Tensor,
    v: Tensor,
    norms: Tensor,
    products: Tensor,
    pair_turns: Tensor,
    turns: [Tensor; 2],
}

impl Job<'_> {
    pub(super) fn in_blocks(&self) -> Result<(), OpError> {
        let width = self.n.next_multiple_of(PAIR);
        let (count, bytes) = (self.count(), 4 * width * width);
        let fitting = row_ranges(self.op, self.gpu, count, &[bytes])?[0].len();
        let each = fitting.min((WORK_BYTES / bytes).max(1));
        let kernels = Kernels::new(self, width);
        for first in (0..count).step_by(each) {
            let range = first..(first + each).min(count);
            let work = self.work(range.len(), width)?;
            self.load(&kernels, &work, &range)?;
            for sweep in 0..SWEEPS {
                for round in 0..(2 * width / PAIR - 1) as u32 {
                    self.round(&kernels, &work, sweep, round)?;
                }
            }
            self.finish(&kernels, &work, &range)?;
        }
        Ok(())
    }

    fn work(&self, count: usize, width: usize) -> Result<Work, OpError> {
        let new = |dtype, shape: &[usize]| Tensor::on_gpu(self.gpu, self.op, dtype, shape);
        let pairs = count * width / PAIR;
        let work = Work {
            count,
            width,
            a: new(DType::F32, &[count, width, width])?,
            v: new(DType::F32, &[count, width, width])?,
            norms: new(DType::U32, &[count, 2])?,
            products: new(DType::F32, &[pairs, PAIR, PAIR])?,
            pair_turns: new(DType::U32, &[pairs])?,
            turns: [new(DType::U32, &[count])?, new(DType::U32, &[count])?],
        };
        for tensor in [&work.norms, &work.turns[0], &work.turns[1]] {
            self.gpu.clear(tensor.gpu_memory().expect("made on a GPU"))?;
        }
        Ok(work)
    }

    /// Norms, then scaled matrices.
    fn load(&self, kernels: &Kernels, work: &Work, range: &Range<usize>) -> Result<(), OpError> {
        let source = window(self.a, 4 * self.n * self.n, range);
        let norms = bind(&work.norms);
        let shift = source.shift(4);
        let rows = work.count * self.n;
        self.gpu.launch(
            &kernels.measure,
            &[source.binding, norms],
            &[rows as u32, shift],
            spread(rows as u64),
        )?;
        let rows = work.count * work.width;
        let bindings = [source.binding, norms, bind(&work.a), bind(&work.v)];
        self.gpu.launch(&kernels.spread, &bindings, &[rows as u32, shift], spread(rows as u64))?;
        Ok(())
    }

    fn round(&self, kernels: &Kernels, work: &Work, sweep: u32, round: u32) -> Result<(), OpError> {
        let pairs = work.width / PAIR;
        let [before, now] = [sweep, sweep + 1].map(|sweep| bind(&work.turns[sweep as usize % 2]));
        let (a, products, pair_turns) = (bind(&work.a), bind(&work.products), bind(&work.pair_turns));
        let params = [work.count as u32, sweep, round];
        let bindings = [a, products, pair_turns, before, now, bind(&work.norms)];
        self.gpu.launch(&kernels.pairs, &bindings, &params, spread((work.count * pairs) as u64))?;
        let tiles = pairs * (pairs - 1) / 2 + if self.vectors.is_some() { pairs * pairs } else { 0 };
        let bindings = [a, bind(&work.v), products, pair_turns, before];
        self.gpu.launch(&kernels.apply, &bindings, &params, spread((work.count * tiles) as u64))?;
        Ok(())
    }

    /// Results in order.
    fn finish(&self, kernels: &Kernels, work: &Work, range: &Range<usize>) -> Result<(), OpError> {
        let n = self.n;
        let values = window(&self.values, 4 * n, range);
        let vectors = self.vectors.as_ref().map(|vectors| window(vectors, 4 * n * n, range));
        let rows = work.count * n;
        let shift = vectors.as_ref().map_or(0, |vectors| vectors.shift(4));
        let params = [rows as u32, values.shift(4), shift];
        let last = &work.turns[SWEEPS as usize % 2];
        let mut bindings = vec![bind(&work.a), bind(&work.norms), bind(last), values.binding];
        if let Some(vectors) = vectors {
            bindings.extend([bind(&work.v), vectors.binding]);
        }
        self.gpu.launch(&kernels.finish, &bindings, &params, spread(rows as u64))?;
        Ok(())
    }
}

struct Kernels {
    measure: Kernel,
    spread: Kernel,
    pairs: Kernel,
    apply: Kernel,
    finish: Kernel,
}

impl Kernels {
    fn new(job: &Job<'_>, width: usize) -> Self {
        let with_vectors = job.vectors.is_some();
        let pairs = width / PAIR;
        let rows = || job.header().count("WIDTH", width as u32).count("THREADS", ROW_THREADS);
        let rotation = include_str!("../rotation.wgsl");
        let blocks =
            |header: Header| header.count("PAIRS", pairs as u32).text(include_str!("../blocks.wgsl"));
        let end = match with_vectors {
            true => include_str!("../finish_vectors.wgsl"),
            false => include_str!("../finish_values.wgsl"),
        };
        let finish = rows().count("SWEEPS", SWEEPS).text(rotation).text(include_str!("../finish.wgsl"));
        let threads = 128.min(1 << job.gpu.capabilities().workgroup_threads.ilog2());
        let sweep = sweep_header(job.header().count("WIDTH", width as u32), PAIR, threads, true);
        let tiles = pairs * (pairs - 1) / 2 + if with_vectors { pairs * pairs } else { 0 };
        let apply = Header::new().count("WIDTH", width as u32).count("TILES", tiles as u32);
        Self {
            measure: Kernel::new("eigh_measure", &rows(), include_str!("../measure.wgsl")),
            spread: Kernel::new("eigh_spread", &rows().text(rotation), include_str!("../spread.wgsl")),
            pairs: Kernel::new("eigh_pairs", &blocks(sweep), include_str!("../block_pairs.wgsl")),
            apply: Kernel::new("eigh_apply", &blocks(apply), include_str!("../block_apply.wgsl")),
            finish: Kernel::new("eigh_finish", &finish, end),
        }
    }
}
