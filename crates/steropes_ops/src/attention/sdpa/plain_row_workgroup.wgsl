// The eight invocations of a row meet in `tile`, which nobody reads at that time. Vector `h` of an invocation's rows lies
// at `tx * QUERY_VECTORS + ty * HALF_ROWS + h`.
fn share_rows(x: ptr<function, array<f32, PER_THREAD>>, thread: u32) {
    let at = thread % 8u * QUERY_VECTORS + thread / 8u * HALF_ROWS;
    for (var h = 0u; h < HALF_ROWS; h++) {
        tile[at + h] = vec4<f32>((*x)[h * 4u], (*x)[h * 4u + 1u], (*x)[h * 4u + 2u], (*x)[h * 4u + 3u]);
    }
    workgroupBarrier();
}

fn row_largest(x: ptr<function, array<f32, PER_THREAD>>, thread: u32) {
    share_rows(x, thread);
    for (var h = 0u; h < HALF_ROWS; h++) {
        let at = thread / 8u * HALF_ROWS + h;
        var y = tile[at];
        for (var i = 1u; i < 8u; i++) {
            y = max(y, tile[i * QUERY_VECTORS + at]);
        }
        for (var j = 0u; j < 4u; j++) {
            (*x)[h * 4u + j] = y[j];
        }
    }
    workgroupBarrier();
}

fn row_total(x: ptr<function, array<f32, PER_THREAD>>, thread: u32) {
    share_rows(x, thread);
    for (var h = 0u; h < HALF_ROWS; h++) {
        let at = thread / 8u * HALF_ROWS + h;
        var y = tile[at];
        for (var i = 1u; i < 8u; i++) {
            y += tile[i * QUERY_VECTORS + at];
        }
        for (var j = 0u; j < 4u; j++) {
            (*x)[h * 4u + j] = y[j];
        }
    }
    workgroupBarrier();
}
