//! Tall and narrow matrices (TSQR): blocks of rows in workgroups, their stacked R's the same way until one is left, and Q multiplied
//! together on the way back, with the signs of the reduction of the whole matrix.

use super::Matrices;
use super::block::Block;
use super::new;
use super::parts::{Part, arrange, multiply_rows};
use crate::error::OpError;
use crate::gpu::bind;
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor};

/// The most columns.
const MOST_COLUMNS: usize = 64;

/// Invocations of the workgroup that finds the signs.
const THREADS: usize = 128;

/// The blocks for a matrix, if it is tall enough for them.
pub(super) fn block_for(gpu: &Gpu, m: usize, n: usize) -> Option<Block> {
    if n > MOST_COLUMNS {
        return None;
    }
    Block::tallest(gpu, n).filter(|block| block.rows >= 2 * n && m > block.rows)
}

/// The Q's of the blocks of one height of the tree.
struct Level {
    q: Tensor,
    height: usize,
}

/// R and, if it is asked for, Q of every matrix.
pub(super) fn factors(
    gpu: &Gpu,
    op: &'static str,
    a: &Tensor,
    &Matrices { count, m, n }: &Matrices,
    block: &Block,
    wants_q: bool,
) -> Result<[Tensor; 2], OpError> {
    let blocks = m.div_ceil(block.rows);
    let kept = Tensor::on_gpu(gpu, op, DType::U32, &[count * blocks])?;
    let mut levels = Vec::new();
    let (mut stacked, mut height) = (a.clone(), m);
    loop {
        let blocks = height.div_ceil(block.rows);
        let (r, q) = (new(gpu, op, count, blocks * n * n)?, new(gpu, op, count, height * n)?);
        let kept = levels.is_empty().then_some(&kept);
        block.qr(gpu, [&stacked, &r, &q], kept, [count, height], [n, n])?;
        levels.push(Level { q, height });
        (stacked, height) = (r, blocks * n);
        if blocks == 1 {
            break;
        }
    }
    let r = stacked;
    let bottom = levels.remove(0);
    let mut c = levels.pop().expect("a tall matrix has several blocks").q;
    for level in levels.iter().rev() {
        c = multiply_blocks(gpu, op, level, &c, [count, n], block)?;
    }
    let signs = signs(gpu, op, [&bottom.q, &c, &kept, &r], [count, m, n], blocks)?;
    if !wants_q {
        return Ok([r, Tensor::zeros::<f32>(&a.device(), &[0])]);
    }
    let signed = new(gpu, op, count, blocks * n * n)?;
    arrange(gpu, &signed, [blocks * n, n], 0, &[&c, &signs], SIGNED)?;
    let q = multiply_blocks(gpu, op, &bottom, &signed, [count, n], block)?;
    Ok([r, q])
}

/// The signs that the reduction of the whole matrices gives the columns of `q` times the first matrix of `c`, and rows of `r`, which
/// they are multiplied with; `kept` has the columns that each of so many blocks keeps.
pub(super) fn signs(
    gpu: &Gpu,
    op: &'static str,
    [q, c, kept, r]: [&Tensor; 4],
    [count, m, n]: [usize; 3],
    blocks: usize,
) -> Result<Tensor, OpError> {
    let signs = new(gpu, op, count, n)?;
    let header = Header::new().count("N", n as u32).count("THREADS", THREADS as u32);
    let kernel = Kernel::new("qr_signs", &header, include_str!("../signs.wgsl"));
    let bindings = [bind(q), bind(c), bind(kept), bind(r), bind(&signs)];
    gpu.launch(&kernel, &bindings, &[blocks as u32, m as u32], [count as u32, 1, 1])?;
    Ok(signs)
}

/// A matrix with the signs of its columns.
const SIGNED: &str = "fn value_at(matrix: u32, i: u32, j: u32) -> f32 {
    return a0[(matrix * params.rows + i) * params.columns + j] * a1[matrix * params.columns + j];
}
";

/// The Q of every block times its matrix of `c`.
fn multiply_blocks(
    gpu: &Gpu,
    op: &'static str,
    Level { q, height }: &Level,
    c: &Tensor,
    [count, n]: [usize; 2],
    block: &Block,
) -> Result<Tensor, OpError> {
    let blocks = height.div_ceil(block.rows);
    let result = new(gpu, op, count, height * n)?;
    for matrix in 0..count {
        let of = |tensor| Part::whole(tensor, [block.rows, n]).from(matrix * height * n, block.rows * n);
        let c = Part::whole(c, [n, n]).from(matrix * blocks * n * n, n * n);
        multiply_rows(gpu, (blocks, *height), [block.rows, n, n], of(q), c, of(&result), (1.0, false))?;
    }
    Ok(result)
}
