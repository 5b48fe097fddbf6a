// An invocation turns one pack, which holds whole pairs, in HEADS_EACH heads of a token: sines and cosines once, all loads before
// the first use. Neighbouring invocations take neighbouring packs, then the next head.
//
// Header: Pack, Quads, QUADS, unpacked, packed; THREADS, HEADS (of a token), FIRST_HEAD and SOME_HEADS (those that turn), HEADS_EACH,
// HEAD_LANES (invocations that share the heads of a token), HEAD_PACKS (packs of a head), CHUNKS (those that hold what turns); y, x_at;
// params.

@group(0) @binding(1) var<storage, read> cosines: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> sines: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let chunk = i % CHUNKS;
    let head_lane = i / CHUNKS % HEAD_LANES;
    let token = i / (CHUNKS * HEAD_LANES);
    let first = params.shift + (token * HEADS + FIRST_HEAD) * HEAD_PACKS + chunk;
    var packs: array<Pack, HEADS_EACH>;
    for (var k = 0u; k < HEADS_EACH; k++) {
        // Behind the last head it is read again and not stored.
        packs[k] = x_at(first + min(head_lane + k * HEAD_LANES, SOME_HEADS - 1u) * HEAD_PACKS);
    }
    let at = ((params.first + token) % params.rows * HEAD_PACKS + chunk) * QUADS;
    var cosine: Quads;
    var sine: Quads;
    for (var q = 0u; q < QUADS; q++) {
        cosine[q] = cosines[at + q];
        sine[q] = sines[at + q] * vec4<f32>(-1.0, 1.0, -1.0, 1.0);
    }
    for (var k = 0u; k < HEADS_EACH; k++) {
        let head = head_lane + k * HEAD_LANES;
        if (head < SOME_HEADS) {
            var x = unpacked(packs[k]);
            for (var q = 0u; q < QUADS; q++) {
                x[q] = x[q] * cosine[q] + x[q].yxwz * sine[q];
            }
            y[first + head * HEAD_PACKS] = packed(x);
        }
    }
}
