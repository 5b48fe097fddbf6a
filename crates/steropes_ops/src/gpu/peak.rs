//! What a GPU can do at most.

use half::f16;
use std::time::Instant;
use steropes_tensor::{Binding, DType, DeviceError, Gpu, Header, Kernel, Memory, spread};

/// The limits of a GPU, measured just now.
#[derive(Clone, Debug)]
pub struct GpuPeak {
    /// A copy larger than the caches, in 10^9 bytes read and written per second.
    pub copy_gbytes_per_second: f64,
    /// Bytes that were copied.
    pub copied_bytes: u64,
    /// f32 multiply-adds on registers alone, in 10^9 floating-point operations per second.
    pub f32_gflops: f64,
    /// The most of f16 products: of small matrices with f32 sums where the GPU has them, else plain multiply-adds; `None`
    /// without f16.
    pub f16_gflops: Option<f64>,
    /// Side of the small matrices in [`GpuPeak::f16_gflops`]; `None` for plain multiply-adds.
    pub f16_tile: Option<u32>,
}

const OP: &str = "peak";
/// Bytes copied, more than a cache holds.
const COPIED: u64 = 512 << 20;
/// Samples; the best counts, because other work can only slow one down.
const SAMPLES: usize = 5;
/// A sample lasts about this long.
const SAMPLE_SECONDS: f64 = 0.02;
/// Workgroups of the arithmetic kernels: several for each core of any GPU.
const GROUPS: u32 = 4096;
/// Steps of a round in `multiply_adds.wgsl`.
const UNROLLED: u32 = 16;

/// Measures the limits of a GPU. Takes about half a second on hardware.
///
/// # Errors
/// [`DeviceError`] if the device failed or has not even memory for a small copy.
pub fn gpu_peak(gpu: &Gpu) -> Result<GpuPeak, DeviceError> {
    let (copy_gbytes_per_second, copied_bytes) = copy_rate(gpu)?;
    let f32_gflops = multiply_adds(gpu, DType::F32)?;
    let caps = gpu.capabilities();
    let f16_tile = if caps.f16 { caps.matrix_tile(DType::F16) } else { None };
    let f16_gflops = match f16_tile {
        _ if !caps.f16 => None,
        Some(tile) => Some(matrix_multiply_adds(gpu, tile)?),
        None => Some(multiply_adds(gpu, DType::F16)?),
    };
    Ok(GpuPeak { copy_gbytes_per_second, copied_bytes, f32_gflops, f16_gflops, f16_tile })
}

/// Seconds of what `f` launches, by the GPU's clock where it has one.
///
/// # Errors
/// What `f` returned, or [`DeviceError`] if the device failed.
pub fn gpu_seconds<E: From<DeviceError>>(gpu: &Gpu, f: impl FnOnce() -> Result<(), E>) -> Result<f64, E> {
    if gpu.capabilities().timestamps {
        let (outcome, seconds) = gpu.time(f)?;
        return outcome.map(|()| seconds);
    }
    gpu.sync()?;
    let start = Instant::now();
    f()?;
    gpu.sync()?;
    Ok(start.elapsed().as_secs_f64())
}

/// The highest rate, in units of 10^9 a second, of `launch`, which does `work(rounds)` in as many rounds as it is asked for.
fn fastest(
    gpu: &Gpu,
    work: impl Fn(u32) -> f64,
    launch: impl Fn(u32) -> Result<(), DeviceError>,
) -> Result<f64, DeviceError> {
    // The first run compiles.
    launch(1)?;
    gpu.sync()?;
    let mut rounds = 1;
    loop {
        let seconds = gpu_seconds(gpu, || launch(rounds))?;
        if seconds >= SAMPLE_SECONDS || rounds >= 1 << 20 {
            break;
        }
        // Not in one step: the first launches of a cold device are slow.
        let factor = (1.1 * SAMPLE_SECONDS / seconds.max(1e-6)).ceil().clamp(2.0, 16.0);
        rounds = (f64::from(rounds) * factor) as u32;
    }
    let mut best = 0.0f64;
    for _ in 0..SAMPLES {
        best = best.max(work(rounds) / gpu_seconds(gpu, || launch(rounds))?);
    }
    Ok(best / 1e9)
}

/// Bytes read and written per second in 10^9, and how many bytes were copied.
fn copy_rate(gpu: &Gpu) -> Result<(f64, u64), DeviceError> {
    let caps = gpu.capabilities();
    let mut bytes = COPIED.min(caps.max_binding_bytes).min(caps.max_buffer_bytes) / (1 << 20) * (1 << 20);
    let (from, to) = loop {
        match gpu.allocate(OP, bytes).and_then(|from| Ok((from, gpu.allocate(OP, bytes)?))) {
            Ok(both) => break both,
            Err(DeviceError::OutOfMemory { .. }) if bytes > 1 << 20 => bytes /= 2,
            Err(error) => return Err(error),
        }
    };
    gpu.clear(&from)?;
    let kernel = Kernel::new("peak_copy", &Header::new(), include_str!("copy.wgsl"));
    let vectors = bytes / 16;
    let launch = |rounds: u32| {
        for _ in 0..rounds {
            let bindings = [Binding::from(&from), Binding::from(&to)];
            gpu.launch(&kernel, &bindings, &[vectors as u32], spread(vectors / 1024))?;
        }
        Ok(())
    };
    Ok((fastest(gpu, |rounds| 2.0 * bytes as f64 * f64::from(rounds), launch)?, bytes))
}

fn multiply_adds(gpu: &Gpu, dtype: DType) -> Result<f64, DeviceError> {
    let header = Header::new().element(dtype).alias("Vector", "vec2<Elem>").count("UNROLLED", UNROLLED);
    let kernel = Kernel::new("peak_multiply_adds", &header, include_str!("multiply_adds.wgsl"));
    let y = gpu.allocate(OP, 4 << 16)?;
    let launch = |rounds: u32| {
        let params = [rounds, 0.999f32.to_bits(), 0.25f32.to_bits()];
        gpu.launch(&kernel, &[Binding::from(&y)], &params, spread(u64::from(GROUPS)))
    };
    // 256 invocations with 8 chains of 2 elements.
    let operations = 2.0 * f64::from(GROUPS * UNROLLED) * 256.0 * 16.0;
    fastest(gpu, |rounds| operations * f64::from(rounds), launch)
}

fn matrix_kernel(tile: u32) -> Kernel {
    let matrix = |scalar: &str, role: &str| format!("coop_mat{tile}x{tile}<{scalar},{role}>");
    let header = Header::new()
        .element(DType::F16)
        .enable("wgpu_cooperative_matrix")
        .count("TILE", tile)
        .alias("Left", &matrix("f16", "A"))
        .alias("Right", &matrix("f16", "B"))
        .alias("Sum", &matrix("f32", "C"));
    Kernel::new("peak_matrix_multiply_adds", &header, include_str!("matrix_multiply_adds.wgsl"))
}

fn matrix_multiply_adds(gpu: &Gpu, tile: u32) -> Result<f64, DeviceError> {
    let kernel = matrix_kernel(tile);
    let x = random_halves(gpu, (9 * tile * tile) as usize)?;
    let y = gpu.allocate(OP, u64::from(4 * 128 * 8 * tile * tile))?;
    let launch = |rounds: u32| {
        let bindings = [Binding::from(&x), Binding::from(&y)];
        gpu.launch(&kernel, &bindings, &[rounds], spread(u64::from(GROUPS)))
    };
    // 8 subgroups with 8 products.
    let operations = 2.0 * f64::from(tile).powi(3) * 64.0 * f64::from(GROUPS);
    fastest(gpu, |rounds| operations * f64::from(rounds), launch)
}

/// Random factors: hardware spends less power on zeros, and so may run faster.
fn random_halves(gpu: &Gpu, count: usize) -> Result<Memory, DeviceError> {
    let values = steropes_testkit::inputs::uniform(OP, count);
    let halves: Vec<f16> = values.into_iter().map(f16::from_f32).collect();
    let memory = gpu.allocate(OP, 2 * count as u64)?;
    gpu.upload(&memory, bytemuck::cast_slice(&halves))?;
    Ok(memory)
}

impl GpuPeak {
    /// How the f16 limit was measured, in words.
    pub fn f16_method(&self) -> String {
        match self.f16_tile {
            Some(tile) => format!("matrices {tile}x{tile}"),
            None => "plain".to_owned(),
        }
    }
}

pub(crate) mod tests {
    use super::gpu_peak;
    use steropes_tensor::Device;
    use steropes_testkit::{Case, Verdict, gpu_case};

    pub(crate) fn cases() -> Vec<Case> {
        vec![gpu_case("gpu_peak/unit/plausible", plausible)]
    }

    fn plausible(device: &Device) -> Verdict {
        let gpu = device.gpu().expect("a case for GPUs");
        let peak = gpu_peak(gpu).map_err(|e| e.to_string())?;
        let all = (0.05..1e5).contains(&peak.copy_gbytes_per_second)
            && (0.1..1e6).contains(&peak.f32_gflops)
            && peak.f16_gflops.is_some() == gpu.capabilities().f16;
        if all { Ok(()) } else { Err(format!("{peak:?}")) }
    }
}
