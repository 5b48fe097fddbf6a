// One entry of a scaled matrix for each invocation.
//
// Header: N, THREADS; halvings.

struct Params { count: u32, norms_shift: u32, halvings_shift: u32, to_shift: u32, a_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> norms: array<u32>;
@group(0) @binding(1) var<storage, read_write> halvings: array<u32>;
@group(0) @binding(2) var<storage, read_write> to: array<f32>;
@group(0) @binding(3) var<storage, read> a: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let t = (group.x + group.y * 32768u) * THREADS + thread;
    if (t >= params.count * (N * N)) {
        return;
    }
    let matrix = t / (N * N);
    let count = halvings_of(norms[params.norms_shift + matrix]);
    to[params.to_shift + t] = halved(a[params.a_shift + t], count);
    if (t % (N * N) == 0u) {
        halvings[params.halvings_shift + matrix] = count;
    }
}
