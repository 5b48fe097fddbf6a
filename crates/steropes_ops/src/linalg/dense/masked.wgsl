// One invocation for each element.
//
// Header: THREADS, element; factors (of the element, and of the one across the diagonal).

struct Params { count: u32, n: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let e = element(group, thread);
    if (e >= params.count) {
        return;
    }
    let i = e / params.n % params.n;
    let j = e % params.n;
    let weights = factors(i, j);
    var value = 0.0;
    // What is left out may be anything.
    if (weights.x != 0.0) {
        value = weights.x * a[e];
    }
    if (weights.y != 0.0) {
        value += weights.y * a[e - i * params.n - j + j * params.n + i];
    }
    y[e] = value;
}
