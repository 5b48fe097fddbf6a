// A workgroup for each item sums what the valid points of a view add to the norms, and counts them; those of the first view are there already for the
// second.
//
// Header: Elem; valid_at; predicted, true_point, measure; GROUP_THREADS, group_sum; FIRST.

@group(0) @binding(3) var<storage, read_write> sums: array<vec4<f32>>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let wanted = group.x + group.y * 32768u;
    let item = min(wanted, params.items - 1u);
    var own = vec2<f32>();
    var count = 0.0;
    for (var i = thread; i < params.points; i += GROUP_THREADS) {
        let at = item * params.points + i;
        if (valid_at(at)) {
            own += vec2<f32>(measure(length(predicted(at))).x, measure(length(true_point(at))).x);
            count += 1.0;
        }
    }
    let norms = group_sum(own, thread);
    let counts = group_sum(vec2<f32>(count, 0.0), thread);
    if (thread == 0u && wanted < params.items) {
        var all = vec4<f32>(norms, counts.x, 0.0);
        if (!FIRST) {
            all += sums[item];
        }
        sums[item] = all;
    }
}
