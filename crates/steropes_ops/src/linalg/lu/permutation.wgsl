// One invocation for each element: row order[j] of the matrix became row j.
//
// Header: THREADS, element; M, N, STEPS.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> order: array<u32>;
@group(0) @binding(1) var<storage, read_write> p: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let e = element(group, thread);
    if (e < params.count) {
        let row = e / M;
        p[e] = select(0.0, 1.0, order[row / M * M + e % M] == row % M);
    }
}
