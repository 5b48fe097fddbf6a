// A workgroup exchanges rows and columns of a square in workgroup memory, so that both its reads and its writes are stretches
// of memory. The square has a column more, so that no two rows of it begin in the same bank.
//
// Header: SIDE.

struct Params { rows: u32, columns: u32, across: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> square: array<f32, SIDE * (SIDE + 1u)>;

@compute @workgroup_size(SIDE * SIDE)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tile = group.x + group.y * 32768u;
    let row = tile / params.across * SIDE;
    let column = tile % params.across * SIDE;
    let high = thread / SIDE;
    let low = thread % SIDE;
    if (row + high < params.rows && column + low < params.columns) {
        square[high * (SIDE + 1u) + low] = x[(row + high) * params.columns + column + low];
    }
    workgroupBarrier();
    if (row + low < params.rows && column + high < params.columns) {
        y[(column + high) * params.rows + row + low] = square[low * (SIDE + 1u) + high];
    }
}
