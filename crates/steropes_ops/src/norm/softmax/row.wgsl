// The axis is the last: packs of one row, in order, shared by SLOTS invocations.
//
// Header: ROW_THREADS, ROWS, row_sum, row_max; SLOTS, STRIDE, LEN.

fn place_of(group: vec3<u32>, thread: u32, items: u32, shift: u32) -> Place {
    let row = (group.x + group.y * 32768u) * ROWS + thread / ROW_THREADS;
    // Rows behind the end compute along with the last row, because all invocations meet in axis_max and axis_sum.
    return Place(shift + min(row, items - 1u) * LEN, thread % ROW_THREADS, row < items);
}
fn splat(v: f32) -> Quads {
    var all: Quads;
    for (var q = 0u; q < QUADS; q++) {
        all[q] = Quad(v);
    }
    return all;
}
fn axis_max(own: Quads, thread: u32) -> Quads {
    var top = largest_of(own[0]);
    for (var q = 1u; q < QUADS; q++) {
        top = max(top, largest_of(own[q]));
    }
    return splat(row_max(top, thread));
}
fn axis_sum(own: Quads, thread: u32) -> Quads {
    var sum = own[0];
    for (var q = 1u; q < QUADS; q++) {
        sum += own[q];
    }
    return splat(row_sum(sum_of(sum), thread));
}
