// The sum of the losses of GROUP_THREADS * GROUP_EACH pairs for each workgroup.
//
// Header: Elem; GROUP_THREADS, GROUP_EACH, group_sum; pair_loss.

struct Params { count: u32, first_group: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<Elem>;
@group(0) @binding(1) var<storage, read> b: array<Elem>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec2<f32>>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let part = group.x + group.y * 32768u;
    let first = part * (GROUP_THREADS * GROUP_EACH);
    var own = 0.0;
    for (var i = 0u; i < GROUP_EACH; i++) {
        let at = first + i * GROUP_THREADS + thread;
        if (at < params.count) {
            own += pair_loss(f32(a[at]), f32(b[at]));
        }
    }
    let sum = group_sum(vec2<f32>(own, 0.0), thread);
    if (thread == 0u && first < params.count) {
        sums[params.first_group + part] = sum;
    }
}
