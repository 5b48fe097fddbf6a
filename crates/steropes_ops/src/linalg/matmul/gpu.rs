//! One large product goes through that of linear layers, which packs the right operand once. All others run on a tiled
//! kernel of their own, the batch in the grid; where there are few tiles and a deep sum, in parts of the depth that are added in
//! their order.

use super::{OP, Product};
use crate::cpu::Activation;
use crate::elementwise::transpose::transpose;
use crate::error::OpError;
use crate::gpu::product::{Axis, Layout, Product as Packed, ProductWeights, Residual, Source, Target};
use crate::gpu::{bind, largest_binding, row_ranges, unsupported, window};
use crate::reduce::sum;
use steropes_tensor::{DType, Device, Gpu, Header, Kernel, Tensor, TensorError, spread};

/// Multiply-adds of a product from which packing an operand costs little beside it.
const LARGE: usize = 1 << 27;
/// Rows and columns below which packing costs more than it gives.
const LEAST_LARGE: usize = 64;
/// Workgroups that keep a large GPU busy.
const ENOUGH_TILES: usize = 264;
/// The least depth of a part.
const LEAST_PART: usize = 256;

pub(super) fn matmul(gpu: &Gpu, a: &Tensor, b: &Tensor, product: &Product) -> Result<Tensor, OpError> {
    let count = product.batch.count();
    // One matrix on the right: the rows of all matrices on the left are those of one.
    let joined = !product.transposed.a && b.shape().len() == 2;
    let (rows, count) = if joined { (count * product.rows, 1) } else { (product.rows, count) };
    let is_large =
        rows * product.columns * product.depth >= LARGE && rows.min(product.columns) >= LEAST_LARGE;
    if count == 1 && is_large {
        return packed(gpu, a, b, product);
    }
    let y = Tensor::on_gpu(gpu, OP, a.dtype(), &product.shape())?;
    if y.is_empty() {
        return Ok(y);
    }
    let plain = joined || product.batch.is_plain();
    let Product { columns, depth, .. } = *product;
    let extents = Extents { rows, columns, depth, count, plain };
    let parts = extents.parts();
    if parts == 1 {
        extents.launch(gpu, [a, b], product, &y, 1)?;
        return Ok(y);
    }
    let sums = Tensor::on_gpu(gpu, OP, DType::F32, &[count, parts, rows * columns])?;
    extents.launch(gpu, [a, b], product, &sums, parts)?;
    sum::gpu::sum(gpu, &sums, [count, parts, rows * columns], a.dtype(), y.shape())
}

/// The product with a packed right operand.
fn packed(gpu: &Gpu, a: &Tensor, b: &Tensor, product: &Product) -> Result<Tensor, OpError> {
    let Product { columns, depth, transposed, .. } = *product;
    let layout = if transposed.b {
        Layout::rows(columns, depth)
    } else {
        let axis = |extent, step| [Axis::ONE, Axis { extent, step }];
        Layout { outputs: axis(columns, 1), depth: axis(depth, columns) }
    };
    let weights = ProductWeights::pack(gpu, OP, b, None, layout)?;
    let turned = if transposed.a { Some(transpose(a)?) } else { None };
    let y = Tensor::on_gpu(gpu, OP, a.dtype(), &product.shape())?;
    let product = Packed {
        op: OP,
        source: Source::Rows(turned.as_ref().unwrap_or(a)),
        weights: &weights,
        activation: Activation::Identity,
        residual: Residual::Nothing,
        target: Target::Rows,
    };
    product.launch(gpu, &y)?;
    Ok(y)
}

/// What a launch is about.
#[derive(Clone, Copy)]
struct Extents {
    rows: usize,
    columns: usize,
    depth: usize,
    count: usize,
    /// Whether every matrix meets that of its own number.
    plain: bool,
}

/// Columns of the left matrix that are in workgroup memory at once.
const DEPTH: usize = 16;

impl Extents {
    /// Groups of four rows or columns along a tile.
    fn side(&self) -> usize {
        if self.rows.max(self.columns) <= 32 { 8 } else { 16 }
    }

    fn tiles(&self) -> usize {
        let tile = 4 * self.side();
        self.rows.div_ceil(tile) * self.columns.div_ceil(tile)
    }

    /// Parts of the depth.
    fn parts(&self) -> usize {
        let wanted = ENOUGH_TILES / (self.tiles() * self.count).max(1);
        wanted.min(self.depth / LEAST_PART).max(1)
    }

    /// Fills `y` `[count, parts, rows, columns]`.
    fn launch(
        &self,
        gpu: &Gpu,
        operands: [&Tensor; 2],
        product: &Product,
        y: &Tensor,
        parts: usize,
    ) -> Result<(), OpError> {
        let part = self.depth.div_ceil(parts).next_multiple_of(DEPTH).max(DEPTH);
        let kernel = self.kernel(product, operands[0].dtype(), y.dtype());
        let size = |tensor: &Tensor| tensor.dtype().size_bytes();
        let y_bytes = parts * self.rows * self.columns * size(y);
        let matrices = [self.rows * self.depth, self.depth * self.columns].map(|len| len * size(operands[0]));
        let mut row_bytes = vec![y_bytes];
        let sources = if self.plain {
            row_bytes.extend(matrices);
            None
        } else {
            let fits = |tensor: &&Tensor| bind(tensor).bytes <= largest_binding(gpu) as u64;
            if !operands.iter().all(fits) {
                let why = "a stack of matrices that is repeated does not fit one of its bindings".to_owned();
                return Err(unsupported(OP, gpu, why));
            }
            Some(self.sources(gpu, product)?)
        };
        for range in row_ranges(OP, gpu, self.count, &row_bytes)? {
            let to = window(y, y_bytes, &range);
            let mut bindings = Vec::new();
            let mut shifts = [0; 2];
            for ((operand, bytes), shift) in operands.into_iter().zip(matrices).zip(&mut shifts) {
                if self.plain {
                    let from = window(operand, bytes, &range);
                    *shift = from.shift(size(operand));
                    bindings.push(from.binding);
                } else {
                    bindings.push(bind(operand));
                }
            }
            let shift = to.shift(size(y));
            bindings.push(to.binding);
            bindings.extend(sources.as_ref().map(bind));
            let params = [range.len(), range.start, self.rows, self.columns, self.depth, part, parts];
            let params = [&params.map(|word| word as u32)[..], &shifts, &[shift]].concat();
            let groups = range.len() * parts * self.tiles();
            gpu.launch(&kernel, &bindings, &params, spread(groups as u64))?;
        }
        Ok(())
    }

    /// Which matrices of the operands meet, pair by pair.
    fn sources(&self, gpu: &Gpu, product: &Product) -> Result<Tensor, OpError> {
        let pairs =
            (0..self.count).flat_map(|index| product.batch.sources(index).map(|source| source as u32));
        match Tensor::new(&Device::Gpu(gpu.clone()), &[self.count, 2], pairs.collect()) {
            Ok(sources) => Ok(sources),
            Err(TensorError::Device(error)) => Err(error.into()),
            Err(error) => unreachable!("two numbers for each pair: {error}"),
        }
    }

    fn kernel(&self, product: &Product, from: DType, to: DType) -> Kernel {
        let name = |dtype| if dtype == DType::F16 { "f16" } else { "f32" };
        let mut header = Header::new();
        if from == DType::F16 {
            header = header.enable("f16");
        }
        let header = header
            .alias("From", name(from))
            .alias("To", name(to))
            .count("SIDE", self.side() as u32)
            .count("DEPTH", DEPTH as u32)
            .flag("A_TRANSPOSED", product.transposed.a)
            .flag("B_TRANSPOSED", product.transposed.b)
            .text(if self.plain {
                "fn sources(matrix: u32) -> vec2<u32> { return vec2<u32>(matrix); }\n"
            } else {
                "@group(0) @binding(3) var<storage, read> pairs: array<vec2<u32>>;\n\
                 fn sources(matrix: u32) -> vec2<u32> { return pairs[params.first + matrix]; }\n"
            });
        Kernel::new("matmul", &header, include_str!("matmul.wgsl"))
    }
}
