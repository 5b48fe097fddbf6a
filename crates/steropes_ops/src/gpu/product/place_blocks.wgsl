// Each row becomes a square block of pixels: its columns are the block's rows of `run` elements, one below the other.
fn place(m: u32, n: u32) -> u32 {
    let line = m / params.block_columns;
    let r = n / params.run;
    let lines = line * (params.columns / params.run) + r;
    return (lines * params.block_columns + m - line * params.block_columns) * params.run + n - r * params.run;
}
