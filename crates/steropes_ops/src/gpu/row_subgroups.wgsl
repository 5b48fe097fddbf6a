var<workgroup> row_partial: array<f32, SUBGROUPS>;

// A row is a workgroup; what its subgroups found is put together by all invocations in the same order.
fn row_share(own: f32, thread: u32) {
    // What an earlier call left has been read.
    workgroupBarrier();
    if (thread % SUBGROUP == 0u) {
        row_partial[thread / SUBGROUP] = own;
    }
    workgroupBarrier();
}
fn row_sum(x: f32, thread: u32) -> f32 {
    row_share(subgroupAdd(x), thread);
    var sum = 0.0;
    for (var i = 0u; i < SUBGROUPS; i++) {
        sum += row_partial[i];
    }
    return sum;
}
fn row_max(x: f32, thread: u32) -> f32 {
    row_share(subgroupMax(x), thread);
    var largest = row_partial[0];
    for (var i = 1u; i < SUBGROUPS; i++) {
        largest = max(largest, row_partial[i]);
    }
    return largest;
}
