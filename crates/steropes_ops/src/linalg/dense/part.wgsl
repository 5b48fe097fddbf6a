// A block of each matrix of a stack, copied to a place in each matrix of another: one invocation for each element.
//
// Header: THREADS, element.

struct Params {
    count: u32,
    // Extents of the block.
    rows: u32,
    columns: u32,
    // Place of the first element, from a row to the next, from a matrix to the next.
    from_start: u32,
    from_row: u32,
    from_matrix: u32,
    to_start: u32,
    to_row: u32,
    to_matrix: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let e = element(group, thread);
    if (e >= params.count) {
        return;
    }
    let matrix = e / (params.rows * params.columns);
    let i = e / params.columns % params.rows;
    let j = e % params.columns;
    y[params.to_start + matrix * params.to_matrix + i * params.to_row + j] =
        x[params.from_start + matrix * params.from_matrix + i * params.from_row + j];
}
