// One invocation for each element: the triangle that is read is copied, the other is zero.
//
// Header: THREADS, element; ROW and COLUMN (where the triangle that is read is the lower one).

struct Params { count: u32, n: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> l: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let e = element(group, thread);
    if (e >= params.count) {
        return;
    }
    let i = e / params.n % params.n;
    let j = e % params.n;
    var value = 0.0;
    if ((ROW > COLUMN && j <= i) || (ROW < COLUMN && i <= j)) {
        value = a[e];
    }
    l[e] = value;
}
