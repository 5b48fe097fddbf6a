var<workgroup> group_partial: array<vec2<f32>, GROUP_THREADS>;

// A tree in workgroup memory: its order, and so its rounding, depends on nothing.
fn group_sum(x: vec2<f32>, thread: u32) -> vec2<f32> {
    group_partial[thread] = x;
    for (var half = GROUP_THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            group_partial[thread] = group_partial[thread] + group_partial[thread + half];
        }
    }
    workgroupBarrier();
    let result = group_partial[0];
    workgroupBarrier();
    return result;
}
