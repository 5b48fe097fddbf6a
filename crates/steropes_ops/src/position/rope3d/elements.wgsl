// As packs.wgsl, for heads that are not made of packs: an invocation turns one pair.
//
// Header: Pack, unpacked, packed; THREADS, HEADS (of a token), FIRST_HEAD and SOME_HEADS (those that turn), HEADS_EACH, HEAD_LANES
// (invocations that share the heads of a token), HEAD_PACKS (elements of a head), CHUNKS (pairs that turn); y, x_at; params.

@group(0) @binding(1) var<storage, read> cosines: array<f32>;
@group(0) @binding(2) var<storage, read> sines: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i >= params.count) {
        return;
    }
    let pair = 2u * (i % CHUNKS);
    let head_lane = i / CHUNKS % HEAD_LANES;
    let token = i / (CHUNKS * HEAD_LANES);
    let first = params.shift + (token * HEADS + FIRST_HEAD) * HEAD_PACKS + pair;
    var us: array<f32, HEADS_EACH>;
    var vs: array<f32, HEADS_EACH>;
    for (var k = 0u; k < HEADS_EACH; k++) {
        // Behind the last head it is read again and not stored.
        let u = first + min(head_lane + k * HEAD_LANES, SOME_HEADS - 1u) * HEAD_PACKS;
        us[k] = unpacked(x_at(u))[0];
        vs[k] = unpacked(x_at(u + 1u))[0];
    }
    let at = (params.first + token) % params.rows * HEAD_PACKS + pair;
    let cosine = vec2<f32>(cosines[at], cosines[at + 1u]);
    let sine = vec2<f32>(sines[at], sines[at + 1u]);
    for (var k = 0u; k < HEADS_EACH; k++) {
        let head = head_lane + k * HEAD_LANES;
        if (head < SOME_HEADS) {
            let to = first + head * HEAD_PACKS;
            y[to] = packed(Quads(us[k] * cosine.x - vs[k] * sine.x));
            y[to + 1u] = packed(Quads(vs[k] * cosine.y + us[k] * sine.y));
        }
    }
}
