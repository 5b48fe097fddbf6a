// Every value of a stack of matrices from where it belongs: one invocation each.
//
// Header: value_at(matrix, i, j) and the arrays that it reads.

struct Params { count: u32, rows: u32, columns: u32, source: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> to: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let e = (group.x + group.y * 32768u) * 256u + thread;
    if (e < params.count) {
        let row = e / params.columns;
        to[e] = value_at(row / params.rows, row % params.rows, e % params.columns);
    }
}
