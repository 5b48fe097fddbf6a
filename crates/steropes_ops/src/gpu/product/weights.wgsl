@group(0) @binding(1) var<storage, read> weight: array<Elem4>;
// The first element of row n; rows behind the end stand for the last.
fn weight_row(n: u32) -> u32 {
    return min(n, params.some - 1u) * params.padded;
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
