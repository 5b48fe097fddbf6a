// A workgroup for each item, whose rows are shared among its invocations.
//
// Header: MODE; valid_at; log_sum_of_all; GROUP_THREADS.

@group(0) @binding(4) var<storage, read_write> losses: array<f32>;

@compute @workgroup_size(GROUP_THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let item = group.x + group.y * 32768u;
    let first = min(item, params.items - 1u) * params.rows;
    let all = log_sum_of_all(first, thread);
    if (item >= params.items) {
        return;
    }
    for (var i = first + thread; i < first + params.rows; i += GROUP_THREADS) {
        let row = row_sums[i] - own_similarity[i];
        let column = column_sums[i] - own_similarity[i];
        var loss = min(all - own_similarity[i], params.least);
        if (MODE == PROPER) {
            loss = min(row, params.least) + min(column, params.least);
        } else if (MODE == DUAL) {
            loss = min(row + column, params.least);
        }
        losses[i] = select(0.0, loss, valid_at(i));
    }
}
