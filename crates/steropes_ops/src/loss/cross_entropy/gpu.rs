//! Pipeline choice and launches.

use super::{CrossEntropyOptions, OP, Reduction};
use crate::error::OpError;
use crate::gpu::{
    Finish, Packs, Rows, bind, finish_sums, group_header, index_header, index_words, row_ranges, window,
};
use std::ops::Range;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// What the gradient of a row is multiplied by.
#[derive(Clone, Copy)]
pub(in crate::loss) enum Scale<'a> {
    /// Its own value of `[rows]`.
    Rows(&'a Tensor),
    /// One value for all.
    One(&'a Tensor),
    /// One value for all, divided by a number of rows.
    Share(&'a Tensor, &'a Tensor),
}

pub(super) fn cross_entropy(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<Tensor, OpError> {
    let rows = targets.len();
    if options.reduction == Reduction::None {
        let losses = Tensor::on_gpu(gpu, OP, DType::F32, &[rows])?;
        launch_losses(gpu, logits, targets, options, 0, (&losses, false))?;
        return Ok(losses);
    }
    let pairs = Tensor::on_gpu(gpu, OP, DType::F32, &[rows, 2])?;
    loss_pairs(gpu, logits, targets, options, 0, &pairs)?;
    finish_sums(gpu, OP, &pairs, finish(options.reduction))
}

/// How the pairs of [`loss_pairs`] become one value.
pub(super) fn finish(reduction: Reduction) -> Finish {
    if reduction == Reduction::Mean { Finish::Mean(f32::NAN) } else { Finish::Sum(1.0) }
}

pub(super) fn cross_entropy_backward(
    gpu: &Gpu,
    grad: &Tensor,
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<Tensor, OpError> {
    match options.reduction {
        Reduction::None => logits_gradient(gpu, logits, targets, options, 0, Scale::Rows(grad)),
        Reduction::Mean => {
            let count = valid_rows(gpu, targets, options)?;
            logits_gradient(gpu, logits, targets, options, 0, Scale::Share(grad, &count))
        }
        _ => logits_gradient(gpu, logits, targets, options, 0, Scale::One(grad)),
    }
}

/// Fills rows of `pairs`, `[rows, 2]`, from `first` on with (loss, 1), or (0, 0) where the target is ignored: those of the rows of
/// `logits`, whose targets begin at `first`.
pub(in crate::loss) fn loss_pairs(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    first: usize,
    pairs: &Tensor,
) -> Result<(), OpError> {
    launch_losses(gpu, logits, targets, options, first, (pairs, true))
}

fn launch_losses(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    first: usize,
    (losses, pairs): (&Tensor, bool),
) -> Result<(), OpError> {
    let classes = logits.shape()[1];
    let loss_bytes = if pairs { 8 } else { 4 };
    let stored = if pairs { "vec2<f32>(loss, weight)" } else { "loss" };
    let rows = Rows::choose(gpu.capabilities(), classes / Packs::of_rows(logits.dtype(), classes).lanes);
    let header = header(gpu, logits, targets).text(&format!(
        "alias Loss = {};\nfn stored(loss: f32, weight: f32) -> Loss {{ return {stored}; }}\n",
        if pairs { "vec2<f32>" } else { "f32" }
    ));
    let kernel = Kernel::new("cross_entropy", &header, include_str!("cross_entropy.wgsl"));
    for range in ranges(gpu, logits, targets, loss_bytes)? {
        let to = first + range.start..first + range.end;
        let part = Part::new(logits, targets, &range, first);
        let out = window(losses, loss_bytes, &to);
        let mut params = part.params(options);
        params.extend([out.shift(loss_bytes), f32::NAN.to_bits()]);
        let groups = spread(range.len().div_ceil(rows.rows as usize) as u64);
        gpu.launch(&kernel, &[part.logits.binding, part.targets.binding, out.binding], &params, groups)?;
    }
    Ok(())
}

/// The gradient of the losses of the rows of `logits`, whose targets begin at `first`.
pub(in crate::loss) fn logits_gradient(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    options: &CrossEntropyOptions,
    first: usize,
    scale: Scale<'_>,
) -> Result<Tensor, OpError> {
    let classes = logits.shape()[1];
    let packs = Packs::of_rows(logits.dtype(), classes);
    let rows = Rows::choose(gpu.capabilities(), classes / packs.lanes);
    let binding = "@group(0) @binding(4) var<storage, read> total: array<f32>;\n";
    let scaled = match scale {
        Scale::Rows(_) => {
            "fn scale_of(row: u32) -> f32 { return grad[params.scale_shift + row]; }\n".to_owned()
        }
        Scale::One(_) => "fn scale_of(row: u32) -> f32 { return grad[0]; }\n".to_owned(),
        Scale::Share(..) => {
            format!("{binding}fn scale_of(row: u32) -> f32 {{ return grad[0] / max(total[0], 1.0); }}\n")
        }
    };
    let header = header(gpu, logits, targets).text(&scaled);
    let kernel = Kernel::new("cross_entropy_backward", &header, include_str!("backward.wgsl"));
    let y = Tensor::on_gpu(gpu, OP, logits.dtype(), logits.shape())?;
    let row_bytes = classes * logits.dtype().size_bytes();
    for range in ranges(gpu, logits, targets, size_of::<f32>())? {
        let part = Part::new(logits, targets, &range, first);
        let to = window(&y, row_bytes, &range);
        let mut bindings = vec![part.logits.binding, part.targets.binding, to.binding];
        let mut params = part.params(options);
        match scale {
            Scale::Rows(grad) => {
                let own = window(grad, size_of::<f32>(), &(first + range.start..first + range.end));
                params.push(own.shift(size_of::<f32>()));
                bindings.push(own.binding);
            }
            Scale::One(grad) => bindings.push(bind(grad)),
            Scale::Share(grad, total) => bindings.extend([bind(grad), bind(total)]),
        }
        params.resize(7, 0);
        params.push(f32::NAN.to_bits());
        gpu.launch(&kernel, &bindings, &params, spread(range.len().div_ceil(rows.rows as usize) as u64))?;
    }
    Ok(y)
}

/// How many targets are not ignored, as one f32.
pub(in crate::loss) fn valid_rows(
    gpu: &Gpu,
    targets: &Tensor,
    options: &CrossEntropyOptions,
) -> Result<Tensor, OpError> {
    let header = group_header(index_header(Header::new(), "targets", targets.dtype()));
    let kernel = Kernel::new("cross_entropy_count", &header, include_str!("count.wgsl"));
    let groups = targets.len().div_ceil(crate::gpu::GROUP_VALUES).max(1);
    let pairs = Tensor::on_gpu(gpu, OP, DType::F32, &[groups, 2])?;
    crate::gpu::one_binding(OP, gpu, &[targets])?;
    let [low, high] = halves(options.ignore_index);
    let params = [targets.len() as u32, low, high];
    gpu.launch(&kernel, &[bind(targets), bind(&pairs)], &params, spread(groups as u64))?;
    finish_sums(gpu, OP, &pairs, Finish::Sum(1.0))
}

fn halves(number: i64) -> [u32; 2] {
    [number as u32, (number >> 32) as u32]
}

fn ranges(
    gpu: &Gpu,
    logits: &Tensor,
    targets: &Tensor,
    row_bytes: usize,
) -> Result<Vec<Range<usize>>, OpError> {
    let [rows, classes] = [logits.shape()[0], logits.shape()[1]];
    let bytes = [classes * logits.dtype().size_bytes(), targets.dtype().size_bytes(), row_bytes];
    row_ranges(OP, gpu, rows, &bytes)
}

/// The rows of a launch.
struct Part<'a> {
    logits: crate::gpu::Window<'a>,
    targets: crate::gpu::Window<'a>,
    rows: usize,
    pack_bytes: usize,
}

impl<'a> Part<'a> {
    fn new(logits: &'a Tensor, targets: &'a Tensor, range: &Range<usize>, first: usize) -> Self {
        let (classes, size) = (logits.shape()[1], logits.dtype().size_bytes());
        Self {
            logits: window(logits, classes * size, range),
            targets: window(targets, targets.dtype().size_bytes(), &(first + range.start..first + range.end)),
            rows: range.len(),
            pack_bytes: Packs::of_rows(logits.dtype(), classes).bytes(),
        }
    }

    /// Rows, shifts, the ignored target and the smoothing.
    fn params(&self, options: &CrossEntropyOptions) -> Vec<u32> {
        let [low, high] = halves(options.ignore_index);
        let targets = self.targets.shift(4);
        vec![
            self.rows as u32,
            self.logits.shift(self.pack_bytes),
            targets,
            low,
            high,
            options.label_smoothing.to_bits(),
        ]
    }
}

fn header(gpu: &Gpu, logits: &Tensor, targets: &Tensor) -> Header {
    let classes = logits.shape()[1];
    let packs = Packs::of_rows(logits.dtype(), classes);
    let per_row = classes / packs.lanes;
    let rows = Rows::choose(gpu.capabilities(), per_row);
    let lane = if packs.lanes == 1 { "v" } else { "v[i]" };
    let header = packs
        .header(Header::new())
        .count("WIDTH", per_row as u32)
        .count("COUNT", classes as u32)
        .count("PER_THREAD", per_row.div_ceil(rows.threads as usize) as u32)
        .count("TARGET_WORDS", index_words(targets.dtype()) as u32)
        .flag("FULL", per_row.is_multiple_of(rows.threads as usize))
        .text(&format!(
            "fn lane_of(v: Quad, i: u32) -> f32 {{ return {lane}; }}\n\
             fn unit_of(i: u32) -> Quad {{ var v = Quad(); {lane} = 1.0; return v; }}\n"
        ));
    rows.header(index_header(header, "targets", targets.dtype())).text(include_str!("row.wgsl"))
}
