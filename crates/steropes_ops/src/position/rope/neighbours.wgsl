// As halves.wgsl, for pairs of neighbours in packs of 16 bytes, each of which holds whole pairs.
//
// Header: Pack, Quads, QUADS, unpacked, packed; THREADS, HEADS (of a token), HEADS_EACH, HEAD_LANES (invocations that share the
// heads of a token), HEAD_PACKS (packs of a head), CHUNKS (packs of what turns), DIRECTION; row_of; y, x_at; params.

// Of the two pairs of four values.
@group(0) @binding(1) var<storage, read> cosines: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read> sines: array<vec2<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let chunk = i % CHUNKS;
    let head_lane = i / CHUNKS % HEAD_LANES;
    let token = i / (CHUNKS * HEAD_LANES);
    let first = params.shift + token * HEADS * HEAD_PACKS + chunk;
    var packs: array<Pack, HEADS_EACH>;
    for (var k = 0u; k < HEADS_EACH; k++) {
        // Behind the last head it is read again and not stored.
        packs[k] = x_at(first + min(head_lane + k * HEAD_LANES, HEADS - 1u) * HEAD_PACKS);
    }
    let row = row_of(token);
    let outside = row.y != 0u || row.x >= params.rows;
    let at = (min(row.x, params.rows - 1u) * CHUNKS + chunk) * QUADS;
    var cosine: Quads;
    var sine: Quads;
    for (var q = 0u; q < QUADS; q++) {
        let s = DIRECTION * sines[at + q];
        cosine[q] = cosines[at + q].xxyy;
        sine[q] = vec4<f32>(-s.x, s.x, -s.y, s.y);
    }
    let nowhere = vec4<f32>(bitcast<f32>(params.nan));
    for (var k = 0u; k < HEADS_EACH; k++) {
        let head = head_lane + k * HEAD_LANES;
        if (head < HEADS) {
            var x = unpacked(packs[k]);
            for (var q = 0u; q < QUADS; q++) {
                x[q] = select(x[q] * cosine[q] + x[q].yxwz * sine[q], nowhere, outside);
            }
            y[first + head * HEAD_PACKS] = packed(x);
        }
    }
}
