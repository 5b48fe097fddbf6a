//! Image rows are shared among threads; memory is the limit.

use rayon::prelude::*;

/// Rows in a task.
const TASK: usize = 16;

pub(super) fn pixel_grid(width: usize, height: usize, origin: [i32; 2]) -> Vec<f32> {
    let mut grid = vec![0.0; 2 * width * height];
    if grid.is_empty() {
        return grid;
    }
    grid.par_chunks_mut(2 * width).with_min_len(TASK).enumerate().for_each(|(y, row)| {
        let y = (origin[1] + y as i32) as f32;
        for (x, pixel) in row.chunks_exact_mut(2).enumerate() {
            pixel.copy_from_slice(&[(origin[0] + x as i32) as f32, y]);
        }
    });
    grid
}
