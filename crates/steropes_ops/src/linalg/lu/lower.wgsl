// One invocation for each element.
//
// Header: THREADS, element; M, N, STEPS.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> lu: array<f32>;
@group(0) @binding(1) var<storage, read_write> l: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let e = element(group, thread);
    if (e >= params.count) {
        return;
    }
    let row = e / STEPS;
    let i = row % M;
    let j = e % STEPS;
    var value = 0.0;
    if (j < i) {
        value = lu[row * N + j];
    } else if (j == i) {
        value = 1.0;
    }
    l[e] = value;
}
