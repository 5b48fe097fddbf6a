// One entry for each invocation: a polynomial of given powers of a matrix.
//
// Header: N, THREADS.

struct Params {
    count: u32,
    one_shift: u32,
    two_shift: u32,
    three_shift: u32,
    four_shift: u32,
    to_shift: u32,
    c0: f32,
    c1: f32,
    c2: f32,
    c3: f32,
    c4: f32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> one: array<f32>;
@group(0) @binding(1) var<storage, read> two: array<f32>;
@group(0) @binding(2) var<storage, read> three: array<f32>;
@group(0) @binding(3) var<storage, read> four: array<f32>;
@group(0) @binding(4) var<storage, read_write> to: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let t = (group.x + group.y * 32768u) * THREADS + thread;
    if (t >= params.count * (N * N)) {
        return;
    }
    // The small terms first.
    let high = params.c4 * four[params.four_shift + t] + params.c3 * three[params.three_shift + t];
    let low = params.c2 * two[params.two_shift + t] + params.c1 * one[params.one_shift + t];
    let diagonal = select(0.0, params.c0, t % (N * N) % (N + 1u) == 0u);
    to[params.to_shift + t] = (high + low) + diagonal;
}
