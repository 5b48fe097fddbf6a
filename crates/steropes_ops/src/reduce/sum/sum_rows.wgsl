// One result for each ROW_THREADS invocations, which take neighbouring values in turn; `inner` is 1.
//
// Header: From, To; params, x, y; ROW_THREADS, ROWS, row_sum.

@compute @workgroup_size(ROW_THREADS * ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let r = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    let lane = thread % ROW_THREADS;
    // Results behind the end are computed along with the last one, because all invocations meet in row_sum.
    let line = min(r, params.count - 1u);
    let first = line % params.parts * params.part;
    let last = min(first + params.part, params.n);
    let start = params.from_shift + line / params.parts * params.n;
    var sum = 0.0;
    for (var i = first + lane; i < last; i += ROW_THREADS) {
        sum += f32(x[start + i]);
    }
    let total = row_sum(sum, thread);
    if (lane == 0u && r < params.count) {
        y[params.to_shift + r] = To(total);
    }
}
