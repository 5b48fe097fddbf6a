// A workgroup counts the places of the mask among GROUP_THREADS * GROUP_EACH.
//
// Header: mask_at; GROUP_THREADS, GROUP_EACH, group_sum.

struct Params { count: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> mask: array<u32>;
@group(0) @binding(1) var<storage, read_write> sums: array<vec2<f32>>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let part = group.x + group.y * 32768u;
    let first = part * (GROUP_THREADS * GROUP_EACH);
    var own = vec2<f32>();
    for (var i = 0u; i < GROUP_EACH; i++) {
        let at = first + i * GROUP_THREADS + thread;
        if (at < params.count) {
            own.x += select(0.0, 1.0, mask_at(at));
        }
    }
    let sum = group_sum(own, thread);
    if (thread == 0u && (part == 0u || first < params.count)) {
        sums[part] = sum;
    }
}
