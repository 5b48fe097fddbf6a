// An invocation for each value of the result, which goes through the entries of its bag, AHEAD of them at a time, so that as many
// values are on their way; neighbours read neighbouring values of the same rows.
//
// Header: Elem; MODE, WITH_END, bag_bound; indices_at, indices_is_below; factor_of; Result, stored.

@group(0) @binding(0) var<storage, read> weight: array<Elem>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<Result>;

const AHEAD: u32 = 8u;

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
    for (var first = bag_bound(bag); first < end; first += AHEAD) {
        var own: array<f32, AHEAD>;
        var counts: array<bool, AHEAD>;
        for (var i = 0u; i < AHEAD; i++) {
            if (first + i < end) {
                let row = indices_at(first + i);
                let known = indices_is_below(row, params.rows);
                unknown = unknown || !known;
                counts[i] = known && row.x != params.padding;
                if (counts[i]) {
                    own[i] = f32(weight[row.x * params.width + column]);
                }
            }
        }
        for (var i = 0u; i < AHEAD; i++) {
            if (!counts[i]) {
                continue;
            }
            if (MODE != MAX) {
                value += factor_of(first + i) * own[i];
            } else if (count == 0u || own[i] > value) {
                value = own[i];
                winner = first + i;
            }
            count += 1u;
        }
    }
    if (MODE == MEAN) {
        value /= f32(max(count, 1u));
    }
    y[at] = stored(select(value, bitcast<f32>(params.nan), unknown), winner);
}
