// The number of singular values above the cut, as i64 (its lower half first): an invocation for each matrix.
//
// Header: K.

struct Params { count: u32, s: u32, rank: u32, rtol: f32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> s: array<f32>;
@group(0) @binding(1) var<storage, read_write> ranks: array<vec2<u32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let matrix = (group.x + group.y * 32768u) * 64u + thread;
    if (matrix >= params.count) { return; }
    let first = params.s + matrix * K;
    let cut = params.rtol * s[first];
    var rank = 0u;
    for (var k = 0u; k < K; k++) { rank += u32(s[first + k] > cut); }
    if ((bitcast<u32>(s[first]) & 0x7fffffffu) > 0x7f800000u) { rank = 0u; }
    ranks[params.rank + matrix] = vec2<u32>(rank, 0u);
}
