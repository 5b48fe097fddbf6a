// One invocation for each matrix: the exchanges one after another on the numbers of the rows.
//
// Header: THREADS, element; M, N, STEPS.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> order: array<u32>;
@group(0) @binding(1) var<storage, read> pivots: array<i32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = element(group, thread);
    if (matrix >= params.count) {
        return;
    }
    let first = matrix * M;
    for (var i = 0u; i < M; i++) {
        order[first + i] = i;
    }
    for (var i = 0u; i < STEPS; i++) {
        let other = first + u32(pivots[matrix * STEPS + i] - 1);
        let row = order[other];
        order[other] = order[first + i];
        order[first + i] = row;
    }
}
