var<workgroup> partial: array<f32, THREADS>;

// The sum of `x` over the workgroup for invocation 0. A tree in workgroup memory, so that its rounding depends on nothing but
// THREADS.
fn total_of(x: f32, thread: u32) -> f32 {
    partial[thread] = x;
    for (var half = THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (thread < half) {
            partial[thread] += partial[thread + half];
        }
    }
    return partial[thread];
}
