// PER_THREAD vectors of four elements for each invocation.
//
// Header: THREADS, PER_THREAD, first_pack; Stored, wide, narrow.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read_write> gradient: array<Stored>;
@group(0) @binding(1) var<storage, read> factor: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = first_pack(group, thread);
    for (var k = 0u; k < PER_THREAD; k++) {
        let i = first + k * THREADS;
        if (i < params.count) {
            gradient[i] = narrow(wide(gradient[i]) * factor[0]);
        }
    }
}
