//! Launches.

use super::{Asked, CLAIM, DType, OP, OpError, Step, Tensor, UNKNOWN};
use crate::gpu::bind;
use steropes_tensor::{Gpu, Header, Kernel, spread};

/// Invocations of the one workgroup that makes a list.
const LIST_THREADS: u32 = 256;
const THREADS: u32 = 128;

pub(super) fn empty(gpu: &Gpu, pixels: usize) -> Result<Tensor, OpError> {
    let known = Tensor::on_gpu(gpu, OP, DType::U32, &[pixels])?;
    gpu.fill(known.gpu_memory().expect("on a GPU"), UNKNOWN)?;
    Ok(known)
}

pub(super) fn ask(known: &Tensor, pixels: &Tensor, active: &Tensor) -> Result<Asked, OpError> {
    let gpu = device(known);
    fits(&gpu, known)?;
    let asked = Asked {
        pixels: Tensor::on_gpu(&gpu, OP, DType::U32, pixels.shape())?,
        count: Tensor::on_gpu(&gpu, OP, DType::U32, &[1])?,
    };
    let kernel = kernel("lookup_table_ask", LIST_THREADS, include_str!("ask.wgsl"));
    let bindings = [bind(known), bind(pixels), bind(active), bind(&asked.pixels), bind(&asked.count)];
    gpu.launch(&kernel, &bindings, &[pixels.len() as u32, known.len() as u32], [1, 1, 1])?;
    Ok(asked)
}

pub(super) fn answer(known: &Tensor, asked: &Asked, answers: &Tensor) -> Result<(), OpError> {
    let kernel = kernel("lookup_table_answer", THREADS, include_str!("answer.wgsl"));
    let bindings = [bind(known), bind(&asked.pixels), bind(&asked.count), bind(answers)];
    let params = [answers.len() as u32, known.len() as u32];
    device(known).launch(&kernel, &bindings, &params, groups(answers.len()))?;
    Ok(())
}

pub(super) fn follow(known: &Tensor, track: [&Tensor; 3], keep_going: bool) -> Result<Step, OpError> {
    let gpu = device(known);
    let tracks = track[0].len();
    let list = || Tensor::on_gpu(&gpu, OP, DType::U32, &[tracks]);
    let step = Step { to: list()?, active: list()? };
    let kernel = kernel("lookup_table_follow", THREADS, include_str!("follow.wgsl"));
    let [from, to, active] = track.map(bind);
    let bindings = [bind(known), from, to, active, bind(&step.to), bind(&step.active)];
    let params = [tracks as u32, known.len() as u32, u32::from(keep_going)];
    gpu.launch(&kernel, &bindings, &params, groups(tracks))?;
    Ok(step)
}

fn device(known: &Tensor) -> Gpu {
    known.device().gpu().expect("a table on a GPU").clone()
}

/// A table is one binding: atomic operations need all of it at once.
fn fits(gpu: &Gpu, known: &Tensor) -> Result<(), OpError> {
    let most = gpu.capabilities().max_binding_bytes / 4;
    if known.len() as u64 <= most {
        return Ok(());
    }
    let why = format!("a table of {} pixels is larger than a binding of {most}", known.len());
    Err(OpError::Unsupported { op: OP, device: gpu.capabilities().name.clone(), why })
}

fn groups(count: usize) -> [u32; 3] {
    spread(count.div_ceil(THREADS as usize) as u64)
}

fn kernel(name: &'static str, threads: u32, body: &str) -> Kernel {
    let header = Header::new().count("THREADS", threads).count("CLAIM", CLAIM);
    Kernel::new(name, &header, body)
}
