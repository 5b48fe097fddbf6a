// One invocation for each column of each matrix, which goes through the exchanges one after another.
//
// Header: THREADS, element; BACKWARDS.

struct Params {
    count: u32, columns: u32, first: u32, steps: u32, pivots_step: u32, skip_from: u32, skip: u32, rows: u32,
    start: u32, row: u32, column: u32, step: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read> pivots: array<i32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let index = element(group, thread);
    if (index >= params.count) {
        return;
    }
    let matrix = index / params.columns;
    var column = index % params.columns;
    if (column >= params.skip_from) {
        column += params.skip;
    }
    let start = params.start + matrix * params.step + column * params.column;
    for (var step = 0u; step < params.steps; step++) {
        let i = params.first + select(step, params.steps - 1u - step, BACKWARDS);
        let other = u32(pivots[matrix * params.pivots_step + i] - 1);
        if (other != i && other < params.rows) {
            let value = x[start + i * params.row];
            x[start + i * params.row] = x[start + other * params.row];
            x[start + other * params.row] = value;
        }
    }
}
