// The element of column n, a multiple of 4, at depth 0; a step along the depth leads PANEL elements on. Panels behind the last stand
// for the last.
fn weight_column(n: u32) -> u32 {
    let panel = min(n / PANEL, (params.some - 1u) / PANEL);
    return panel * params.padded * PANEL + n % PANEL;
}

// Tile of this workgroup: rows and columns that it begins at. Eight rows of tiles at a time, so that workgroups that run
// together share rows and columns.
struct Tile { m: u32, n: u32, exists: bool }
fn tile_of(group: vec3<u32>) -> Tile {
    let index = group.x + group.y * 32768u;
    let down = (params.rows + TILE_ROWS - 1u) / TILE_ROWS;
    let across = (params.some + TILE_COLUMNS - 1u) / TILE_COLUMNS;
    let band = index / (8u * across);
    let height = max(min(down - min(band * 8u, down), 8u), 1u);
    let inside = index - band * 8u * across;
    return Tile((band * 8u + inside % height) * TILE_ROWS, inside / height * TILE_COLUMNS, index < down * across);
}
