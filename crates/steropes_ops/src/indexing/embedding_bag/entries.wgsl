// An invocation for each bag, which tells its entries their row, their bag and their share of its gradient. Entries of no bag and of
// rows that are left out stay as they are.
//
// Header: MODE, WITH_END, bag_bound; indices_at, indices_is_below.

@group(0) @binding(0) var<storage, read> indices: array<u32>;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> keys: array<u32>;
@group(0) @binding(3) var<storage, read_write> bag_of: array<u32>;
@group(0) @binding(4) var<storage, read_write> share_of: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let bag = (group.x + group.y * 32768u) * 64u + thread;
    if (bag >= params.bags) {
        return;
    }
    let start = bag_bound(bag);
    let end = bag_bound(bag + 1u);
    var count = 0u;
    for (var entry = start; entry < end; entry++) {
        let row = indices_at(entry);
        if (indices_is_below(row, params.rows) && row.x != params.padding) {
            count += 1u;
        }
    }
    let share = select(1.0, 1.0 / f32(max(count, 1u)), MODE == MEAN);
    for (var entry = start; entry < end; entry++) {
        let row = indices_at(entry);
        if (indices_is_below(row, params.rows) && row.x != params.padding) {
            keys[entry] = row.x;
            bag_of[entry] = bag;
            share_of[entry] = share;
        }
    }
}
