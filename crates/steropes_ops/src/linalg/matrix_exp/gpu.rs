//! Products of whole stacks. How often a matrix is squared is found and kept on the device: each squaring that any matrix
//! could need is launched, and only matrices that want it take part, between two memories in turn. So nobody waits.

use super::{BACKWARD_OP, OP, coefficient, largest_norm};
use crate::error::OpError;
use crate::gpu::{row_ranges, window};
use crate::linalg::dense::arithmetic::{plain, product};
use crate::linalg::stack::Stack;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup.
const THREADS: usize = 256;

/// Squarings at most: the 1-norm may be up to `0.5 * 2^24`.
const SQUARINGS: u32 = 24;

pub(super) fn matrix_exp(gpu: &Gpu, a: &Tensor, stack: &Stack) -> Result<Tensor, OpError> {
    if a.is_empty() {
        return Ok(Tensor::on_gpu(gpu, OP, DType::F32, a.shape())?);
    }
    let job = Job { gpu, op: OP, n: stack.rows, count: stack.count(), shape: a.shape().to_vec() };
    let norms = job.norms(a)?;
    let (one, halvings) = (job.matrices()?, job.halvings()?);
    let entries = job.n * job.n;
    let arrays = [(&norms, 1), (&halvings, 1), (&one, entries), (a, entries)];
    let kernel = Kernel::new("matrix_exp_scale", &job.scale_header(), include_str!("scale.wgsl"));
    job.launch(&kernel, &arrays, &[], entries)?;
    job.of_scaled(one, &halvings)
}

/// What is beside the diagonal of the exponential of `[[a^T, grad], [0, a^T]]`.
pub(super) fn backward(gpu: &Gpu, a: &Tensor, grad: &Tensor, stack: &Stack) -> Result<Tensor, OpError> {
    let n = stack.rows;
    let to = Tensor::on_gpu(gpu, BACKWARD_OP, DType::F32, a.shape())?;
    if a.is_empty() {
        return Ok(to);
    }
    let own = Job { gpu, op: BACKWARD_OP, n, count: stack.count(), shape: a.shape().to_vec() };
    let job = Job { n: 2 * n, shape: stack.with(&[2 * n, 2 * n]), ..own.clone() };
    let norms = own.norms(a)?;
    let (one, halvings) = (job.matrices()?, job.halvings()?);
    let (entries, all) = (n * n, 4 * n * n);
    let arrays = [(&norms, 1), (&halvings, 1), (&one, all), (a, entries), (grad, entries)];
    let kernel = Kernel::new("matrix_exp_assemble", &job.scale_header(), include_str!("assemble.wgsl"));
    job.launch(&kernel, &arrays, &[], all)?;
    let whole = job.of_scaled(one, &halvings)?;
    let kernel = Kernel::new("matrix_exp_beside", &job.header(), include_str!("beside.wgsl"));
    job.launch(&kernel, &[(&whole, all), (&to, entries)], &[], entries)?;
    Ok(to)
}

/// A stack of matrices.
#[derive(Clone)]
struct Job<'a> {
    gpu: &'a Gpu,
    op: &'static str,
    n: usize,
    count: usize,
    shape: Vec<usize>,
}

impl Job<'_> {
    /// The exponentials of matrices that were scaled.
    fn of_scaled(&self, one: Tensor, halvings: &Tensor) -> Result<Tensor, OpError> {
        let product = |left: &Tensor, right: &Tensor| product(self.op, plain(left), plain(right), 1.0);
        let two = product(&one, &one)?;
        let three = product(&two, &one)?;
        let four = product(&two, &two)?;
        let upper = self.terms([&one, &two, &three, &four], 4, coefficient(8))?;
        let upper = product(&upper, &four)?;
        let sum = self.terms([&one, &two, &three, &upper], 0, 1.0)?;
        drop([one, two, three, four, upper]);
        let memories = [sum, self.matrices()?];
        for number in 0..SQUARINGS {
            let [x, to] = [number, number + 1].map(|i| &memories[i as usize % 2]);
            self.square(x, to, halvings, number)?;
        }
        self.choose(&memories, halvings)
    }

    /// `to = x x` for the matrices that are halved more than `number` times.
    fn square(&self, x: &Tensor, to: &Tensor, halvings: &Tensor, number: u32) -> Result<(), OpError> {
        let (n, tiles) = (self.n, self.n.div_ceil(16));
        let header = Header::new().count("N", n as u32).count("TILES", tiles as u32);
        let kernel = Kernel::new("matrix_exp_squaring", &header, include_str!("squaring.wgsl"));
        let bytes = 4 * n * n;
        for range in row_ranges(self.op, self.gpu, self.count, &[bytes])? {
            let windows = [window(x, bytes, &range), window(to, bytes, &range), window(halvings, 4, &range)];
            let [x_shift, to_shift, wanted_shift] = windows.each_ref().map(|window| window.shift(4));
            let params = [range.len() as u32, x_shift, to_shift, wanted_shift, number];
            let groups = spread((range.len() * tiles * tiles) as u64);
            self.gpu.launch(&kernel, &windows.map(|window| window.binding), &params, groups)?;
        }
        Ok(())
    }

    /// Memory for how often each matrix is halved.
    fn halvings(&self) -> Result<Tensor, OpError> {
        Ok(Tensor::on_gpu(self.gpu, self.op, DType::U32, &[self.count])?)
    }

    fn scale_header(&self) -> Header {
        self.header()
            .number("LARGEST", largest_norm(2) as f32)
            .count("SQUARINGS", SQUARINGS)
            .text(include_str!("halvings.wgsl"))
    }

    /// Memory for a stack.
    fn matrices(&self) -> Result<Tensor, OpError> {
        Ok(Tensor::on_gpu(self.gpu, self.op, DType::F32, &self.shape)?)
    }

    fn header(&self) -> Header {
        Header::new().count("N", self.n as u32).count("THREADS", THREADS as u32)
    }

    /// The bits of the 1-norm of each matrix, those of infinity where an entry is not finite.
    fn norms(&self, a: &Tensor) -> Result<Tensor, OpError> {
        let norms = Tensor::on_gpu(self.gpu, self.op, DType::U32, &[self.count])?;
        self.gpu.clear(norms.gpu_memory().expect("made on a GPU"))?;
        let kernel = Kernel::new("matrix_exp_norms", &self.header(), include_str!("norms.wgsl"));
        self.launch(&kernel, &[(a, self.n * self.n), (&norms, 1)], &[], self.n)?;
        Ok(norms)
    }

    /// Four terms of the series from `first` on, divided by the power of the first, and `factor` times the last of `powers`.
    fn terms(&self, powers: [&Tensor; 4], first: usize, factor: f64) -> Result<Tensor, OpError> {
        let kernel = Kernel::new("matrix_exp_terms", &self.header(), include_str!("terms.wgsl"));
        let to = self.matrices()?;
        let entries = self.n * self.n;
        let arrays = [powers[0], powers[1], powers[2], powers[3], &to].map(|tensor| (tensor, entries));
        let factors: Vec<u32> = (first..first + 4)
            .map(coefficient)
            .chain([factor])
            .map(|factor| (factor as f32).to_bits())
            .collect();
        self.launch(&kernel, &arrays, &factors, entries)?;
        Ok(to)
    }

    /// The results, each from the memory of its last squaring.
    fn choose(&self, memories: &[Tensor; 2], halvings: &Tensor) -> Result<Tensor, OpError> {
        let header = self.header().count("SQUARINGS", SQUARINGS);
        let kernel = Kernel::new("matrix_exp_choose", &header, include_str!("choose.wgsl"));
        let to = self.matrices()?;
        let entries = self.n * self.n;
        let arrays = [(&memories[0], entries), (&memories[1], entries), (halvings, 1), (&to, entries)];
        self.launch(&kernel, &arrays, &[], entries)?;
        Ok(to)
    }

    /// Launches a kernel of `each` invocations for a matrix over `arrays`, with the elements that they have for one.
    fn launch(
        &self,
        kernel: &Kernel,
        arrays: &[(&Tensor, usize)],
        params: &[u32],
        each: usize,
    ) -> Result<(), OpError> {
        for range in row_ranges(self.op, self.gpu, self.count, &[4 * self.n * self.n])? {
            let windows: Vec<_> =
                arrays.iter().map(|&(tensor, elements)| window(tensor, 4 * elements, &range)).collect();
            let mut all = vec![range.len() as u32];
            all.extend(windows.iter().map(|window| window.shift(4)));
            all.extend(params);
            let bindings: Vec<_> = windows.into_iter().map(|window| window.binding).collect();
            let groups = spread((range.len() * each).div_ceil(THREADS) as u64);
            self.gpu.launch(kernel, &bindings, &all, groups)?;
        }
        Ok(())
    }
}
