// A workgroup for each item sums over the valid points of a view what dividing by more would take off the loss.
//
// Header: Elem; valid_at; predicted, pull_of; GROUP_THREADS, group_sum; FIRST.

@group(0) @binding(3) var<storage, read> scales: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> grad: array<f32>;
@group(0) @binding(5) var<storage, read_write> worth: array<f32>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let wanted = group.x + group.y * 32768u;
    let item = min(wanted, params.items - 1u);
    var own = 0.0;
    for (var i = thread; i < params.points; i += GROUP_THREADS) {
        let at = item * params.points + i;
        if (valid_at(at)) {
            own += dot(pull_of(at, scales[item], grad[at]), predicted(at));
        }
    }
    var sum = group_sum(vec2<f32>(own, 0.0), thread).x;
    if (thread == 0u && wanted < params.items) {
        if (!FIRST) {
            sum += worth[item];
        }
        worth[item] = sum;
    }
}
