// A workgroup sums GROUP_THREADS * GROUP_EACH pairs (value, weight); the last launch has one workgroup and finishes the sum.
//
// Header: GROUP_THREADS, GROUP_EACH, group_sum; Result; finished (what is stored of a sum).

struct Params { count: u32, number: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> pairs: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> result: array<Result>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let part = group.x + group.y * 32768u;
    var own = vec2<f32>();
    for (var i = 0u; i < GROUP_EACH; i++) {
        let at = part * (GROUP_THREADS * GROUP_EACH) + i * GROUP_THREADS + thread;
        if (at < params.count) {
            own += pairs[at];
        }
    }
    let sum = group_sum(own, thread);
    if (thread == 0u && part * (GROUP_THREADS * GROUP_EACH) < max(params.count, 1u)) {
        result[part] = finished(sum, params.number);
    }
}
