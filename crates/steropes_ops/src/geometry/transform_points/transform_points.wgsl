// One invocation for each point.
//
// Header: THREADS.

struct Params { first: u32, count: u32, each: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> points: array<f32>;
@group(0) @binding(1) var<storage, read> transforms: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moved: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let p = vec4<f32>(points[3u * i], points[3u * i + 1u], points[3u * i + 2u], 1.0);
        let row = 3u * ((params.first + i) / params.each);
        for (var c = 0u; c < 3u; c++) {
            moved[3u * i + c] = dot(transforms[row + c], p);
        }
    }
}
