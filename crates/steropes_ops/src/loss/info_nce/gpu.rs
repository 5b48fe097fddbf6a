//! Launches.

use super::{InfoNceOptions, OP, Similarity};
use crate::error::OpError;
use crate::gpu::{bind, group_header, mask_header, one_binding, unsupported};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// Rows of a workgroup.
const THREADS: u32 = 64;

/// The most values of a descriptor, which an invocation keeps.
const MOST_WIDTH: usize = 256;

/// f32 values in workgroup memory.
const SHARED: usize = 4000;

/// Sums of rows and columns of the matrix of similarities, `[items, rows]` each.
struct Sums {
    rows: Tensor,
    columns: Tensor,
    own: Tensor,
}

pub(super) fn info_nce(
    gpu: &Gpu,
    descriptors: [&Tensor; 2],
    valid: &Tensor,
    options: &InfoNceOptions,
) -> Result<Tensor, OpError> {
    let sums = sums(gpu, descriptors, options)?;
    let losses = Tensor::on_gpu(gpu, OP, DType::F32, valid.shape())?;
    let kernel = Kernel::new("info_nce", &item_header(options), include_str!("losses.wgsl"));
    let bindings = [bind(&sums.rows), bind(&sums.columns), bind(&sums.own), bind(valid), bind(&losses)];
    launch_items(gpu, &kernel, &bindings, valid, options)?;
    Ok(losses)
}

pub(super) fn info_nce_backward(
    gpu: &Gpu,
    grad: &Tensor,
    descriptors: [&Tensor; 2],
    valid: &Tensor,
    options: &InfoNceOptions,
) -> Result<[Tensor; 2], OpError> {
    let sums = sums(gpu, descriptors, options)?;
    let &[items, rows, _] = descriptors[0].shape() else { unreachable!("the rank was checked") };
    let new = |last: usize| Tensor::on_gpu(gpu, OP, DType::F32, &[items, rows, last]);
    let [row_weights, column_weights] = [new(2)?, new(2)?];
    let own = new(1)?;
    let kernel = Kernel::new("info_nce_weights", &item_header(options), include_str!("weights.wgsl"));
    let bindings = [
        bind(&sums.rows),
        bind(&sums.columns),
        bind(&sums.own),
        bind(valid),
        bind(grad),
        bind(&row_weights),
        bind(&column_weights),
        bind(&own),
    ];
    launch_items(gpu, &kernel, &bindings, valid, options)?;
    let [a, b] = descriptors;
    Ok([
        gradient(gpu, [a, b], [&row_weights, &column_weights], &own, options)?,
        gradient(gpu, [b, a], [&column_weights, &row_weights], &own, options)?,
    ])
}

fn sums(gpu: &Gpu, [a, b]: [&Tensor; 2], options: &InfoNceOptions) -> Result<Sums, OpError> {
    let &[items, rows, width] = a.shape() else { unreachable!("the rank was checked") };
    if width > MOST_WIDTH {
        let why = format!("descriptors of {width} values, not more than {MOST_WIDTH}");
        return Err(unsupported(OP, gpu, why));
    }
    one_binding(OP, gpu, &[a, b])?;
    let new = || Tensor::on_gpu(gpu, OP, DType::F32, &[items, rows]);
    let sums = Sums { rows: new()?, columns: new()?, own: new()? };
    let kernel = Kernel::new("info_nce_sums", &tile_header(a, options), include_str!("sums.wgsl"));
    // The similarities of correspondences come out of both and are the same.
    for (sides, log_sums) in [([a, b], &sums.rows), ([b, a], &sums.columns)] {
        let bindings = [bind(sides[0]), bind(sides[1]), bind(log_sums), bind(&sums.own)];
        gpu.launch(&kernel, &bindings, &tile_params(a, options), tile_groups(a))?;
    }
    Ok(sums)
}

fn gradient(
    gpu: &Gpu,
    [a, b]: [&Tensor; 2],
    [rows, columns]: [&Tensor; 2],
    own: &Tensor,
    options: &InfoNceOptions,
) -> Result<Tensor, OpError> {
    let gradient = Tensor::on_gpu(gpu, OP, a.dtype(), a.shape())?;
    let kernel = Kernel::new("info_nce_backward", &tile_header(a, options), include_str!("backward.wgsl"));
    let bindings = [bind(a), bind(b), bind(rows), bind(columns), bind(own), bind(&gradient)];
    gpu.launch(&kernel, &bindings, &tile_params(a, options), tile_groups(a))?;
    Ok(gradient)
}

/// The header of kernels in which an invocation has a row and tiles of the other side pass by.
fn tile_header(a: &Tensor, options: &InfoNceOptions) -> Header {
    let width = a.shape()[2];
    Header::new()
        .element(a.dtype())
        .count("THREADS", THREADS)
        .count("WIDTH", width as u32)
        .count("TILE", (SHARED / (width + 2)).min(32) as u32)
        .flag("EUCLIDEAN", options.similarity == Similarity::Euclidean)
        .text(include_str!("tile.wgsl"))
}

fn tile_params(a: &Tensor, options: &InfoNceOptions) -> [u32; 4] {
    let [items, rows] = [a.shape()[0], a.shape()[1]];
    [rows as u32, groups_of_item(rows) as u32, items as u32, (1.0 / options.temperature).to_bits()]
}

fn tile_groups(a: &Tensor) -> [u32; 3] {
    spread((a.shape()[0] * groups_of_item(a.shape()[1])) as u64)
}

fn groups_of_item(rows: usize) -> usize {
    rows.div_ceil(THREADS as usize)
}

/// The header of kernels with a workgroup for each item.
fn item_header(options: &InfoNceOptions) -> Header {
    mask_header(group_header(Header::new()), "valid")
        .count("MODE", options.mode as u32)
        .text(include_str!("item.wgsl"))
}

fn launch_items(
    gpu: &Gpu,
    kernel: &Kernel,
    bindings: &[steropes_tensor::Binding<'_>],
    valid: &Tensor,
    options: &InfoNceOptions,
) -> Result<(), OpError> {
    let [items, rows] = [valid.shape()[0], valid.shape()[1]];
    let params = [rows as u32, items as u32, (-options.epsilon.ln()).to_bits()];
    let groups = if rows == 0 { [0; 3] } else { spread(items as u64) };
    Ok(gpu.launch(kernel, bindings, &params, groups)?)
}
