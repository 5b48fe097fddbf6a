// One invocation for each pixel.
//
// Header: THREADS.

struct Params {
    first: u32, count: u32, width: u32, height: u32, depth_shift: u32, intrinsics_shift: u32, points_shift: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> depth: array<f32>;
// fx, fy, cx, cy.
@group(0) @binding(1) var<storage, read> intrinsics: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> points: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let pixel = params.first + i;
        let row = pixel / params.width;
        let k = intrinsics[params.intrinsics_shift + row / params.height];
        let place = vec2<f32>(f32(pixel % params.width), f32(row % params.height));
        let z = depth[params.depth_shift + i];
        let xy = (place - k.zw) / k.xy * z;
        let at = params.points_shift + 3u * i;
        points[at] = xy.x;
        points[at + 1u] = xy.y;
        points[at + 2u] = z;
    }
}
