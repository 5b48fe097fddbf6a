var<workgroup> row_partial: array<f32, ROW_THREADS * ROWS>;

// A tree in workgroup memory: its order, and so its rounding, depends on nothing but ROW_THREADS.
fn row_sum(x: f32, thread: u32) -> f32 {
    let lane = thread % ROW_THREADS;
    row_partial[thread] = x;
    for (var half = ROW_THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        var other = 0.0;
        if (lane < half) {
            other = row_partial[thread + half];
        }
        workgroupBarrier();
        row_partial[thread] += other;
    }
    workgroupBarrier();
    let sum = row_partial[thread - lane];
    workgroupBarrier();
    return sum;
}
