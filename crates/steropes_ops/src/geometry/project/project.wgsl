// One invocation for each point.
//
// Header: THREADS.

struct Params {
    first: u32, count: u32, each: u32, nan: u32, points_shift: u32, intrinsics_shift: u32, pixels_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> points: array<f32>;
// fx, fy, cx, cy.
@group(0) @binding(1) var<storage, read> intrinsics: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> pixels: array<vec2<u32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let at = params.points_shift + 3u * i;
        let xy = vec2<f32>(points[at], points[at + 1u]);
        let z = points[at + 2u];
        let k = intrinsics[params.intrinsics_shift + (params.first + i) / params.each];
        var pixel = bitcast<vec2<u32>>(k.xy * (xy / z) + k.zw);
        // Positive and finite, by its bits: fast mathematics may take comparisons with NaN for true.
        if (bitcast<u32>(z) - 1u >= 0x7f7fffffu) {
            pixel = vec2<u32>(params.nan);
        }
        pixels[params.pixels_shift + i] = pixel;
    }
}
