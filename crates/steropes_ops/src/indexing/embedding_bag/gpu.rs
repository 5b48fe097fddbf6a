//! Pipeline choice and launches.

use super::{BagMode, Bags, EmbeddingBagGradient, EmbeddingBagOptions, OP};
use crate::error::OpError;
use crate::gpu::{Sorted, bind, index_header, one_binding, sorted_by_key};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, spread};

/// A row that no index names.
const NO_ROW: u32 = u32::MAX;

pub(super) fn embedding_bag(
    gpu: &Gpu,
    weight: &Tensor,
    bags: &Bags<'_>,
    options: &EmbeddingBagOptions,
    shape: &[usize],
) -> Result<Tensor, OpError> {
    let y = Tensor::on_gpu(gpu, OP, weight.dtype(), shape)?;
    launch_bags(gpu, weight, bags, options, &y, false)?;
    Ok(y)
}

/// The results of all bags, or the entries that hold their maxima.
fn launch_bags(
    gpu: &Gpu,
    weight: &Tensor,
    bags: &Bags<'_>,
    options: &EmbeddingBagOptions,
    y: &Tensor,
    winners: bool,
) -> Result<(), OpError> {
    one_binding(OP, gpu, &[weight, bags.indices, bags.offsets, y])?;
    let factor = match bags.per_sample_weights {
        Some(_) => {
            "@group(0) @binding(4) var<storage, read> factors: array<Elem>;\n\
             fn factor_of(entry: u32) -> f32 { return f32(factors[entry]); }\n"
        }
        None => "fn factor_of(entry: u32) -> f32 { return 1.0; }\n",
    };
    let (result, stored) = if winners { ("u32", "winner") } else { ("Elem", "Elem(value)") };
    let header = header(weight, bags, options)
        .text(factor)
        .alias("Result", result)
        .text(&format!("fn stored(value: f32, winner: u32) -> Result {{ return {stored}; }}\n"));
    let kernel = Kernel::new("embedding_bag", &header, include_str!("embedding_bag.wgsl"));
    let params = params(weight, bags, options);
    let mut bindings = vec![bind(weight), bind(bags.indices), bind(bags.offsets), bind(y)];
    bindings.extend(bags.per_sample_weights.map(bind));
    Ok(gpu.launch(&kernel, &bindings, &params, spread(y.len().div_ceil(128) as u64))?)
}

pub(super) fn embedding_bag_backward(
    gpu: &Gpu,
    grad: &Tensor,
    weight: &Tensor,
    bags: &Bags<'_>,
    options: &EmbeddingBagOptions,
) -> Result<EmbeddingBagGradient, OpError> {
    one_binding(OP, gpu, &[weight, bags.indices, bags.offsets, grad])?;
    let gradient = Tensor::on_gpu(gpu, OP, weight.dtype(), weight.shape())?;
    gpu.clear(gradient.gpu_memory().expect("it is on a GPU"))?;
    let entries = bags.indices.len();
    let factor_gradient = match bags.per_sample_weights {
        Some(factors) => Some(factor_gradient(gpu, grad, weight, bags, options, factors)?),
        None => None,
    };
    let done = EmbeddingBagGradient { weight: gradient, per_sample_weights: factor_gradient };
    if entries == 0 || weight.is_empty() || grad.is_empty() {
        return Ok(done);
    }
    let (rows, width) = (weight.shape()[0] as u32, weight.shape()[1]);
    // What is in no bag belongs to no row.
    let new = |word: u32| -> Result<Tensor, OpError> {
        let tensor = Tensor::on_gpu(gpu, OP, DType::U32, &[entries])?;
        gpu.fill(tensor.gpu_memory().expect("it is on a GPU"), word)?;
        Ok(tensor)
    };
    let [keys, bag_of, share_of] = [new(rows)?, new(0)?, new(0)?];
    let kernel =
        Kernel::new("embedding_bag_entries", &header(weight, bags, options), include_str!("entries.wgsl"));
    let bindings = [bind(bags.indices), bind(bags.offsets), bind(&keys), bind(&bag_of), bind(&share_of)];
    let params = params(weight, bags, options);
    gpu.launch(&kernel, &bindings, &params, spread(grad.shape()[0].div_ceil(64) as u64))?;
    let Sorted { keys, order } = sorted_by_key(gpu, OP, keys, rows)?;
    let winners = match options.mode {
        BagMode::Max => {
            let winners = Tensor::on_gpu(gpu, OP, DType::U32, grad.shape())?;
            launch_bags(gpu, weight, bags, options, &winners, true)?;
            Some(winners)
        }
        _ => None,
    };
    let extra = match (&winners, bags.per_sample_weights) {
        (Some(_), _) => {
            "@group(0) @binding(6) var<storage, read> extra: array<u32>;\n\
             fn share(at: u32, entry: u32) -> f32 { return select(0.0, 1.0, extra[at] == entry); }\n"
        }
        (None, Some(_)) => {
            "@group(0) @binding(6) var<storage, read> extra: array<Elem>;\n\
             fn share(at: u32, entry: u32) -> f32 { return f32(extra[entry]); }\n"
        }
        (None, None) => "fn share(at: u32, entry: u32) -> f32 { return 1.0; }\n",
    };
    let header = Header::new().element(weight.dtype()).text(extra);
    let kernel = Kernel::new("embedding_bag_backward", &header, include_str!("backward.wgsl"));
    let mut bindings =
        vec![bind(&keys), bind(&order), bind(&bag_of), bind(&share_of), bind(grad), bind(&done.weight)];
    bindings.extend(winners.as_ref().or(bags.per_sample_weights).map(bind));
    let params = [entries as u32, width as u32, rows];
    gpu.launch(&kernel, &bindings, &params, spread((entries * width).div_ceil(128) as u64))?;
    Ok(done)
}

fn factor_gradient(
    gpu: &Gpu,
    grad: &Tensor,
    weight: &Tensor,
    bags: &Bags<'_>,
    options: &EmbeddingBagOptions,
    factors: &Tensor,
) -> Result<Tensor, OpError> {
    let gradient = Tensor::on_gpu(gpu, OP, factors.dtype(), factors.shape())?;
    gpu.clear(gradient.gpu_memory().expect("it is on a GPU"))?;
    if grad.is_empty() {
        return Ok(gradient);
    }
    let kernel =
        Kernel::new("embedding_bag_factors", &header(weight, bags, options), include_str!("factors.wgsl"));
    let bindings = [bind(weight), bind(bags.indices), bind(bags.offsets), bind(grad), bind(&gradient)];
    let params = params(weight, bags, options);
    gpu.launch(&kernel, &bindings, &params, spread(factors.len() as u64))?;
    Ok(gradient)
}

fn params(weight: &Tensor, bags: &Bags<'_>, options: &EmbeddingBagOptions) -> Vec<u32> {
    let count = bags.offsets.len() - usize::from(options.include_last_offset);
    let padding = options.padding_idx.map_or(NO_ROW, |row| row as u32);
    let [rows, width] = [weight.shape()[0], weight.shape()[1]].map(|n| n as u32);
    vec![count as u32, bags.indices.len() as u32, rows, width, padding, f32::NAN.to_bits()]
}

fn header(weight: &Tensor, bags: &Bags<'_>, options: &EmbeddingBagOptions) -> Header {
    let header = Header::new()
        .element(weight.dtype())
        .count("MODE", options.mode as u32)
        .flag("WITH_END", options.include_last_offset)
        .text(include_str!("bags.wgsl"));
    let header = index_header(header, "indices", bags.indices.dtype());
    index_header(header, "offsets", bags.offsets.dtype())
}
