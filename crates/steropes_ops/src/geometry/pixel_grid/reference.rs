//! f64 oracle, from the formula.

/// The grid, row by row.
pub(super) fn pixel_grid(width: usize, height: usize, origin: [i32; 2]) -> Vec<f64> {
    let mut grid = Vec::new();
    for y in 0..height {
        for x in 0..width {
            grid.extend([f64::from(origin[0]) + x as f64, f64::from(origin[1]) + y as f64]);
        }
    }
    grid
}
