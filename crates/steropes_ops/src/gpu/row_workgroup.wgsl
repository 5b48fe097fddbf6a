var<workgroup> row_partial: array<f32, ROW_THREADS * ROWS>;

// A tree in workgroup memory: its order, and so its rounding, depends on nothing but ROW_THREADS.
fn row_tree(x: f32, thread: u32, maximum: bool) -> f32 {
    let lane = thread % ROW_THREADS;
    row_partial[thread] = x;
    for (var half = ROW_THREADS / 2u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
            let own = row_partial[thread];
            let other = row_partial[thread + half];
            row_partial[thread] = select(own + other, max(own, other), maximum);
        }
    }
    workgroupBarrier();
    let result = row_partial[thread - lane];
    workgroupBarrier();
    return result;
}
fn row_sum(x: f32, thread: u32) -> f32 {
    return row_tree(x, thread, false);
}
fn row_max(x: f32, thread: u32) -> f32 {
    return row_tree(x, thread, true);
}
