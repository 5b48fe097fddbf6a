// An invocation for each value of the result, which goes through the entries of its bag; neighbours read neighbouring values of the
// same rows.
//
// Header: Elem; MODE, WITH_END, bag_bound; indices_at, indices_is_below; factor_of; Result, stored.

@group(0) @binding(0) var<storage, read> weight: array<Elem>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<Result>;

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let at = (group.x + group.y * 32768u) * 128u + thread;
    let bag = at / params.width;
    if (bag >= params.bags) {
        return;
    }
    let column = at % params.width;
    let end = bag_bound(bag + 1u);
    var value = 0.0;
    var winner = 0xffffffffu;
    var count = 0u;
    var unknown = false;
    for (var entry = bag_bound(bag); entry < end; entry++) {
        let row = indices_at(entry);
        if (!indices_is_below(row, params.rows)) {
            unknown = true;
        } else if (row.x != params.padding) {
            let own = f32(weight[row.x * params.width + column]);
            if (MODE != MAX) {
                value += factor_of(entry) * own;
            } else if (count == 0u || own > value) {
                value = own;
                winner = entry;
            }
            count += 1u;
        }
    }
    if (MODE == MEAN) {
        value /= f32(max(count, 1u));
    }
    y[at] = stored(select(value, bitcast<f32>(params.nan), unknown), winner);
}
