// One invocation for each point.
//
// Header: THREADS.

struct Params { first: u32, count: u32, each: u32, shift: u32, transforms_shift: u32 }
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> points: array<f32>;
@group(0) @binding(1) var<storage, read> transforms: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> moved: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = (group.x + group.y * 32768u) * THREADS + thread;
    if (i < params.count) {
        let at = params.shift + 3u * i;
        let p = vec4<f32>(points[at], points[at + 1u], points[at + 2u], 1.0);
        let row = params.transforms_shift + 3u * ((params.first + i) / params.each);
        for (var c = 0u; c < 3u; c++) {
            moved[at + c] = dot(transforms[row + c], p);
        }
    }
}
