// A workgroup sums GROUP_THREADS * GROUP_EACH places, those of the mask.
//
// Header: Elem; mask_at; GROUP_THREADS, GROUP_EACH, group_sum.

struct Params { count: u32, alpha: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> loss: array<f32>;
@group(0) @binding(1) var<storage, read> confidence: array<Elem>;
@group(0) @binding(2) var<storage, read> mask: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<vec2<f32>>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let part = group.x + group.y * 32768u;
    let first = part * (GROUP_THREADS * GROUP_EACH);
    var own = vec2<f32>();
    for (var i = 0u; i < GROUP_EACH; i++) {
        let at = first + i * GROUP_THREADS + thread;
        if (at < params.count) {
            if (mask_at(at)) {
                let c = f32(confidence[at]);
                own += vec2<f32>(c * loss[at] - params.alpha * log(c), 1.0);
            }
        }
    }
    let sum = group_sum(own, thread);
    if (thread == 0u && (part == 0u || first < params.count)) {
        sums[part] = sum;
    }
}
