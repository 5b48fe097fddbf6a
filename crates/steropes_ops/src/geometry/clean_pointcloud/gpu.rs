//! Launches, one image after another. Its points and the cameras of the others are taken relative to its own camera, so that f32
//! is precise wherever the world's origin is.

use super::{DenseView, OP};
use crate::error::OpError;
use crate::geometry::{check_binding, uploaded};
use crate::gpu::bind;
use rayon::prelude::*;
use steropes_tensor::{Gpu, Header, Kernel, Tensor, spread};

const THREADS: u32 = 64;
/// Projections in a launch: a few milliseconds, so that a screen can be drawn in between.
const PROJECTIONS: usize = 1 << 28;

pub(super) fn clean_pointcloud(
    gpu: &Gpu,
    views: &[DenseView<'_>],
    tolerance: f64,
    bad_confidence: f32,
) -> Result<Vec<Vec<f32>>, OpError> {
    let confidence = uploaded(gpu, views.iter().map(|v| v.confidence).collect::<Vec<_>>().concat())?;
    let depth = uploaded(gpu, views.iter().map(|v| v.depth).collect::<Vec<_>>().concat())?;
    check_binding(OP, gpu, "depth", &depth)?;
    let header = Header::new().count("THREADS", THREADS);
    let kernel = Kernel::new("clean_pointcloud", &header, include_str!("clean_pointcloud.wgsl"));
    let most = (PROJECTIONS / views.len().max(1)).max(1).next_multiple_of(THREADS as usize);
    let mut start = 0;
    for (i, view) in views.iter().enumerate() {
        let pixels = view.width * view.height;
        let origin = camera_center(&view.camera_from_world);
        let cameras = uploaded(gpu, table(views, origin))?;
        let points = uploaded(gpu, relative(view.points, origin))?;
        check_binding(OP, gpu, "points", &points)?;
        let bindings = [bind(&cameras), bind(&points), bind(&depth), bind(&confidence)];
        for first in (0..pixels).step_by(most) {
            let count = (pixels - first).min(most);
            let sizes = [i, views.len(), start, first, count].map(|n| n as u32);
            let share = (1.0 - tolerance) as f32;
            let params = [&sizes[..], &[share.to_bits(), bad_confidence.to_bits()]].concat();
            gpu.launch(&kernel, &bindings, &params, spread(count.div_ceil(THREADS as usize) as u64))?;
        }
        start += pixels;
    }
    split(views, &confidence)
}

fn split(views: &[DenseView<'_>], confidence: &Tensor) -> Result<Vec<Vec<f32>>, OpError> {
    let mut rest = &confidence.read::<f32>()?[..];
    let each = views.iter().map(|v| {
        let (own, others) = rest.split_at(v.width * v.height);
        rest = others;
        own.to_vec()
    });
    Ok(each.collect())
}

/// The kernel's `Camera` for each image, for points relative to `origin`.
fn table(views: &[DenseView<'_>], origin: [f64; 3]) -> Vec<u32> {
    let mut start = 0;
    let entry = |v: &DenseView<'_>| {
        let rows = v.camera_from_world.map(|r| {
            let t = r[0] * origin[0] + r[1] * origin[1] + r[2] * origin[2] + r[3];
            [r[0], r[1], r[2], t].map(|m| (m as f32).to_bits())
        });
        let [focal, x, y] = v.focal_center_px.map(|m| (m as f32).to_bits());
        let size = [v.width, v.height, start, 0].map(|n| n as u32);
        start += v.width * v.height;
        [rows.as_flattened(), &[focal, x, y, 0], &size].concat()
    };
    views.iter().flat_map(entry).collect()
}

/// The points minus `origin`.
fn relative(points: &[f32], origin: [f64; 3]) -> Vec<f32> {
    let mut moved = vec![0.0; points.len()];
    moved.par_chunks_mut(3 << 12).zip(points.par_chunks(3 << 12)).for_each(|(moved, points)| {
        for (moved, point) in moved.chunks_exact_mut(3).zip(points.chunks_exact(3)) {
            for ((m, p), o) in moved.iter_mut().zip(point).zip(origin) {
                *m = (f64::from(*p) - o) as f32;
            }
        }
    });
    moved
}

/// Where the matrix takes the point to 0; the world's origin if there is no single such point.
fn camera_center(rows: &[[f64; 4]; 3]) -> [f64; 3] {
    let minor = |columns: [usize; 3]| {
        let [a, b, c] = rows.map(|r| columns.map(|k| r[k]));
        a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0])
            + a[2] * (b[0] * c[1] - b[1] * c[0])
    };
    let determinant = minor([0, 1, 2]);
    let center = [-minor([3, 1, 2]), -minor([0, 3, 2]), -minor([0, 1, 3])].map(|m| m / determinant);
    if center.iter().all(|c| c.is_finite()) { center } else { [0.0; 3] }
}
