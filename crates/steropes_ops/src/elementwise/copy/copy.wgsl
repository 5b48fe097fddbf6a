// PER_THREAD vectors for each invocation, all loaded before the first is stored.
//
// Header: THREADS, PER_THREAD, first_pack.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var loaded: array<vec4<u32>, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        loaded[i] = x[min(first + i * THREADS, params.count - 1u)];
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            y[p] = loaded[i];
        }
    }
}
