//! The table of matrices, and launches.

use super::{DepthMaps, OP, REFINE, SAME, Samples, View, cameras, starts};
use crate::error::OpError;
use crate::geometry::{check_binding, uploaded};
use crate::gpu::{bind, bind_rows};
use steropes_tensor::{DType, Gpu, Header, Kernel, Tensor, row_slices, spread};

const THREADS: u32 = 64;
/// Candidates in registers.
const BLOCK: u32 = 4;
/// Projections in a launch: a few milliseconds, so that a screen can be drawn in between.
const PROJECTIONS: u64 = 1 << 28;

pub(super) fn tsdf(
    gpu: &Gpu,
    maps: &DepthMaps<'_>,
    points: &Tensor,
    threshold: f32,
) -> Result<(Tensor, Tensor), OpError> {
    check_binding(OP, gpu, "depth", maps.depth)?;
    let kernel = Kernel::new("tsdf", &header(), include_str!("tsdf.wgsl"));
    let rows: Vec<_> = maps.views.iter().map(cameras::pixel_from_world).collect();
    let table = table(gpu, maps.views, &rows)?;
    let count = points.len() / 3;
    let values = Tensor::on_gpu(gpu, OP, DType::F32, &[count])?;
    let seen = Tensor::on_gpu(gpu, OP, DType::U32, &[count])?;
    for slice in row_slices(gpu.capabilities(), count, &[12]) {
        let bindings = [
            bind(&table),
            bind(maps.depth),
            bind(maps.confidence),
            bind_rows(points, 3, &slice),
            bind_rows(&values, 1, &slice),
            bind_rows(&seen, 1, &slice),
        ];
        let params = [slice.len() as u32, maps.views.len() as u32, threshold.to_bits()];
        gpu.launch(&kernel, &bindings, &params, spread(slice.len().div_ceil(THREADS as usize) as u64))?;
    }
    Ok((values, seen))
}

pub(super) fn refine_depth(
    gpu: &Gpu,
    maps: &DepthMaps<'_>,
    samples: Samples<'_>,
    threshold: f32,
) -> Result<Tensor, OpError> {
    check_binding(REFINE, gpu, "depth", maps.depth)?;
    let header = header().count("BLOCK", BLOCK).number("SAME", SAME);
    let (header, seed) = match samples {
        Samples::Random { seed, .. } => (header.text(include_str!("numbers_random.wgsl")), seed),
        Samples::Given(numbers) => {
            check_binding(REFINE, gpu, "samples", numbers)?;
            (header.text(include_str!("numbers_given.wgsl")), 0)
        }
    };
    let kernel = Kernel::new("tsdf_refine_depth", &header, include_str!("refine_depth.wgsl"));
    let views = maps.views.len();
    // From the rays of each map to the pixels of all maps.
    let pairs = maps.views.iter().flat_map(|v| maps.views.iter().map(|k| cameras::pixel_from_ray(k, v)));
    let table = table(gpu, maps.views, &pairs.collect::<Vec<_>>())?;
    check_binding(REFINE, gpu, "views", &table)?;
    let refined = Tensor::on_gpu(gpu, REFINE, DType::F32, maps.depth.shape())?;
    let mut bindings = vec![bind(&table), bind(maps.depth), bind(maps.confidence), bind(&refined)];
    if let Samples::Given(numbers) = samples {
        bindings.push(bind(numbers));
    }
    let most = (PROJECTIONS / (samples.count() * views) as u64).max(1).next_multiple_of(u64::from(THREADS));
    for (v, (view, start)) in maps.views.iter().zip(starts(maps.views)).enumerate() {
        for first in (0..view.pixels()).step_by(most as usize) {
            let count = (view.pixels() - first).min(most as usize);
            let numbers = [v * views, views, start, view.width, first, count, samples.count()];
            let params: Vec<u32> =
                numbers.iter().map(|&n| n as u32).chain([seed, threshold.to_bits()]).collect();
            let groups = spread(count.div_ceil(THREADS as usize) as u64);
            gpu.launch(&kernel, &bindings, &params, groups)?;
        }
    }
    Ok(refined)
}

fn header() -> Header {
    Header::new().count("THREADS", THREADS).text(include_str!("maps.wgsl"))
}

/// The entries of the kernels' table of maps: for each list of matrices as many as there are views.
fn table(gpu: &Gpu, views: &[View], matrices: &[cameras::Rows]) -> Result<Tensor, OpError> {
    let starts = starts(views);
    let entry = |(i, rows): (usize, &cameras::Rows)| {
        let (view, start) = (&views[i % views.len()], starts[i % views.len()]);
        let size = [view.width, view.height, start, 0].map(|n| n as u32);
        let matrix = rows.as_flattened().iter().map(|&v| (v as f32).to_bits());
        matrix.chain(size).collect::<Vec<_>>()
    };
    let words: Vec<u32> = matrices.iter().enumerate().flat_map(entry).collect();
    uploaded(gpu, words)
}
