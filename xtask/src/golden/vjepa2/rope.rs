//! Slices of heads that belong to one axis, turned.

use super::{Golden, Report, TensorFile};
use anyhow::{Context as _, bail};
use steropes_ops::position::rope3d::{
    Rope3dAngles, Rope3dRounding, rope3d, rope3d_axis_width, rope3d_tables,
};
use steropes_tensor::Tensor;

/// Base of the frequencies.
const BASE: f64 = 10_000.0;
/// Heads of the published networks; other slices are a third of theirs.
const HEAD_DIMS: [usize; 4] = [32, 64, 80, 88];

/// `A{width}.x` `[1, heads, tokens, width]` at positions `pos` becomes `A{width}.y`, whichever axis the slice is.
pub(super) fn run(file: &TensorFile, golden: &Golden<'_>, report: &mut Report<'_>) -> anyhow::Result<()> {
    let positions = file.f64("pos")?;
    for name in file.names() {
        let Some(width) = name.strip_prefix('A').and_then(|name| name.strip_suffix(".x")) else { continue };
        let width: usize = width.parse().context("the width of a slice in the name")?;
        let head_dim =
            HEAD_DIMS.into_iter().find(|&dim| rope3d_axis_width(dim) == width).unwrap_or(3 * width);
        let &[_, heads, tokens, _] = file.shape(&name)?.as_slice() else {
            bail!("`{name}` has four extents")
        };
        let x = file.f32(&name)?;
        for axis in 0..3 {
            let slice = |values: &[f32], head: usize, token: usize| {
                values[(head * tokens + token) * width..][..width].to_vec()
            };
            let mut whole = vec![0.25; tokens * heads * head_dim];
            for (i, head) in whole.chunks_exact_mut(head_dim).enumerate() {
                head[axis * width..][..width].copy_from_slice(&slice(&x, i % heads, i / heads));
            }
            let places: Vec<[f64; 3]> = positions
                .iter()
                .map(|&p| {
                    let mut place = [0.0; 3];
                    place[axis] = p;
                    place
                })
                .collect();
            let (angles, rounding) = (Rope3dAngles::Tiled, Rope3dRounding::Exact);
            let tables = rope3d_tables(&golden.device, &places, 1, head_dim, BASE, angles, rounding)?;
            let turned = rope3d(Tensor::new(&golden.device, &[1, tokens, heads, head_dim], whole)?, &tables)?;
            let turned = turned.read::<f32>()?;
            let rows = (0..heads).flat_map(|h| (0..tokens).map(move |t| (t * heads + h) * head_dim));
            let got: Vec<f32> = rows.flat_map(|row| turned[row + axis * width..][..width].to_vec()).collect();
            let label = format!("{} A{width} axis {axis}", file.stem());
            report.close(&label, &got, &file.f64(&format!("A{width}.y"))?, golden.tolerance);
        }
    }
    Ok(())
}
