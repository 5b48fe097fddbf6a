// One invocation for each element.

struct Params { count: u32, n: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let e = element(group, thread);
    if (e < params.count) {
        x[e] = select(0.0, 1.0, e / params.n % params.n == e % params.n);
    }
}
