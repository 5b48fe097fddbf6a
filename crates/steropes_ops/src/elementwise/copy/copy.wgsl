// PER_THREAD units for each invocation, all loaded before the first is stored.
//
// Header: Unit, THREADS, PER_THREAD, first_pack.

struct Params { count: u32, shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> x: array<Unit>;
@group(0) @binding(1) var<storage, read_write> y: array<Unit>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    var loaded: array<Unit, PER_THREAD>;
    for (var i = 0u; i < PER_THREAD; i++) {
        loaded[i] = x[params.shift + min(first + i * THREADS, params.count - 1u)];
    }
    for (var i = 0u; i < PER_THREAD; i++) {
        let p = first + i * THREADS;
        if (p < params.count) {
            y[p] = loaded[i];
        }
    }
}
