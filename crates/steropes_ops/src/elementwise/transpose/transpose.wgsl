// A tile of TILE x TILE elements for each workgroup, through workgroup memory, so that both sides are read and written in rows. A
// row of it has one element more, which puts a column in different banks.
//
// Header: Elem, TILE.

struct Params { matrices: u32, rows: u32, columns: u32, from_shift: u32, to_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Elem>;
@group(0) @binding(1) var<storage, read_write> y: array<Elem>;

var<workgroup> tile: array<Elem, TILE * (TILE + 1u)>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = group.x + group.y * 32768u;
    let across = (params.columns + TILE - 1u) / TILE;
    let tiles = across * ((params.rows + TILE - 1u) / TILE);
    let matrix = index / tiles;
    if (matrix >= params.matrices) {
        return;
    }
    let row = index % tiles / across * TILE;
    let column = index % tiles % across * TILE;
    let start = matrix * params.rows * params.columns;
    let lane = thread % TILE;
    for (var i = thread / TILE; i < TILE; i += 256u / TILE) {
        if (row + i < params.rows && column + lane < params.columns) {
            tile[i * (TILE + 1u) + lane] = x[params.from_shift + start + (row + i) * params.columns + column + lane];
        }
    }
    workgroupBarrier();
    for (var i = thread / TILE; i < TILE; i += 256u / TILE) {
        if (column + i < params.columns && row + lane < params.rows) {
            y[params.to_shift + start + (column + i) * params.rows + row + lane] = tile[lane * (TILE + 1u) + i];
        }
    }
}
