// A workgroup counts the targets of GROUP_THREADS * GROUP_EACH rows that are not ignored.
//
// Header: targets_at; GROUP_THREADS, GROUP_EACH, group_sum.

struct Params { count: u32, ignore_low: u32, ignore_high: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> targets: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<vec2<f32>>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let part = group.x + group.y * 32768u;
    var own = vec2<f32>();
    for (var i = 0u; i < GROUP_EACH; i++) {
        let row = part * (GROUP_THREADS * GROUP_EACH) + i * GROUP_THREADS + thread;
        if (row < params.count) {
            let own_target = targets_at(row);
            if (own_target.x != params.ignore_low || own_target.y != params.ignore_high) {
                own.x += 1.0;
            }
        }
    }
    let sum = group_sum(own, thread);
    if (thread == 0u && (part == 0u || part * (GROUP_THREADS * GROUP_EACH) < params.count)) {
        counts[part] = sum;
    }
}
