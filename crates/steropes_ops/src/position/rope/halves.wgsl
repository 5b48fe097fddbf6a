// An invocation turns one pack of pairs in HEADS_EACH heads of a token: sines and cosines once, all loads before the first
// use. Neighbouring invocations take neighbouring packs, then the next head. The first and the second values of pairs are
// in packs of their own, PARTNER apart; where packs are single elements, those may be neighbours.
//
// Header: Pack, Quad, Quads, QUADS, unpacked, packed; THREADS, HEADS (of a token), HEADS_EACH, HEAD_LANES (invocations that
// share the heads of a token), HEAD_PACKS (packs of a head), CHUNKS (packs of first values), CHUNK_STEP (packs from one to
// the next), PARTNER, DIRECTION; row_of; y, x_at; params.

@group(0) @binding(1) var<storage, read> cosines: array<Quad>;
@group(0) @binding(2) var<storage, read> sines: array<Quad>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let chunk = i % CHUNKS;
    let head_lane = i / CHUNKS % HEAD_LANES;
    let token = i / (CHUNKS * HEAD_LANES);
    let first = params.shift + token * HEADS * HEAD_PACKS + chunk * CHUNK_STEP;
    var us: array<Pack, HEADS_EACH>;
    var vs: array<Pack, HEADS_EACH>;
    for (var k = 0u; k < HEADS_EACH; k++) {
        // Behind the last head it is read again and not stored.
        let u = first + min(head_lane + k * HEAD_LANES, HEADS - 1u) * HEAD_PACKS;
        us[k] = x_at(u);
        vs[k] = x_at(u + PARTNER);
    }
    let row = row_of(token);
    let outside = row.y != 0u || row.x >= params.rows;
    let at = (min(row.x, params.rows - 1u) * CHUNKS + chunk) * QUADS;
    var cosine: Quads;
    var sine: Quads;
    for (var q = 0u; q < QUADS; q++) {
        cosine[q] = cosines[at + q];
        sine[q] = DIRECTION * sines[at + q];
    }
    let nowhere = Quad(bitcast<f32>(params.nan));
    for (var k = 0u; k < HEADS_EACH; k++) {
        let head = head_lane + k * HEAD_LANES;
        if (head < HEADS) {
            let u = unpacked(us[k]);
            let v = unpacked(vs[k]);
            var new_u: Quads;
            var new_v: Quads;
            for (var q = 0u; q < QUADS; q++) {
                new_u[q] = select(u[q] * cosine[q] - v[q] * sine[q], nowhere, outside);
                new_v[q] = select(v[q] * cosine[q] + u[q] * sine[q], nowhere, outside);
            }
            let to = first + head * HEAD_PACKS;
            y[to] = packed(new_u);
            y[to + PARTNER] = packed(new_v);
        }
    }
}
