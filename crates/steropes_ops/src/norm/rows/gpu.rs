//! Pipeline choice and launches.

use super::{Gradients, Norm};
use crate::error::OpError;
use crate::gpu::{Packs, Rows, bind, column_sums, partial_groups, row_ranges, window};
use std::fmt::Write as _;
use steropes_tensor::{Binding, Capabilities, DType, Gpu, Header, Kernel, Tensor, spread};

/// Packs of a row that an invocation keeps in registers; longer rows are read again.
const MOST_PACKS: usize = 16;

/// Quads of a row that an invocation keeps in registers in the backward pass, beside as many of its gradient and of each
/// partial sum.
const MOST_BACKWARD_QUADS: usize = 8;

/// The arrays of a kernel, numbered in the order in which they are named.
struct Arrays<'a> {
    text: String,
    bindings: Vec<Binding<'a>>,
}

impl<'a> Arrays<'a> {
    fn new() -> Self {
        Self { text: String::new(), bindings: Vec::new() }
    }

    fn add(&mut self, access: &str, name: &str, element: &str, binding: Binding<'a>) {
        let number = self.bindings.len();
        writeln!(self.text, "@group(0) @binding({number}) var<storage, {access}> {name}: array<{element}>;")
            .expect("writing to a string");
        self.bindings.push(binding);
    }

    fn read(&mut self, name: &str, element: &str, binding: Binding<'a>) {
        self.add("read", name, element, binding);
    }

    fn write(&mut self, name: &str, element: &str, binding: Binding<'a>) {
        self.add("read_write", name, element, binding);
    }
}

/// How the rows of a kernel are shared among invocations.
#[derive(Clone, Copy)]
struct Form {
    packs: Packs,
    rows: Rows,
    per_row: usize,
    per_thread: usize,
}

impl Form {
    /// For rows of `width` elements, whose invocations are chosen for `loads` loads of each pack.
    fn choose(gpu: &Capabilities, dtype: DType, width: usize, loads: impl Fn(Packs) -> usize) -> Self {
        let packs = Packs::of_rows(dtype, width);
        let per_row = width / packs.lanes;
        let rows = Rows::choose(gpu, per_row * loads(packs));
        Self { packs, rows, per_row, per_thread: per_row.div_ceil(rows.threads as usize) }
    }

    fn header(self, norm: &Norm<'_>) -> Header {
        let header = self
            .packs
            .header(Header::new())
            .count("WIDTH", self.per_row as u32)
            .count("COUNT", norm.width as u32)
            .count("PER_THREAD", self.per_thread as u32)
            .flag("FULL", self.per_row == self.per_thread * self.rows.threads as usize)
            .flag("CENTERED", norm.centered)
            .flag("AFFINE", norm.weight.is_some());
        self.rows.header(header)
    }
}

/// Quads of a pack.
fn quads(packs: Packs) -> usize {
    packs.lanes.div_ceil(4)
}

/// Rows of `x`, or of `addend + x`.
const ROW: &str = "fn row_at(i: u32) -> Quads { return unpacked(x[i]); }\n";

/// The sum as it is stored, so that it gives the same rows when it is read again. There are fewer than 2^31 rows.
const SUM_ROW: &str = "fn row_at(i: u32) -> Quads {
    var values = unpacked(x[i]);
    let others = unpacked(addend[i]);
    for (var q = 0u; q < QUADS; q++) {
        values[q] += others[q];
    }
    return rounded(values, params.rows >> 31u);
}
fn keep_sum(i: u32, values: Quads) { sum_out[i] = packed(values); }
";

/// The rows of `x`, or of the sum of `addend` and `x`, normalised and scaled; with an addend the sum comes second.
pub(crate) fn forward(
    norm: &Norm<'_>,
    gpu: &Gpu,
    x: &Tensor,
    addend: Option<&Tensor>,
) -> Result<(Tensor, Option<Tensor>), OpError> {
    let form = Form::choose(gpu.capabilities(), x.dtype(), norm.width, |_| 1);
    let y = Tensor::on_gpu(gpu, norm.op, x.dtype(), x.shape())?;
    let sum = addend.map(|_| Tensor::on_gpu(gpu, norm.op, x.dtype(), x.shape())).transpose()?;
    let row_bytes = norm.width * x.dtype().size_bytes();
    let has_parameters = norm.weight.is_some() || norm.bias.is_some();
    let bytes = [row_bytes, if has_parameters { norm.width * 4 } else { 0 }];
    for range in row_ranges(norm.op, gpu, x.len() / norm.width, &bytes)? {
        let at = |tensor| window(tensor, row_bytes, &range);
        let mut arrays = Arrays::new();
        arrays.read("x", "Pack", at(x).binding);
        arrays.write("y", "Pack", at(&y).binding);
        if let (Some(addend), Some(sum)) = (addend, &sum) {
            arrays.read("addend", "Pack", at(addend).binding);
            arrays.write("sum_out", "Pack", at(sum).binding);
        }
        if let Some(weight) = norm.weight {
            arrays.read("weight", "Quad", bind(weight));
        }
        if let Some(bias) = norm.bias {
            arrays.read("bias", "Quad", bind(bias));
        }
        let kernel = forward_kernel(norm, form, &arrays, addend.is_some());
        let params = [range.len() as u32, at(x).shift(form.packs.bytes()), norm.eps.to_bits()];
        let groups = spread(range.len().div_ceil(form.rows.rows as usize) as u64);
        gpu.launch(&kernel, &arrays.bindings, &params, groups)?;
    }
    Ok((y, sum))
}

fn forward_kernel(norm: &Norm<'_>, form: Form, arrays: &Arrays<'_>, added: bool) -> Kernel {
    let scaled = match (norm.weight, norm.bias) {
        (Some(_), Some(_)) => "v * weight[c] + bias[c]",
        (Some(_), None) => "v * weight[c]",
        (None, Some(_)) => "v + bias[c]",
        (None, None) => "v",
    };
    let header = form.header(norm).text(&arrays.text).text(if added { SUM_ROW } else { ROW });
    let header = if added { header } else { header.text("fn keep_sum(i: u32, values: Quads) {}\n") };
    let header = header.text(&format!("fn scaled(v: Quad, c: u32) -> Quad {{ return {scaled}; }}\n"));
    if form.per_thread <= MOST_PACKS {
        return Kernel::new(norm.kernel, &header, include_str!("forward.wgsl"));
    }
    let header = header.text(include_str!("statistics.wgsl"));
    Kernel::new(norm.kernel, &header, include_str!("forward_long.wgsl"))
}

/// The gradients for rows `x` whose results have the gradient `grad`; `residual` is added to that of the rows. Statistics are
/// computed again: the row is needed anyway, so keeping them would only cost bytes.
pub(crate) fn backward(
    norm: &Norm<'_>,
    gpu: &Gpu,
    x: &Tensor,
    grad: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Gradients, OpError> {
    let width = norm.width;
    let form = Form::choose(gpu.capabilities(), x.dtype(), width, quads);
    let together = form.rows.rows as usize;
    let out = Tensor::on_gpu(gpu, norm.op, x.dtype(), x.shape())?;
    let parameter = |wanted: bool| match (wanted, x.is_empty()) {
        (false, _) => Ok(None),
        (true, true) => Ok(Some(Tensor::zeros::<f32>(&x.device(), &[width]))),
        (true, false) => Tensor::on_gpu(gpu, norm.op, DType::F32, &[width]).map(Some),
    };
    let weight_grad = parameter(norm.weight.is_some())?;
    let bias_grad = parameter(norm.weight.is_some() && norm.centered)?;
    let row_bytes = width * x.dtype().size_bytes();
    // A workgroup writes a row of partial sums in f32 for each of its rows.
    let bytes = [row_bytes, if weight_grad.is_some() { together * width * 4 } else { 0 }];
    for range in row_ranges(norm.op, gpu, x.len() / width, &bytes)? {
        let most = range.len().div_ceil(together);
        let groups = partial_groups(gpu, most, form.rows.threads * form.rows.rows, form.rows.rows, width);
        let stride = groups * together;
        let partial = |sum: &Option<Tensor>| {
            sum.as_ref().map(|_| Tensor::on_gpu(gpu, norm.op, DType::F32, &[stride, width])).transpose()
        };
        let (weights, biases) = (partial(&weight_grad)?, partial(&bias_grad)?);
        let at = |tensor| window(tensor, row_bytes, &range);
        let mut arrays = Arrays::new();
        arrays.read("x", "Pack", at(x).binding);
        arrays.read("grad", "Pack", at(grad).binding);
        arrays.write("y", "Pack", at(&out).binding);
        if let Some(residual) = residual {
            arrays.read("residual", "Pack", at(residual).binding);
        }
        if let Some(weight) = norm.weight {
            arrays.read("weight", "Quad", bind(weight));
        }
        for (name, sums) in [("weight_sums", &weights), ("bias_sums", &biases)] {
            if let Some(sums) = sums {
                arrays.write(name, "Quad", bind(sums));
            }
        }
        let params = [
            range.len() as u32,
            at(x).shift(form.packs.bytes()),
            norm.eps.to_bits(),
            range.len().div_ceil(stride) as u32,
            stride as u32,
        ];
        let kernel = backward_kernel(norm, form, &arrays, residual.is_some());
        gpu.launch(&kernel, &arrays.bindings, &params, spread(groups as u64))?;
        for (sums, total) in [(weights, &weight_grad), (biases, &bias_grad)] {
            if let (Some(sums), Some(total)) = (sums, total) {
                column_sums(gpu, norm.op, sums, total, range.start > 0)?;
            }
        }
    }
    Ok(Gradients { x: out, weight: weight_grad, bias: bias_grad })
}

fn backward_kernel(norm: &Norm<'_>, form: Form, arrays: &Arrays<'_>, has_residual: bool) -> Kernel {
    let affine = norm.weight.is_some();
    let keep = |name: &str, sums: &str, wanted: bool| {
        // Partial sums in memory are uninitialised before the first.
        let body = format!("if (fresh) {{ {sums}[i] = v; }} else {{ {sums}[i] += v; }}");
        let body = if wanted { body } else { String::new() };
        format!("fn {name}(i: u32, v: Quad, fresh: bool) {{ {body} }}\n")
    };
    let header = form
        .header(norm)
        .text(&arrays.text)
        .text(ROW)
        .text("fn grad_at(i: u32) -> Quads { return unpacked(grad[i]); }\n")
        .text(if has_residual { WITH_RESIDUAL } else { WITHOUT_RESIDUAL })
        .text(if affine {
            "fn weighted(v: Quad, c: u32) -> Quad { return v * weight[c]; }\n"
        } else {
            "fn weighted(v: Quad, c: u32) -> Quad { return v; }\n"
        })
        .text(&keep("keep_weight", "weight_sums", affine))
        .text(&keep("keep_bias", "bias_sums", affine && norm.centered));
    if form.per_thread * quads(form.packs) <= MOST_BACKWARD_QUADS {
        return Kernel::new(norm.kernel, &header, include_str!("backward.wgsl"));
    }
    let header = header.text(include_str!("statistics.wgsl"));
    Kernel::new(norm.kernel, &header, include_str!("backward_long.wgsl"))
}

const WITHOUT_RESIDUAL: &str = "fn with_residual(v: Quads, i: u32) -> Quads { return v; }\n";

const WITH_RESIDUAL: &str = "fn with_residual(v: Quads, i: u32) -> Quads {
    var sum = unpacked(residual[i]);
    for (var q = 0u; q < QUADS; q++) {
        sum[q] += v[q];
    }
    return sum;
}
";
