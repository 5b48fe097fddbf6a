//! Launches: each sums parts of a fixed length, the next one those sums, until one is left.

use super::OP;
use crate::error::OpError;
use crate::gpu::{Rows, row_ranges, window};
use steropes_tensor::{Capabilities, DType, Gpu, Header, Kernel, Tensor, spread};

/// Invocations of a workgroup that sums columns.
const THREADS: u32 = 128;

/// How a part is summed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By one invocation, whose neighbours sum neighbouring columns.
    Columns,
    /// By several, which take neighbouring values.
    Rows,
}

impl Form {
    fn choose(n: usize, inner: usize) -> Self {
        if inner == 1 && n > 32 { Self::Rows } else { Self::Columns }
    }

    /// Values of a part.
    fn part(self) -> usize {
        match self {
            Self::Columns => 128,
            Self::Rows => 4096,
        }
    }
}

/// The sums of `x` `[outer, n, inner]` over `n`, as f32 or f16.
pub(crate) fn sum(
    gpu: &Gpu,
    x: &Tensor,
    [outer, mut n, inner]: [usize; 3],
    dtype: DType,
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let mut level = x.clone();
    loop {
        let form = Form::choose(n, inner);
        let parts = n.div_ceil(form.part()).max(1);
        let to = if parts == 1 { dtype } else { DType::F32 };
        let sums = Tensor::on_gpu(gpu, OP, to, &[outer, parts, inner])?;
        launch(gpu, form, &level, &sums, n)?;
        if parts == 1 {
            return Ok(sums.reshape(shape).expect("as many results as the shape has"));
        }
        (level, n) = (sums, parts);
    }
}

/// `sums` `[outer, parts, inner]` of `x` `[outer, n, inner]`.
fn launch(gpu: &Gpu, form: Form, x: &Tensor, sums: &Tensor, n: usize) -> Result<(), OpError> {
    let &[outer, parts, inner] = sums.shape() else { unreachable!("made with three extents") };
    let sizes = [x, sums].map(|tensor| tensor.dtype().size_bytes());
    let row_bytes = [n * inner * sizes[0], parts * inner * sizes[1]];
    let kernel = kernel(gpu.capabilities(), form, x.dtype(), sums.dtype());
    if sums.is_empty() {
        return Ok(());
    }
    for range in row_ranges(OP, gpu, outer, &row_bytes)? {
        let (from, to) = (window(x, row_bytes[0], &range), window(sums, row_bytes[1], &range));
        let count = range.len() * parts * inner;
        let params = [count, n, form.part(), parts, inner].map(|word| word as u32);
        let params = [&params[..], &[from.shift(sizes[0]), to.shift(sizes[1])]].concat();
        let each = match form {
            Form::Columns => THREADS,
            Form::Rows => rows(gpu.capabilities()).rows,
        };
        let groups = spread(count.div_ceil(each as usize) as u64);
        gpu.launch(&kernel, &[from.binding, to.binding], &params, groups)?;
    }
    Ok(())
}

fn rows(gpu: &Capabilities) -> Rows {
    Rows::choose(gpu, 512)
}

fn kernel(gpu: &Capabilities, form: Form, from: DType, to: DType) -> Kernel {
    let name = |dtype| if dtype == DType::F16 { "f16" } else { "f32" };
    let mut header = Header::new();
    if [from, to].contains(&DType::F16) {
        header = header.enable("f16");
    }
    header = header.alias("From", name(from)).alias("To", name(to)).text(include_str!("params.wgsl"));
    match form {
        Form::Columns => {
            Kernel::new("sum_columns", &header.count("THREADS", THREADS), include_str!("sum_columns.wgsl"))
        }
        Form::Rows => Kernel::new("sum_rows", &rows(gpu).header(header), include_str!("sum_rows.wgsl")),
    }
}
