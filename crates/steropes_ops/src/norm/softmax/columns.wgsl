// The axis is not the last: each pack holds neighbours behind the axis, COLUMNS packs side by side are those of a workgroup, and
// SLOTS invocations share each, which meet in workgroup memory and put together what they found in the same order.
//
// Header: Quads, QUADS; SLOTS, STRIDE (packs from one element of the axis to the next), LEN, COLUMNS.

var<workgroup> axis_partial: array<Quads, COLUMNS * SLOTS>;

fn place_of(group: vec3<u32>, thread: u32, items: u32, shift: u32) -> Place {
    let blocks = (STRIDE + COLUMNS - 1u) / COLUMNS;
    let number = group.x + group.y * 32768u;
    let item = number / blocks;
    let column = number % blocks * COLUMNS + thread % COLUMNS;
    let inside = item < items && column < STRIDE;
    // What is behind the end computes along with the last, because all invocations meet in axis_max and axis_sum.
    let first = shift + min(item, items - 1u) * (LEN * STRIDE) + min(column, STRIDE - 1u);
    return Place(first, thread / COLUMNS, inside);
}
fn axis_share(own: Quads, thread: u32) {
    // What an earlier call left has been read.
    workgroupBarrier();
    axis_partial[thread] = own;
    workgroupBarrier();
}
fn axis_max(own: Quads, thread: u32) -> Quads {
    axis_share(own, thread);
    var all = axis_partial[thread % COLUMNS];
    for (var s = 1u; s < SLOTS; s++) {
        let other = axis_partial[thread % COLUMNS + s * COLUMNS];
        for (var q = 0u; q < QUADS; q++) {
            all[q] = max(all[q], other[q]);
        }
    }
    return all;
}
fn axis_sum(own: Quads, thread: u32) -> Quads {
    axis_share(own, thread);
    var all = axis_partial[thread % COLUMNS];
    for (var s = 1u; s < SLOTS; s++) {
        let other = axis_partial[thread % COLUMNS + s * COLUMNS];
        for (var q = 0u; q < QUADS; q++) {
            all[q] += other[q];
        }
    }
    return all;
}
